use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use sluice::proto::v1::{
    self as pb, stream_service_client::StreamServiceClient, watch_project_response::Event,
};
use tokio::time::{Instant, interval, timeout_at};
use tonic::{Streaming, transport::Channel};

use crate::{account::Account, board::Board};

/// How often the bytes of relays are asked for: watching does not tell them.
const EVERY: Duration = Duration::from_secs(1);

/// What its owner sees of a project.
#[derive(Default)]
pub struct Seen {
    pub stream: Option<pb::Stream>,
    /// The relays of the stream, by destination.
    pub relays: BTreeMap<String, pb::Relay>,
}

/// A project that is watched.
pub struct Watch {
    pub seen: Seen,
    changes: Streaming<pb::WatchProjectResponse>,
    client: StreamServiceClient<Channel>,
}

impl Seen {
    /// Where the stream is in its life.
    pub fn status(&self) -> pb::StreamStatus {
        let stream = self.stream.as_ref();
        stream.map_or(pb::StreamStatus::Unspecified, pb::Stream::status)
    }

    /// What is observed of the relay to a destination.
    pub fn relay_state(&self, destination_id: &str) -> pb::RelayState {
        let relay = self.relays.get(destination_id);
        relay.map_or(pb::RelayState::Unspecified, pb::Relay::state)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::StreamChanged(stream) => {
                let before = self.stream.replace(stream);
                let is_other = |now: &pb::Stream| before.is_none_or(|before| before.id != now.id);
                if self.stream.as_ref().is_some_and(is_other) {
                    self.relays.clear();
                }
            }
            Event::RelayChanged(relay) => {
                self.relays.insert(relay.destination_id.clone(), relay);
            }
            // Nothing else happens here.
            _ => {}
        }
    }
}

impl Watch {
    /// Begins to watch.
    pub async fn of(account: &Account) -> anyhow::Result<Self> {
        let mut client = StreamServiceClient::new(account.channel());
        let request = pb::WatchProjectRequest {
            project_id: account.project_id.clone(),
            after_revision: 0,
        };
        let changes = client.watch_project(account.signed(request)).await?;
        Ok(Self {
            seen: Seen::default(),
            changes: changes.into_inner(),
            client,
        })
    }

    /// Waits until something is so, and shows meanwhile what is; an error when it takes
    /// longer than this.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        account: &Account,
        board: &mut Board,
        mut is_so: impl AsyncFnMut(&Seen) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut tick = interval(EVERY);
        while !is_so(&self.seen).await? {
            let next = async {
                tokio::select! {
                    change = self.changes.message() => Ok(Some(change?)),
                    _ = tick.tick() => anyhow::Ok(None),
                }
            };
            let next = timeout_at(deadline, next).await;
            let next = next.with_context(|| format!("within {limit:?} not so: {what}"))?;
            match next? {
                Some(Some(change)) => change
                    .event
                    .into_iter()
                    .for_each(|event| self.seen.take(event)),
                Some(None) => bail!("the control plane has ended the watch"),
                None => self.ask_bytes(account).await?,
            }
            board.show(&self.seen);
        }
        Ok(())
    }

    async fn ask_bytes(&mut self, account: &Account) -> anyhow::Result<()> {
        let Some(stream) = &self.seen.stream else {
            return Ok(());
        };
        let request = pb::ListRelaysRequest {
            stream_id: stream.id.clone(),
        };
        let answer = self.client.list_relays(account.signed(request)).await?;
        for now in answer.into_inner().relays {
            if let Some(relay) = self.seen.relays.get_mut(&now.destination_id) {
                relay.bytes_sent = now.bytes_sent;
            }
        }
        Ok(())
    }
}
