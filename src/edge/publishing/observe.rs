use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    registry::{EndedPublish, Registry},
    tracked_connection::{PublishState, TrackedConnection},
};
use crate::edge::publisher::{ConnectionId, ObservedPublisher, PublisherSnapshot};

/// The age at which the absence of a connection that was listed before begins to count.
const MIN_AGE: Duration = Duration::from_secs(5);

/// The number of snapshots in a row without a connection after which it is gone.
const MAX_ABSENCES: u8 = 2;

/// The time for which an ended or refused connection is not taken for a new one while the
/// media server still lists it.
const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(10);

/// What a snapshot of the media server has changed.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// The media server has restarted.
    pub(super) is_new_boot: bool,
    /// There are connections that the control plane does not know.
    pub(super) has_unknown: bool,
    /// Accepted connections whose media has started.
    pub(super) media_started: Vec<ConnectionId>,
    /// Publishes whose connections are gone.
    pub(super) ended: Vec<EndedPublish>,
}

impl Registry {
    /// Applies a snapshot of the media server, which was requested at `asked_at`.
    pub(super) fn observe(
        &mut self,
        snapshot: &PublisherSnapshot,
        asked_at: Instant,
        now: Instant,
    ) -> Observation {
        let mut observation = Observation {
            is_new_boot: self.boot_id.as_ref() != Some(&snapshot.boot_id),
            ..Observation::default()
        };
        let listed = snapshot.publishers.iter().map(|publisher| &publisher.id);
        let listed: HashSet<_> = listed.collect();
        if observation.is_new_boot {
            self.begin_boot(&snapshot.boot_id, &listed);
        }
        self.tombstones
            .retain(|_, since| *since + TOMBSTONE_LIFETIME > now);
        for publisher in &snapshot.publishers {
            self.observe_publisher(publisher, now, &mut observation);
        }
        for id in self.absent(&listed, snapshot.listing_delay, asked_at) {
            observation.ended.extend(self.end(&id, now));
        }
        observation
    }

    /// Removes connections that the media server has lost. Those that it still lists have
    /// to be adopted into its new boot.
    fn begin_boot(&mut self, boot_id: &str, listed: &HashSet<&ConnectionId>) {
        self.boot_id = Some(boot_id.to_owned());
        self.tombstones.clear();
        self.connections
            .retain(|id, connection| connection.is_pending() || listed.contains(id));
        for connection in self.connections.values_mut() {
            if matches!(connection.state, PublishState::Accepted(_)) {
                connection.state = PublishState::Unknown;
            }
        }
    }

    fn observe_publisher(
        &mut self,
        publisher: &ObservedPublisher,
        now: Instant,
        observation: &mut Observation,
    ) {
        let is_new = !self.connections.contains_key(&publisher.id);
        if is_new && (self.is_full() || self.tombstones.contains_key(&publisher.id)) {
            return;
        }
        let connection = self
            .connections
            .entry(publisher.id.clone())
            .or_insert_with(|| TrackedConnection::new(PublishState::Unknown, None, now));
        connection.absences = None;
        connection.was_listed = true;
        if connection.request.is_none() {
            connection.request.clone_from(&publisher.request);
        }
        let had_media = connection.media_flows;
        match &publisher.stats {
            Some(stats) => connection.measure(stats, now),
            None => connection.media_flows |= is_new,
        }
        observation.has_unknown |= is_new;
        let is_accepted = matches!(connection.state, PublishState::Accepted(_));
        if connection.media_flows && !had_media && is_accepted {
            observation.media_started.push(publisher.id.clone());
        }
    }

    /// The connections that were absent for so long that they are gone.
    fn absent(
        &mut self,
        listed: &HashSet<&ConnectionId>,
        listing_delay: Duration,
        asked_at: Instant,
    ) -> Vec<ConnectionId> {
        let mut absent = Vec::new();
        for (id, connection) in &mut self.connections {
            if listed.contains(id) || connection.is_pending() {
                continue;
            }
            let min_age = match connection.was_listed {
                true => MIN_AGE,
                false => listing_delay,
            };
            let is_old = connection.since + min_age <= asked_at;
            if connection.count_absence(asked_at) >= MAX_ABSENCES && is_old {
                absent.push(id.clone());
            }
        }
        absent
    }
}
