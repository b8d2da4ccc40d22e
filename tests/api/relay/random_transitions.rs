//! Random operations on a relay, with its invariants checked after each.

use std::{collections::HashSet, time::Duration};

use sluice::domain::{
    DestinationId, IngestProtocol, ProjectId, Publisher, Relay, RelayDelivery, RelayError,
    RelayReport, RelayState, RelayTimeouts, ReportOutcome, ReportedState, Stream, StreamDelay,
    StreamTimeouts, Time, now,
};
use uuid::Uuid;

const TIMEOUTS: RelayTimeouts = RelayTimeouts {
    lease: Duration::from_secs(15),
    stall: Duration::from_secs(10),
};

/// A deterministic random number generator (xorshift64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn error(&mut self) -> RelayError {
        RelayError {
            code: "X".to_owned(),
            fatal: self.below(4) == 0,
            message: String::new(),
        }
    }

    fn reported_state(&mut self) -> ReportedState {
        match self.below(15) {
            12..=14 => ReportedState::Holding,
            0 => ReportedState::Starting,
            1..=6 => ReportedState::Broadcasting,
            7 => ReportedState::Stalled,
            8 => ReportedState::Stopping,
            9 => ReportedState::Stopped,
            10 => ReportedState::Retrying(self.error()),
            _ => ReportedState::Failed(self.error()),
        }
    }
}

fn relay(now: Time) -> Relay {
    let publisher = Publisher {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connection_id: "c1".to_owned(),
        peer_address: String::new(),
        protocol: IngestProtocol::Rtmp,
    };
    let timeouts = StreamTimeouts {
        connect: Duration::from_secs(30),
        heartbeat: Duration::from_secs(35),
    };
    let stream = Stream::begin(ProjectId::generate(), publisher, timeouts, now);
    Relay::new(&stream, DestinationId::generate(), now)
}

/// A report with the current lease or, sometimes, an old one.
fn report(rng: &mut Rng, relay: &mut Relay, leases: &[Uuid], held: bool, now: Time) {
    let before = format!("{relay:?}");
    let last = leases.len().saturating_sub(1);
    let late = rng.below(3) == 0;
    let index = last.saturating_sub(usize::from(late));
    let (Some(lease_id), seen) = (leases.get(index).copied(), rng.reported_state()) else {
        return;
    };
    let has = relay
        .lease
        .as_ref()
        .is_some_and(|lease| lease.id == lease_id);
    let growth = i64::try_from(rng.below(4)).unwrap() - 1;
    let report = RelayReport {
        lease_id,
        bytes_sent: (relay.bytes_sent + growth).max(0),
        bitrate_bps: 1,
        state: seen.clone(),
        delivery: RelayDelivery::default(),
    };
    let attempt = relay.attempt;
    let drains_until = (relay.state == RelayState::Draining).then_some(relay.ready_time);
    let stops =
        relay.state == RelayState::Stopping || drains_until.is_some_and(|until| until <= now);

    let reported = relay.report("w1", &report, held, TIMEOUTS, now);

    let gives_back = matches!(
        seen,
        ReportedState::Stopped | ReportedState::Retrying(_) | ReportedState::Failed(_)
    );
    assert_eq!(
        reported == ReportOutcome::Lost,
        !has || stops && !gives_back
    );
    match reported {
        ReportOutcome::Lost => assert_eq!(before, format!("{relay:?}"), "fenced"),
        ReportOutcome::Renewed => assert!(relay.lease.is_some()),
        ReportOutcome::Changed => assert_eq!(relay.lease.is_none(), gives_back),
    }
    if let ReportedState::Retrying(error) = &seen
        && held
        && !error.fatal
    {
        assert!(relay.attempt <= attempt, "a failure of nobody");
    }
    if relay.state == RelayState::Broadcasting && growth <= 0 && has && !gives_back {
        assert!(before.contains("state: Broadcasting"), "{before}");
    }
    if relay.state == RelayState::Holding && growth <= 0 && has && !gives_back {
        assert!(before.contains("state: Holding"), "{before}");
    }
}

fn step(rng: &mut Rng, relay: &mut Relay, leases: &mut Vec<Uuid>, held: bool, now: Time) {
    let before = format!("{relay:?}");
    let expire_time = relay.lease.as_ref().map(|lease| lease.expire_time);
    let changed = match rng.below(22) {
        21 if rng.below(4) == 0 => relay.drain(StreamDelay::from_millis(20_000), now),
        20 => relay.follow(now),
        0 => relay.start(now),
        1 => relay.stop(now),
        2 => relay.relocate(now),
        3 => relay.redirect(now),
        4 if rng.below(8) == 0 => relay.end(now),
        5..=7 => relay.expire(held, TIMEOUTS, now),
        8..=11 if relay.is_claimable(now) && !held => {
            relay.claim("w1", TIMEOUTS, now);
            leases.extend(relay.lease.as_ref().map(|lease| lease.id));
            true
        }
        _ => return report(rng, relay, leases, held, now),
    };
    assert_eq!(changed, before != format!("{relay:?}"), "{before}");
    let lasts = expire_time.is_some_and(|time| time > now);
    assert!(!lasts || relay.lease.is_some(), "taken away: {before}");
}

fn assert_consistent(relay: &Relay) {
    use RelayState::{
        Broadcasting, Draining, Failed, Holding, Idle, Retrying, Stalled, Starting, Stopping,
    };
    let leased = relay.lease.is_some();
    match relay.state {
        Idle => assert!(!leased),
        Retrying => assert!(!leased && relay.wanted && relay.error.is_some()),
        Failed => assert!(!leased && relay.error.is_some()),
        Starting | Broadcasting | Holding | Stalled => {
            assert!(leased && relay.wanted, "{relay:?}");
        }
        Stopping => assert!(leased),
        Draining => assert!(leased && !relay.wanted),
    }
    let waits = relay.ready_time > relay.update_time;
    assert!(
        !waits || matches!(relay.state, Idle | Retrying | Draining),
        "{relay:?}"
    );
    assert!(waits || relay.state != Retrying, "{relay:?}");
    assert!(relay.attempt >= 0 && relay.bytes_sent >= 0);
    let claimable = relay.is_claimable(now() + Duration::from_secs(1_000_000));
    assert!(!claimable || matches!(relay.state, Idle | Retrying));
    if let Some(lease) = &relay.lease {
        assert!(lease.claim_time <= lease.expire_time);
        let sent = relay.bytes_sent > 0;
        assert_eq!(sent, lease.broadcast_time.is_some(), "{relay:?}");
    }
}

#[test]
fn a_relay_stays_consistent_under_random_operations() {
    let mut states = HashSet::new();
    for seed in 1..=500_u64 {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut now = now();
        let mut relay = relay(now);
        let mut leases = Vec::new();
        for _ in 0..200 {
            now += Duration::from_secs(rng.below(8));
            let held = rng.below(5) == 0;
            step(&mut rng, &mut relay, &mut leases, held, now);
            assert_consistent(&relay);
            states.insert(relay.state.as_str());
        }
        let different: HashSet<_> = leases.iter().collect();
        assert_eq!(different.len(), leases.len(), "every lease is new");
    }
    assert_eq!(states.len(), RelayState::ALL.len(), "{states:?}");
}
