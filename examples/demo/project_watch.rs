use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use sluice::proto::v1::{
    self as pb, stream_service_client::StreamServiceClient, watch_project_response::Event,
};
use tokio::time::{Instant, interval, timeout_at};
use tonic::{Streaming, transport::Channel};

use crate::{account::Account, board::Board};

/// The poll interval for the bytes that relays have sent: a watch has no events for them.
const BYTES_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The observed state of a project.
#[derive(Default)]
pub struct Observed {
    pub stream: Option<pb::Stream>,
    /// The relays of the stream, by destination.
    pub relays: BTreeMap<String, pb::Relay>,
}

/// A watch of a project.
pub struct ProjectWatch {
    pub observed: Observed,
    changes: Streaming<pb::WatchProjectResponse>,
    client: StreamServiceClient<Channel>,
}

impl Observed {
    /// The state of the stream.
    pub fn state(&self) -> pb::StreamState {
        let stream = self.stream.as_ref();
        stream.map_or(pb::StreamState::Unspecified, pb::Stream::state)
    }

    /// The state of the relay to a destination.
    pub fn relay_state(&self, destination_id: &str) -> pb::RelayState {
        let relay = self.relays.get(destination_id);
        relay.map_or(pb::RelayState::Unspecified, pb::Relay::state)
    }

    fn apply(&mut self, event: Event) {
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
            // The demo changes nothing else.
            _ => {}
        }
    }
}

impl ProjectWatch {
    /// Starts a watch.
    pub async fn start(account: &Account) -> anyhow::Result<Self> {
        let mut client = StreamServiceClient::new(account.channel());
        let request = pb::WatchProjectRequest {
            project_id: account.project_id.clone(),
            after_revision: 0,
        };
        let changes = client.watch_project(account.signed(request)).await?;
        Ok(Self {
            observed: Observed::default(),
            changes: changes.into_inner(),
            client,
        })
    }

    /// Shows the state until a condition holds. Fails after `limit`.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        account: &Account,
        board: &mut Board,
        mut condition: impl AsyncFnMut(&Observed) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut tick = interval(BYTES_POLL_INTERVAL);
        while !condition(&self.observed).await? {
            let next = async {
                tokio::select! {
                    change = self.changes.message() => Ok(Some(change?)),
                    _ = tick.tick() => anyhow::Ok(None),
                }
            };
            let next = timeout_at(deadline, next).await;
            let next = next.with_context(|| format!("not within {limit:?}: {what}"))?;
            match next? {
                Some(Some(change)) => change
                    .event
                    .into_iter()
                    .for_each(|event| self.observed.apply(event)),
                Some(None) => bail!("the control plane ended the watch"),
                None => self.poll_bytes(account).await?,
            }
            board.show(&self.observed);
        }
        Ok(())
    }

    async fn poll_bytes(&mut self, account: &Account) -> anyhow::Result<()> {
        let Some(stream) = &self.observed.stream else {
            return Ok(());
        };
        let request = pb::ListRelaysRequest {
            stream_id: stream.id.clone(),
            ..Default::default()
        };
        let answer = self.client.list_relays(account.signed(request)).await?;
        for now in answer.into_inner().relays {
            if let Some(relay) = self.observed.relays.get_mut(&now.destination_id) {
                relay.bytes_sent = now.bytes_sent;
            }
        }
        Ok(())
    }
}
