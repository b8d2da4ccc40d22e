use std::time::{Duration, Instant};

use super::sanitize;
use crate::{
    domain::Secret,
    edge::connection::{ConnectionId, Offer},
    proto::v1::{EndReason, NodeConnection, StreamStats},
};

/// How far apart looks are that count each for itself.
const APART: Duration = Duration::from_millis(1500);

/// A publish that the control plane has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// The stream.
    pub(super) stream_id: String,
    /// The epoch of this connection.
    pub(super) epoch: i64,
    /// The run of the media server that the connection belongs to.
    pub(super) boot_id: String,
}

impl Grant {
    /// Whether it was given before another one of the same project: ids of streams begin
    /// with their time, epochs count the connections of one.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (&self.stream_id, self.epoch) < (&other.stream_id, other.epoch)
    }
}

/// How the control plane stands to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// BeginPublish is on its way.
    Pending,
    /// It may publish.
    Accepted(Grant),
    /// It publishes, and the control plane has not been asked.
    Unknown,
    /// It must go: it is disconnected until it is gone.
    Condemned(EndReason),
}

/// What is known of a connection.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) standing: Standing,
    /// As it was offered; `None` if the media server has not told.
    pub(super) offer: Option<Offer>,
    /// Since when it is known.
    pub(super) since: Instant,
    /// Whether a look has shown it.
    pub(super) shown: bool,
    /// How many looks in a row it was absent from, and when the last of them was.
    pub(super) missed: Option<(u8, Instant)>,
    /// Whether its media flows.
    pub(super) media: bool,
    /// What was last measured, and when.
    pub(super) measured: Option<(Instant, StreamStats)>,
    /// Whether the control plane is being told of it between reports.
    pub(super) is_told: bool,
}

impl Known {
    pub(super) fn new(standing: Standing, offer: Option<Offer>, now: Instant) -> Self {
        Self {
            standing,
            offer,
            since: now,
            shown: false,
            missed: None,
            media: false,
            measured: None,
            is_told: false,
        }
    }

    /// A look has not shown it: for how many that are not too close to each other that
    /// is so.
    pub(super) fn miss(&mut self, now: Instant) -> u8 {
        let missed = match self.missed {
            Some((missed, last)) if now < last + APART => (missed, last),
            Some((missed, _)) => (missed.saturating_add(1), now),
            None => (1, now),
        };
        self.missed.insert(missed).0
    }

    /// Whether it was offered with this stream key.
    pub(super) fn has_key(&self, key: &Secret) -> bool {
        let offer = self.offer.as_ref();
        offer.is_some_and(|offer| offer.stream_key == *key)
    }

    /// Takes what the media server measures. Where it gives no bitrate, the bytes since
    /// the last time do.
    pub(super) fn measure(&mut self, stats: &StreamStats, now: Instant) {
        let mut stats = sanitize::stats(stats);
        if let (0, Some((then, before))) = (stats.bitrate_bps, &self.measured) {
            let bytes = stats.bytes_received - before.bytes_received;
            let seconds = now.duration_since(*then).as_secs_f64();
            if bytes > 0 && seconds > 0.0 {
                stats.bitrate_bps = bits(bytes, seconds);
            }
        }
        self.media |= stats.bytes_received > 0;
        self.measured = Some((now, stats));
    }

    /// What SyncNode is to tell of it. Only one that nobody decided on can be adopted.
    pub(super) fn report(&self, id: &ConnectionId) -> NodeConnection {
        let (stream_id, epoch) = match &self.standing {
            Standing::Accepted(grant) => (grant.stream_id.clone(), grant.epoch),
            _ => Default::default(),
        };
        let adoptable = matches!(self.standing, Standing::Accepted(_) | Standing::Unknown);
        let offer = self.offer.as_ref();
        let keyed = offer.filter(|_| adoptable);
        NodeConnection {
            connection_id: id.as_str().to_owned(),
            stream_id,
            epoch,
            stats: self.stats(),
            stream_key: keyed.map_or_else(String::new, |offer| sanitize::key(&offer.stream_key)),
            peer_address: offer
                .map_or_else(String::new, |offer| sanitize::peer(&offer.peer_address)),
            protocol: offer.map_or(0, |offer| offer.protocol.into()),
            play_url: keyed.map_or_else(String::new, |offer| sanitize::url(&offer.play_url)),
        }
    }

    /// As the contract wants them: absent where media flows and nothing is measured, no
    /// bytes where none has come.
    pub(super) fn stats(&self) -> Option<StreamStats> {
        let measured = self.measured.as_ref().map(|(_, stats)| stats.clone());
        match measured {
            Some(stats) if stats.bytes_received > 0 => Some(stats),
            _ if self.media => None,
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
    reason = "a bitrate is no exact figure, and far from the bounds"
)]
fn bits(bytes: i64, seconds: f64) -> i64 {
    (bytes as f64 * 8.0 / seconds) as i64
}
