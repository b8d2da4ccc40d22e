use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::timeout;

use super::{MailTemplates, SmtpUrl, smtp::SmtpClient};
use crate::{
    auth::MailToken,
    domain::{EmailMessage, EmailMessageId, User},
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
    Smtp(SmtpClient),
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
        let MailSettings {
            transport,
            templates,
        } = settings;
        let delivery = match transport {
            MailTransport::Off => return Ok(None),
            MailTransport::Directory(path) => Delivery::Directory(path),
            MailTransport::Smtp(url) => Delivery::Smtp(SmtpClient::open(&url, SEND_TIMEOUT)?),
        };
        Ok(Some(Self {
            templates,
            delivery,
        }))
    }

    /// Sends a message with a token to a user. The error has no content of the message.
    pub async fn send(
        &self,
        message: &EmailMessage,
        user: &User,
        token: &MailToken,
    ) -> anyhow::Result<()> {
        let id = message.id;
        let message = self.templates.render(message, user, token)?;
        let sending = async {
            match &self.delivery {
                Delivery::Directory(path) => {
                    let path = path.clone();
                    let message = message.formatted();
                    let writing = tokio::task::spawn_blocking(move || write(&path, id, &message));
                    writing.await?.context("cannot write the message file")
                }
                Delivery::Smtp(client) => client.send(&message).await,
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
