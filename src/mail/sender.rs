use std::time::Duration;

use anyhow::bail;
use tokio::time::timeout;

use super::{Letterhead, MailRoute, MailSettings, folder::Folder, smtp::Smtp};
use crate::{
    auth::MailToken,
    domain::{Letter, User},
};

/// How long sending a message may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends messages.
#[derive(Debug, Clone)]
pub struct Post {
    letterhead: Letterhead,
    transport: Transport,
}

#[derive(Debug, Clone)]
enum Transport {
    Folder(Folder),
    Smtp(Smtp),
}

impl Post {
    /// Prepares to send; none if mail is off. Nobody is connected to yet.
    pub fn open(settings: MailSettings) -> anyhow::Result<Option<Self>> {
        let MailSettings { route, letterhead } = settings;
        let transport = match route {
            MailRoute::Off => return Ok(None),
            MailRoute::Folder(path) => Transport::Folder(Folder::new(path)),
            MailRoute::Smtp(url) => Transport::Smtp(Smtp::open(&url, TIMEOUT)?),
        };
        Ok(Some(Self {
            letterhead,
            transport,
        }))
    }

    /// Sends a letter with a token to a user. The error says nothing of what is
    /// in the message.
    pub async fn send(
        &self,
        letter: &Letter,
        user: &User,
        token: &MailToken,
    ) -> anyhow::Result<()> {
        let message = self.letterhead.write(letter, user, token)?;
        let sending = async {
            match &self.transport {
                Transport::Folder(folder) => folder.send(letter.id, &message).await,
                Transport::Smtp(smtp) => smtp.send(&message).await,
            }
        };
        match timeout(TIMEOUT, sending).await {
            Ok(sent) => sent,
            Err(_) => bail!("it took longer than {} s", TIMEOUT.as_secs()),
        }
    }
}
