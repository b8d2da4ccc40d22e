use std::collections::BTreeMap;

use super::feed::Update;
use crate::proto::v1::{self as pb, watch_projects_response::Event};

/// The number of refusals that are shown.
const MAX_REFUSALS: usize = 5;

/// A project as the updates so far describe it.
#[derive(Default)]
pub(super) struct View {
    pub project: pb::Project,
    pub revision: i64,
    /// Whether all changes up to the start of the watch have arrived.
    pub is_synced: bool,
    pub is_deleted: bool,
    /// Why the watch is interrupted; `None` while it is not.
    pub interruption: Option<String>,
    /// By id.
    pub destinations: BTreeMap<String, pb::Destination>,
    /// The last stream, which may have ended.
    pub stream: Option<pb::Stream>,
    /// The relays of that stream, by the id of their destination.
    pub relays: BTreeMap<String, pb::Relay>,
    /// Newest first.
    pub refusals: Vec<pb::Refusal>,
    /// The present issues of the stream and its relays.
    pub issues: Vec<pb::Issue>,
}

impl View {
    /// Changes the view.
    pub fn apply(&mut self, update: &Update) {
        match update {
            Update::Interrupted { sentence, .. } => self.interruption = Some(sentence.clone()),
            Update::Started => self.issues.clear(),
            Update::EarlierRefusals(refusals) => refusals.iter().for_each(|one| self.refused(one)),
            Update::Message(message) => {
                self.interruption = None;
                if !message.project_id.is_empty() {
                    self.revision = message.revision;
                }
                if let Some(event) = &message.event {
                    self.apply_event(event);
                }
            }
        }
    }

    /// The name of a destination, or its id if it is not known.
    pub fn destination_name(&self, id: &str) -> String {
        let destination = self.destinations.get(id);
        destination
            .map_or(id, |one| one.display_name.as_str())
            .to_owned()
    }

    fn apply_event(&mut self, event: &Event) {
        match event {
            Event::Snapshot(snapshot) => {
                self.project = snapshot.project.clone().unwrap_or_default();
                let destinations = snapshot.destinations.iter().cloned();
                self.destinations = destinations.map(|one| (one.id.clone(), one)).collect();
                self.stream.clone_from(&snapshot.stream);
                let relays = snapshot.relays.iter().cloned();
                self.relays = relays
                    .map(|one| (one.destination_id.clone(), one))
                    .collect();
            }
            Event::Synced(_) => self.is_synced = true,
            Event::Heartbeat(_) => {}
            // A snapshot follows.
            Event::Resync(_) => self.issues.clear(),
            Event::PublisherRefused(refusal) => self.refused(refusal),
            Event::IssuesChanged(change) => self.issues.clone_from(&change.issues),
            Event::Stats(stats) => self.apply_statistics(stats),
            Event::ProjectUpdated(project) => self.project = project.clone(),
            Event::DestinationChanged(change) => {
                match &change.destination {
                    Some(one) => self.destinations.insert(one.id.clone(), one.clone()),
                    None => self.destinations.remove(&change.destination_id),
                };
            }
            Event::StreamChanged(stream) => self.apply_stream(stream),
            Event::RelayChanged(relay) => {
                // Ids are in the order of creation: not a late change of an earlier stream.
                let current = self.stream.as_ref().map_or("", |stream| stream.id.as_str());
                if *relay.stream_id >= *current {
                    let id = relay.destination_id.clone();
                    self.relays.insert(id, relay.clone());
                }
            }
            Event::ProjectDeleted(_) => self.is_deleted = true,
        }
    }

    fn apply_stream(&mut self, stream: &pb::Stream) {
        let current = self
            .stream
            .as_ref()
            .map_or("", |current| current.id.as_str());
        if *stream.id < *current {
            return;
        }
        self.relays.retain(|_, relay| relay.stream_id == stream.id);
        self.stream = Some(stream.clone());
    }

    /// Adds a refusal, unless it is there already.
    fn refused(&mut self, refusal: &pb::Refusal) {
        let time = |refusal: &pb::Refusal| {
            let time = refusal.create_time.unwrap_or_default();
            (time.seconds, time.nanos)
        };
        if !self.refusals.contains(refusal) {
            let newer = self.refusals.iter();
            let at = newer.take_while(|one| time(one) > time(refusal)).count();
            self.refusals.insert(at, refusal.clone());
            self.refusals.truncate(MAX_REFUSALS);
        }
    }

    fn apply_statistics(&mut self, stats: &pb::ProjectStats) {
        let stream = self.stream.as_mut();
        let Some(current) = stream.filter(|current| current.id == stats.stream_id) else {
            return;
        };
        current.stats.clone_from(&stats.stream);
        for relay in &stats.relays {
            if let Some(shown) = self.relays.get_mut(&relay.destination_id) {
                shown.bitrate_bps = relay.bitrate_bps;
                shown.bytes_sent = relay.bytes_sent;
                shown.lag_ms = relay.lag_ms;
                shown.dropped_packets = relay.dropped_packets;
                shown.retransmitted_segments = relay.retransmitted_segments;
            }
        }
    }
}
