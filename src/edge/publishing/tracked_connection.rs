use std::time::{Duration, Instant};

use super::sanitize;
use crate::{
    domain::Secret,
    edge::publisher::{ConnectionId, PublishRequest},
    proto::v1::{EndReason, NodeConnection, StreamStats},
};

/// The shortest time between two snapshots that count as two.
const MIN_SNAPSHOT_INTERVAL: Duration = Duration::from_millis(1500);

/// A publish that the control plane has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcceptedPublish {
    pub(super) stream_id: String,
    pub(super) epoch: i64,
    pub(super) boot_id: String,
}

impl AcceptedPublish {
    /// Whether it was accepted before another one of the same project: stream ids begin
    /// with their time, and epochs count the connections of a stream.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (&self.stream_id, self.epoch) < (&other.stream_id, other.epoch)
    }
}

/// What the control plane has decided about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublishState {
    /// A BeginPublish call is running.
    Pending,
    /// It may publish.
    Accepted(AcceptedPublish),
    /// It publishes without a BeginPublish call in this boot.
    Unknown,
    /// It is disconnected until it is gone.
    Kicked(EndReason),
}

/// A connection of the media server.
#[derive(Debug, Clone)]
pub(super) struct TrackedConnection {
    pub(super) state: PublishState,
    /// Its publish request; `None` if no hook or snapshot had it.
    pub(super) request: Option<PublishRequest>,
    /// When it became known or was accepted.
    pub(super) since: Instant,
    /// Whether a snapshot has had it.
    pub(super) was_listed: bool,
    /// The number of snapshots in a row without it, and when the last one was.
    pub(super) absences: Option<(u8, Instant)>,
    pub(super) media_flows: bool,
    /// The last measured values, and when they were measured.
    pub(super) measured: Option<(Instant, StreamStats)>,
    pub(super) heartbeat_queued: bool,
}

impl TrackedConnection {
    pub(super) fn new(state: PublishState, request: Option<PublishRequest>, now: Instant) -> Self {
        Self {
            state,
            request,
            since: now,
            was_listed: false,
            absences: None,
            media_flows: false,
            measured: None,
            heartbeat_queued: false,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.state == PublishState::Pending
    }

    /// A snapshot lacks it. Returns the number of such snapshots in a row; snapshots within
    /// 1.5 seconds count as one.
    pub(super) fn count_absence(&mut self, now: Instant) -> u8 {
        let absences = match self.absences {
            Some((count, last)) if now < last + MIN_SNAPSHOT_INTERVAL => (count, last),
            Some((count, _)) => (count.saturating_add(1), now),
            None => (1, now),
        };
        self.absences.insert(absences).0
    }

    pub(super) fn has_key(&self, key: &Secret) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|request| request.stream_key == *key)
    }

    /// Stores measured values. Where the media server measures no bitrate, it is computed
    /// from the bytes since the last time.
    pub(super) fn measure(&mut self, stats: &StreamStats, now: Instant) {
        let mut stats = sanitize::stats(stats);
        if let (0, Some((then, before))) = (stats.bitrate_bps, &self.measured) {
            let bytes = stats.bytes_received - before.bytes_received;
            let seconds = now.duration_since(*then).as_secs_f64();
            if bytes > 0 && seconds > 0.0 {
                stats.bitrate_bps = bits_per_second(bytes, seconds);
            }
        }
        self.media_flows |= stats.bytes_received > 0;
        self.measured = Some((now, stats));
    }

    /// Its entry in a SyncNode report. The stream key and the play URL are left out while a
    /// decision is pending or made against it, as they would have it adopted.
    pub(super) fn report(&self, id: &ConnectionId) -> NodeConnection {
        let (stream_id, epoch) = match &self.state {
            PublishState::Accepted(publish) => (publish.stream_id.clone(), publish.epoch),
            _ => Default::default(),
        };
        let is_adoptable = matches!(
            self.state,
            PublishState::Accepted(_) | PublishState::Unknown
        );
        let request = self.request.as_ref();
        let adoptable = request.filter(|_| is_adoptable);
        let stream_key = adoptable.map(|request| sanitize::stream_key(&request.stream_key));
        let peer_address = request.map(|request| sanitize::peer_address(&request.peer_address));
        let play_url = adoptable.map(|request| sanitize::play_url(&request.play_url));
        NodeConnection {
            connection_id: id.as_str().to_owned(),
            stream_id,
            epoch,
            stats: self.stats(),
            stream_key: stream_key.unwrap_or_default(),
            peer_address: peer_address.unwrap_or_default(),
            protocol: request.map_or(0, |request| request.protocol.into()),
            play_url: play_url.unwrap_or_default(),
        }
    }

    /// The values as the contract defines them: absent if media flows unmeasured, zero
    /// bytes if no media has come.
    pub(super) fn stats(&self) -> Option<StreamStats> {
        let measured = self.measured.as_ref().map(|(_, stats)| stats.clone());
        match measured {
            Some(stats) if stats.bytes_received > 0 => Some(stats),
            _ if self.media_flows => None,
            measured => Some(StreamStats {
                bytes_received: 0,
                ..measured.unwrap_or_default()
            }),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bitrate is approximate, and far below the bounds"
)]
fn bits_per_second(bytes: i64, seconds: f64) -> i64 {
    (bytes as f64 * 8.0 / seconds) as i64
}
