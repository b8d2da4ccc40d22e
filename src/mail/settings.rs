use std::{path::PathBuf, str::FromStr};

use super::{MailTemplates, SmtpUrl};

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
