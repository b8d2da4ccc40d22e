use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    transport::smtp::{
        Error as SmtpError,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use tokio::time::timeout;

use super::{MailTemplates, SmtpUrl, smtp_url::SmtpTls};
use crate::{
    auth::MailToken,
    domain::{EmailMessage, EmailMessageId},
    root_certificates::platform_roots,
};

/// The time for sending one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The transport of e-mail messages. It has no `Debug`: it can contain a password.
#[derive(Clone)]
pub enum MailTransport {
    /// No messages are sent.
    Off,
    /// Each message becomes a file in this directory, for development.
    Directory(PathBuf),
    /// A mail server.
    Smtp(Box<SmtpUrl>),
}

/// The settings of e-mail messages.
#[derive(Clone)]
pub struct MailSettings {
    /// The transport.
    pub transport: MailTransport,
    /// The templates.
    pub templates: MailTemplates,
}

/// Writes e-mail messages from templates and sends them.
#[derive(Debug, Clone)]
pub struct MailSender {
    templates: MailTemplates,
    delivery: Delivery,
}

#[derive(Debug, Clone)]
enum Delivery {
    /// Into a directory that only its owner can enter. The first message creates it.
    Directory(PathBuf),
    /// To a mail server, over one connection for each message.
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

impl FromStr for MailTransport {
    type Err = &'static str;

    /// Parses `off`, `folder:PATH`, `smtp://…` or `smtps://…`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.strip_prefix("folder:") {
            Some("") => Err("must name a folder after folder:"),
            Some(path) => Ok(Self::Directory(path.into())),
            None => Ok(Self::Smtp(Box::new(text.parse()?))),
        }
    }
}

impl MailSender {
    /// Prepares the transport, without connecting; `None` if mail is off.
    pub fn open(settings: MailSettings) -> anyhow::Result<Option<Self>> {
        let delivery = match settings.transport {
            MailTransport::Off => return Ok(None),
            MailTransport::Directory(path) => Delivery::Directory(path),
            MailTransport::Smtp(url) => Delivery::Smtp(smtp_transport(&url)?),
        };
        let templates = settings.templates;
        Ok(Some(Self {
            templates,
            delivery,
        }))
    }

    /// Sends a message with a token to an address. The error has no content of the message.
    pub async fn send(
        &self,
        message: &EmailMessage,
        email: &str,
        token: &MailToken,
    ) -> anyhow::Result<()> {
        let id = message.id;
        let message = self.templates.render(message, email, token)?;
        let sending = async {
            match &self.delivery {
                Delivery::Directory(path) => {
                    let path = path.clone();
                    let message = message.formatted();
                    let writing = tokio::task::spawn_blocking(move || write(&path, id, &message));
                    writing.await?.context("cannot write the message file")
                }
                Delivery::Smtp(transport) => {
                    let (envelope, text) = (message.envelope(), message.formatted());
                    let sent = transport.send_raw(envelope, &text).await;
                    sent.map(drop).map_err(|error| without_server_text(&error))
                }
            }
        };
        match timeout(SEND_TIMEOUT, sending).await {
            Ok(sent) => sent,
            Err(_) => bail!("timed out after {} s", SEND_TIMEOUT.as_secs()),
        }
    }
}

/// Writes a message atomically to its own file.
fn write(directory: &Path, id: EmailMessageId, message: &[u8]) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!(".{id}.draft"));

    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&draft)?;
    file.write_all(message)?;
    file.sync_all()?;
    fs::rename(draft, directory.join(format!("{id}.eml")))
}

/// A client of a mail server, with a timeout for each step.
fn smtp_transport(url: &SmtpUrl) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&url.host)
        .port(url.port)
        .timeout(Some(SEND_TIMEOUT))
        .tls(match url.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Required => Tls::Required(tls_parameters(url)?),
            SmtpTls::Implicit => Tls::Wrapper(tls_parameters(url)?),
        });
    if let Some((user, password)) = &url.credentials {
        let password = password.expose().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

fn tls_parameters(url: &SmtpUrl) -> anyhow::Result<TlsParameters> {
    // Trusts the authorities of the platform, and this file.
    let builder = TlsParameters::builder(url.host.clone());
    let Some(file) = &url.ca_file else {
        platform_roots().context("SLUICE_MAIL")?;
        return Ok(builder.build()?);
    };
    let unusable = || format!("cannot use the certificates in {}", file.display());
    let certificates = fs::read(file).with_context(unusable)?;
    let certificates = Certificate::from_pem(&certificates).with_context(unusable)?;
    Ok(builder.add_root_certificate(certificates).build()?)
}

/// An error without the server's text, which can repeat parts of the message.
fn without_server_text(error: &SmtpError) -> anyhow::Error {
    match error.status() {
        Some(code) => anyhow!("the server answered {code}"),
        None if error.is_response() => anyhow!("the server did not answer in SMTP"),
        None => anyhow!("{error}"),
    }
}
