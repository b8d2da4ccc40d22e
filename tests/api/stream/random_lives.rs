//! Many random lives of a stream, and what is true at every moment of each.

use std::{collections::HashSet, time::Duration};

use sluice::domain::{
    Admission, EndReason, Heartbeat, IngestProtocol, ProjectId, PublishConflictPolicy, PublishGate,
    Publisher, ReconnectWindow, Status, Stream, Time, Timeouts, now,
};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(30),
    heartbeat: Duration::from_secs(35),
};

/// Numbers that are the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn connection(&mut self) -> Publisher {
        Publisher {
            node_id: "n1".to_owned(),
            boot_id: "b1".to_owned(),
            connection_id: self.roll(3).to_string(),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        }
    }
}

fn begin(gate: &PublishGate, running: &mut Vec<Stream>, publisher: Publisher, now: Time) {
    let stream = running.last().filter(|s| s.status != Status::Ended);
    let Ok(admission) = gate.admit(stream, &publisher, now) else {
        let stream = stream.expect("only a running stream refuses");
        assert_eq!(gate.policy, PublishConflictPolicy::RejectNew);
        assert!(!stream.publisher.is_same_connection(&publisher));
        return;
    };
    match (admission, running.last_mut()) {
        (Admission::Repeat, Some(stream)) => stream.seen(false, now),
        (Admission::Resume, Some(stream)) => {
            assert_eq!(stream.status, Status::Reconnecting);
            stream.resume(publisher, TIMEOUTS, now);
        }
        (admission, last) => {
            if let Some(loser) = last.filter(|stream| stream.status != Status::Ended) {
                assert_eq!(admission, Admission::TakeOver);
                loser.end(EndReason::TakenOver, now);
            }
            let stream = Stream::begin(gate.project_id, publisher, TIMEOUTS, now);
            running.push(stream);
        }
    }
}

fn step(
    dice: &mut Dice,
    gate: &PublishGate,
    window: ReconnectWindow,
    streams: &mut Vec<Stream>,
    now: Time,
) {
    let publisher = dice.connection();
    if streams.is_empty() || dice.roll(3) == 0 {
        return begin(gate, streams, publisher, now);
    }
    // Mostly the newest stream and its epoch; sometimes what is long gone.
    let back = if dice.roll(4) == 0 { dice.roll(8) } else { 0 };
    let index = (streams.len() - 1).saturating_sub(usize::try_from(back).unwrap());
    let stream = &mut streams[index];
    let late = i64::from(dice.roll(4) == 0);
    let epoch = (stream.epoch - late).max(1);

    let before = format!("{stream:?}");
    let held = stream.is_held_by(&publisher, epoch);
    let verdict = stream.verdict(&publisher, epoch);
    assert_eq!(held, verdict == Heartbeat::Continue);
    match dice.roll(8) {
        0..=3 if held => stream.seen(dice.roll(3) > 0, now),
        4..=5 if held => stream.disconnected(window, now),
        6 => {
            let changed = stream.expire(window, TIMEOUTS, now);
            assert_eq!(changed, before != format!("{stream:?}"));
            assert!(!stream.expire(window, TIMEOUTS, now), "twice at once");
        }
        7 if dice.roll(8) == 0 && stream.status != Status::Ended => {
            stream.end(EndReason::StoppedByOwner, now);
        }
        _ => {}
    }
}

fn holds_together(stream: &Stream, window: ReconnectWindow) {
    let ended = stream.status == Status::Ended;
    let waiting = [Status::Connecting, Status::Reconnecting].contains(&stream.status);
    let media = [Status::Live, Status::Reconnecting].contains(&stream.status);
    assert_eq!(ended, stream.end_time.is_some(), "{stream:?}");
    assert_eq!(ended, stream.end_reason.is_some(), "{stream:?}");
    assert_eq!(waiting, stream.deadline.is_some(), "{stream:?}");
    assert!(stream.epoch >= 1);
    assert!(stream.create_time <= stream.last_seen_time, "{stream:?}");
    match stream.status {
        Status::Connecting => assert!(stream.connected && stream.live_time.is_none()),
        Status::Live => assert!(stream.connected && stream.live_time.is_some()),
        Status::Reconnecting => assert!(!window.is_zero(), "{stream:?}"),
        Status::Ended => assert!(!stream.connected, "{stream:?}"),
    }
    assert!(media || stream.live_time.is_none() || ended, "{stream:?}");
    if let Some(end_time) = stream.end_time {
        assert!(end_time >= stream.last_seen_time, "{stream:?}");
    }
    let never = stream.end_reason == Some(EndReason::NeverStarted);
    assert!(!never || stream.live_time.is_none(), "{stream:?}");
}

#[test]
fn whatever_happens_in_whatever_order_a_stream_holds_together() {
    let mut reasons = HashSet::new();
    for seed in 1..=300_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let window = Duration::from_secs(dice.roll(2) * 60);
        let window = ReconnectWindow::parse(window).unwrap();
        let gate = PublishGate {
            project_id: ProjectId::generate(),
            disabled: false,
            window,
            key_expire_time: None,
            held_until: None,
            policy: match dice.roll(2) {
                0 => PublishConflictPolicy::RejectNew,
                _ => PublishConflictPolicy::Takeover,
            },
        };
        let mut now = now();
        let mut streams: Vec<Stream> = Vec::new();

        for _ in 0..100 {
            now += Duration::from_secs(dice.roll(20) + dice.roll(2) * dice.roll(60));
            let before = streams.clone();
            step(&mut dice, &gate, window, &mut streams, now);

            let running = streams.iter().filter(|s| s.status != Status::Ended).count();
            assert!(running <= 1, "seed {seed}: {streams:?}");
            for stream in &streams {
                holds_together(stream, window);
            }
            for (before, after) in before.iter().zip(&streams) {
                if before.status == Status::Ended {
                    assert_eq!(format!("{before:?}"), format!("{after:?}"));
                }
                assert!(before.epoch <= after.epoch && after.epoch <= before.epoch + 1);
                let live_since = before.live_time;
                assert!(live_since.is_none() || live_since == after.live_time);
                assert!(before.last_seen_time <= after.last_seen_time);
            }
        }
        let ended = streams.iter().filter_map(|stream| stream.end_reason);
        reasons.extend(ended.map(EndReason::as_str));
    }
    assert_eq!(reasons.len(), 6, "every end was tried: {reasons:?}");
}
