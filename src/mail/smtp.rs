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

/// Hands messages to a mail server, over a connection for each.
#[derive(Debug, Clone)]
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Smtp {
    /// A way to this server, on which no step may take longer than `timeout`.
    pub fn open(url: &SmtpUrl, timeout: Duration) -> anyhow::Result<Self> {
        let SmtpUrl {
            host,
            port,
            login,
            tls,
            trusted: _,
        } = url;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(*port)
            .timeout(Some(timeout))
            .tls(match tls {
                SmtpTls::None => Tls::None,
                SmtpTls::Required => Tls::Required(parameters(url)?),
                SmtpTls::Implicit => Tls::Wrapper(parameters(url)?),
            });
        if let Some((user, password)) = login {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
        })
    }

    /// Hands a message over.
    pub async fn send(&self, message: &Message) -> anyhow::Result<()> {
        let (envelope, text) = (message.envelope(), message.formatted());
        let sent = self.transport.send_raw(envelope, &text).await;
        sent.map(drop).map_err(|error| without_words(&error))
    }
}

fn parameters(url: &SmtpUrl) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(url.host.clone());
    if let Some(file) = &url.trusted {
        let unusable = || format!("cannot use the certificates in {}", file.display());
        let certificates = fs::read(file).with_context(unusable)?;
        let certificates = Certificate::from_pem(&certificates).with_context(unusable)?;
        builder = builder.add_root_certificate(certificates);
    }
    Ok(builder.build()?)
}

/// A failure without the server's own words: it may repeat what it was told.
fn without_words(error: &Error) -> anyhow::Error {
    match error.status() {
        Some(code) => anyhow!("the server answered {code}"),
        None if error.is_response() => anyhow!("the server answered something else than SMTP"),
        None => anyhow!("{error}"),
    }
}
