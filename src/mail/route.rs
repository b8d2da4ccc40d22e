use std::{path::PathBuf, str::FromStr};

use super::{Letterhead, SmtpUrl};

/// How messages leave. It cannot be printed: there may be a password in it.
#[derive(Clone)]
pub enum MailRoute {
    /// Not at all.
    Off,
    /// Each one becomes a file in this folder: for development.
    Folder(PathBuf),
    /// Through a mail server.
    Smtp(Box<SmtpUrl>),
}

/// What sending mail needs.
#[derive(Clone)]
pub struct MailSettings {
    /// How messages leave.
    pub route: MailRoute,
    /// How they look.
    pub letterhead: Letterhead,
}

impl FromStr for MailRoute {
    type Err = &'static str;

    /// Reads `off`, `folder:PATH`, `smtp://…` or `smtps://…`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.strip_prefix("folder:") {
            Some("") => Err("must name a folder after folder:"),
            Some(path) => Ok(Self::Folder(path.into())),
            None => Ok(Self::Smtp(Box::new(text.parse()?))),
        }
    }
}
