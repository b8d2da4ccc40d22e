//! What workers report of their relays, in the memory of the server that gets the reports.
//!
//! A relay that broadcasts sends more bytes in every report. Its row gets them with each change of
//! its state, and else every [`WRITE_INTERVAL`]: as long as a worker reports, no byte count that
//! was acknowledged is missing in the database for longer. Until then this server shows what it
//! was told. Another one shows the row. So figures may differ between servers by
//! the interval, but they never fall.

use std::{collections::HashMap, fmt};

use chrono::TimeDelta;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::domain::{Relay, RelayDelivery, RelayLease, RelayState, Time};

/// How often figures that no change accompanies are written.
pub(super) const WRITE_INTERVAL: TimeDelta = TimeDelta::seconds(30);

/// How long the figures of a lease are kept without a report.
const MAX_AGE: TimeDelta = TimeDelta::minutes(10);

/// The newest figures by lease.
#[derive(Default)]
pub(crate) struct RelayProgress {
    reported: Mutex<Reported>,
}

#[derive(Default)]
struct Reported {
    by_lease: HashMap<Uuid, Figures>,
    /// When old figures were last removed.
    clean_time: Option<Time>,
}

/// The figures of a relay after a report.
#[derive(Clone)]
struct Figures {
    report_time: Time,
    state: RelayState,
    bytes_sent: i64,
    bitrate_bps: i64,
    delivery: RelayDelivery,
    last_progress_time: Option<Time>,
    broadcast_time: Option<Time>,
    silent_since: Time,
}

impl RelayProgress {
    /// Remembers a relay after a report that has renewed its lease.
    pub(super) fn remember(&self, relay: &Relay, now: Time) {
        let Some(lease) = &relay.lease else {
            return;
        };
        let mut reported = self.reported.lock();
        if reported
            .clean_time
            .is_none_or(|at| at + TimeDelta::minutes(1) < now)
        {
            reported.clean_time = Some(now);
            let by_lease = &mut reported.by_lease;
            by_lease.retain(|_, figures| figures.report_time + MAX_AGE > now);
        }
        let figures = Figures {
            report_time: now,
            state: relay.state,
            bytes_sent: relay.bytes_sent,
            bitrate_bps: relay.bitrate_bps,
            delivery: relay.delivery.clone(),
            last_progress_time: relay.last_progress_time,
            broadcast_time: lease.broadcast_time,
            silent_since: lease.silent_since,
        };
        reported.by_lease.insert(lease.id, figures);
    }

    /// Forgets a lease that has ended.
    pub(super) fn forget(&self, lease_id: Uuid) {
        self.reported.lock().by_lease.remove(&lease_id);
    }

    /// Updates a relay as it is stored with newer figures.
    pub(crate) fn add_to(&self, relay: &mut Relay) {
        let Some(lease) = &mut relay.lease else {
            return;
        };
        let reported = self.reported.lock();
        let Some(figures) = reported.by_lease.get(&lease.id) else {
            return;
        };
        if figures.bytes_sent < relay.bytes_sent {
            return;
        }
        relay.bytes_sent = figures.bytes_sent;
        // Drops are written at once.
        relay.delivery = RelayDelivery {
            last_drop_time: relay.delivery.last_drop_time,
            ..figures.delivery.clone()
        };
        relay.last_progress_time = relay.last_progress_time.max(figures.last_progress_time);
        lease.broadcast_time = lease.broadcast_time.or(figures.broadcast_time);
        // A change of the state by somebody else has reset it.
        if figures.state == relay.state {
            relay.bitrate_bps = figures.bitrate_bps;
        }
    }

    /// The same for relays.
    pub(crate) fn add_to_all<'a>(&self, relays: impl IntoIterator<Item = &'a mut Relay>) {
        relays.into_iter().for_each(|relay| self.add_to(relay));
    }

    /// Updates a relay as it is stored for the decision on a report: also with the time since which
    /// it is silent. If only another server knows that, it is silent from now on.
    pub(super) fn resume(&self, relay: &mut Relay, now: Time) {
        self.add_to(relay);
        let Some(lease) = &mut relay.lease else {
            return;
        };
        let stored = Some(lease.silent_since).filter(|at| *at != RelayLease::WITH_WORKER);
        let reported = self.reported.lock();
        let reported = reported.by_lease.get(&lease.id);
        let reported = reported.map(|figures| figures.silent_since);
        // The later one: a stream that has media again has reset the stored one.
        lease.silent_since = stored.max(reported).unwrap_or(now);
    }
}

impl fmt::Debug for RelayProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RelayProgress")
            .finish_non_exhaustive()
    }
}
