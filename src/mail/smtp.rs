use std::{fs, time::Duration};

use anyhow::{Context, anyhow};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use super::{SmtpUrl, smtp_url::SmtpTls};

/// Sends messages to a mail server, over one connection for each.
#[derive(Debug, Clone)]
pub(super) struct SmtpClient {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl SmtpClient {
    /// A client of a server, with a timeout for each step.
    pub fn open(url: &SmtpUrl, timeout: Duration) -> anyhow::Result<Self> {
        let SmtpUrl {
            host,
            port,
            credentials,
            tls,
            ca_file: _,
        } = url;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(*port)
            .timeout(Some(timeout))
            .tls(match tls {
                SmtpTls::None => Tls::None,
                SmtpTls::Required => Tls::Required(tls_parameters(url)?),
                SmtpTls::Implicit => Tls::Wrapper(tls_parameters(url)?),
            });
        if let Some((user, password)) = credentials {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
        })
    }

    /// Sends a message.
    pub async fn send(&self, message: &Message) -> anyhow::Result<()> {
        let (envelope, text) = (message.envelope(), message.formatted());
        let sent = self.transport.send_raw(envelope, &text).await;
        sent.map(drop).map_err(|error| without_server_text(&error))
    }
}

fn tls_parameters(url: &SmtpUrl) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(url.host.clone());
    if let Some(file) = &url.ca_file {
        let unusable = || format!("cannot use the certificates in {}", file.display());
        let certificates = fs::read(file).with_context(unusable)?;
        let certificates = Certificate::from_pem(&certificates).with_context(unusable)?;
        builder = builder.add_root_certificate(certificates);
    }
    Ok(builder.build()?)
}

/// An error without the server's text, which can repeat parts of the message.
fn without_server_text(error: &Error) -> anyhow::Error {
    match error.status() {
        Some(code) => anyhow!("the server answered {code}"),
        None if error.is_response() => anyhow!("the server did not answer in SMTP"),
        None => anyhow!("{error}"),
    }
}
