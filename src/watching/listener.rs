use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Hub;
use crate::{
    database::{Database, Heard, Hints, Listening, Notices},
    error::{Error, Result},
};

/// After how much silence the connection is asked whether it stands.
const SILENCE: Duration = Duration::from_secs(30);

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long to wait before connecting again.
const RETRY: Duration = Duration::from_millis(200);

/// Hears what other replicas change.
#[derive(Debug)]
pub struct Listener {
    notices: Notices,
    hints: Hints,
    hub: Hub,
}

impl Listener {
    /// A listener to the other replicas over this database.
    pub fn new(notices: Notices, database: &Database, hub: Hub) -> Self {
        Self {
            notices,
            hints: database.hints().clone(),
            hub,
        }
    }

    /// Listens again and again; never returns.
    pub async fn run(self) {
        let mut answers = true;
        loop {
            match self.notices.listen().await {
                Ok(listening) => {
                    answers = true;
                    // What was told while nobody listened.
                    self.hub.missed();
                    self.hear(listening).await;
                }
                Err(error) => {
                    if answers {
                        let error = error.with_causes();
                        tracing::warn!(error, "cannot listen to other replicas");
                    }
                    answers = false;
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Passes on what it hears, until the connection is lost.
    async fn hear(&self, mut listening: Listening) {
        loop {
            let heard = match timeout(SILENCE, listening.next()).await {
                Ok(heard) => heard,
                Err(_) => match stands(&mut listening).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match heard {
                Ok(Some(Heard::Projects(ids))) => {
                    for id in ids {
                        self.hints.heard(id);
                    }
                }
                Ok(Some(Heard::Something)) => self.hub.missed(),
                Ok(None) => return tracing::info!("the connection that listens was lost"),
                Err(error) => {
                    let error = error.with_causes();
                    return tracing::warn!(error, "cannot listen to other replicas");
                }
            }
        }
    }
}

async fn stands(listening: &mut Listening) -> Result<()> {
    let answer = timeout(ANSWER, listening.check()).await;
    answer.unwrap_or_else(|_| Err(Error::OutOfDate))
}
