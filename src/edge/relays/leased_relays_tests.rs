use std::time::{Duration, Instant};

use prost_types::Timestamp;
use tonic::Code;

use super::{leased_relays::LeasedRelays, relay::Relay, status::RelayStatus};
use crate::proto::v1::{self, RelayAssignment, RelayState, ReportRelaysResponse};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

fn assignment(lease_id: &str, lease: Duration) -> RelayAssignment {
    RelayAssignment {
        relay: Some(v1::Relay {
            stream_id: "s".to_owned(),
            destination_id: "d".to_owned(),
            ..Default::default()
        }),
        lease_id: lease_id.to_owned(),
        lease_duration: Some(lease.try_into().unwrap()),
        // As of a control plane with another clock.
        lease_expire_time: Some(Timestamp::default()),
        input_url: "rtmp://127.0.0.1/live/a".to_owned(),
        output_url: "rtmp://127.0.0.1/app/k".to_owned(),
        output_server_url: "rtmp://127.0.0.1/app".to_owned(),
        output_stream_key: "k".to_owned(),
        connection_id: "c".to_owned(),
        ..Default::default()
    }
}

/// An answer that renews leases by 15 seconds, except these.
fn answer(lost: &[&str]) -> ReportRelaysResponse {
    ReportRelaysResponse {
        lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
        lease_duration: Some(LEASE.try_into().unwrap()),
        lease_expire_time: Some(Timestamp::default()),
    }
}

/// One relay under the lease `l1`, which is granted now.
fn one(lease: Duration) -> (LeasedRelays, Relay, Instant) {
    let mut leased = LeasedRelays::new(SECOND * 600);
    let now = Instant::now();
    let relay = leased.assign(assignment("l1", lease), now).unwrap();
    (leased, relay, now)
}

/// Asserts that exactly one relay is reported.
#[track_caller]
fn assert_reported(leased: &LeasedRelays, lease_id: &str, state: RelayState) {
    let reports = leased.reports().into_iter();
    let reported = reports.map(|report| (report.lease_id.clone(), report.state()));
    let reported: Vec<_> = reported.collect();
    assert_eq!(reported, [(lease_id.to_owned(), state)]);
}

#[test]
fn a_running_relay_continues_under_its_new_lease() {
    let (mut leased, relay, now) = one(SECOND);
    assert!(leased.assign(assignment("l2", SECOND), now).is_none());
    assert!(!relay.stop.is_cancelled());
    assert_reported(&leased, "l2", RelayState::Starting);
    leased.revoke("l1", None, now);
    assert!(!relay.stop.is_cancelled());
}

#[test]
fn a_relay_with_another_assignment_waits_for_the_end_of_the_one_before() {
    let other = |change: fn(&mut RelayAssignment)| {
        let mut other = assignment("l2", SECOND);
        change(&mut other);
        other
    };
    for other in [
        other(|it| it.connection_id = "c2".to_owned()),
        other(|it| it.input_url.push('2')),
        other(|it| it.output_server_url.push('2')),
        other(|it| it.output_stream_key.push('2')),
        other(|it| it.srt_passphrase.push('2')),
        other(|it| it.srt_pbkeylen = 32),
        other(|it| it.max_video_bitrate_kbps = 2_500),
        other(|it| it.max_height = 720),
        other(|it| it.output_delay = Some(Duration::from_secs(1).try_into().unwrap())),
        other(|it| it.relay.as_mut().unwrap().stream_id.push('2')),
    ] {
        let (mut leased, relay, now) = one(SECOND);
        let next = leased.assign(other, now).unwrap();
        assert!(relay.stop.is_cancelled());
        assert!(!next.predecessors[0].borrow().is_over());
        relay.status.send_replace(RelayStatus::ended(None));
        assert!(next.predecessors[0].borrow().is_over());
    }
}

#[test]
fn an_assignment_of_a_known_lease_changes_the_input_of_its_relay() {
    let (mut leased, mut relay, now) = one(SECOND);
    relay.input.mark_unchanged();
    assert!(leased.assign(assignment("l1", SECOND), now).is_none());
    assert!(!relay.input.has_changed().unwrap(), "it is the same");

    let moved = RelayAssignment {
        input_url: "rtmp://127.0.0.1/live/b".to_owned(),
        connection_id: "c2".to_owned(),
        outage_policy: v1::OutagePolicy::Hold.into(),
        ..assignment("l1", SECOND)
    };
    assert!(leased.assign(moved.clone(), now).is_none());
    let input = relay.input.borrow().clone();
    assert_eq!(input.source.url.expose(), "rtmp://127.0.0.1/live/b");
    assert_eq!(input.source.connection_id, "c2");
    assert!(input.holds && !relay.stop.is_cancelled());
    assert_reported(&leased, "l1", RelayState::Starting);

    // It is this relay that a new lease continues.
    let again = RelayAssignment {
        lease_id: "l2".to_owned(),
        ..moved
    };
    assert!(leased.assign(again, now).is_none());
    assert_reported(&leased, "l2", RelayState::Starting);
}

#[test]
fn with_the_policy_hold_a_new_lease_continues_a_relay_whose_publisher_has_returned() {
    let mut leased = LeasedRelays::new(SECOND * 600);
    let now = Instant::now();
    let hold = |lease_id, connection_id: &str, stream_id: &str| {
        let mut assignment = assignment(lease_id, SECOND);
        assignment.outage_policy = v1::OutagePolicy::Hold.into();
        assignment.connection_id = connection_id.to_owned();
        assignment.relay.as_mut().unwrap().stream_id = stream_id.to_owned();
        assignment
    };
    let relay = leased.assign(hold("l1", "c1", "s"), now).unwrap();
    assert!(leased.assign(hold("l2", "c2", "s"), now).is_none());
    assert_eq!(relay.input.borrow().source.connection_id, "c2");
    assert!(!relay.stop.is_cancelled());

    let next = leased.assign(hold("l3", "c3", "s2"), now).unwrap();
    assert_eq!(
        next.predecessors.len(),
        1,
        "another stream is another broadcast"
    );
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_to_another_destination_continues() {
    let (mut leased, relay, now) = one(SECOND);
    let mut other = assignment("l2", SECOND);
    other.relay.as_mut().unwrap().destination_id = "d2".to_owned();
    let next = leased.assign(other, now).unwrap();
    assert!(next.predecessors.is_empty());
    assert!(!relay.stop.is_cancelled());
}

#[test]
fn a_stopping_relay_does_not_continue_under_a_new_lease() {
    let (mut leased, relay, now) = one(SECOND);
    leased.revoke("l1", None, now);
    let next = leased.assign(assignment("l2", SECOND), now).unwrap();
    assert_eq!(next.predecessors.len(), 1);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_lease_is_cancelled_stops_at_once() {
    let (mut leased, relay, now) = one(LEASE);
    leased.revoke("l1", None, now);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_stream_has_ended_goes_on_until_the_time_to_drain_is_over() {
    let (mut leased, mut relay, now) = one(LEASE);
    relay.input.mark_unchanged();
    leased.revoke("l1", Some(SECOND * 5), now);
    assert!(relay.input.borrow_and_update().has_ended && !relay.stop.is_cancelled());

    // The control plane tells it again after an interruption, with the time that is left.
    leased.revoke("l1", Some(SECOND * 4), now + SECOND);
    leased.assign(assignment("l1", LEASE), now + SECOND);
    assert!(relay.input.borrow().has_ended);
    leased.stop_overdue(now + SECOND * 4);
    assert!(!relay.stop.is_cancelled());
    leased.stop_overdue(now + SECOND * 5);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_that_drains_stops_at_once_if_its_lease_is_taken_away() {
    let (mut leased, relay, now) = one(LEASE);
    leased.revoke("l1", Some(SECOND * 60), now);
    leased.revoke("l1", None, now);
    assert!(relay.stop.is_cancelled());

    let (mut leased, relay, now) = one(LEASE);
    leased.revoke("l1", Some(SECOND * 60), now);
    leased.apply_answer(&leased.reports(), &answer(&["l1"]), now, now);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_drains_on_while_the_control_plane_restarts() {
    let (mut leased, relay, now) = one(LEASE);
    leased.revoke("l1", Some(SECOND * 60), now);
    leased.report_failed(Code::Unavailable);
    leased.stop_overdue(now + SECOND * 59);
    assert!(!relay.stop.is_cancelled());
    leased.stop_overdue(now + SECOND * 60);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_lease_is_lost_before_its_expiry_stops_at_once() {
    let (mut leased, relay, now) = one(LEASE);
    let reports = leased.reports();
    leased.apply_answer(&reports, &answer(&["l1"]), now, now);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_lease_expired_in_an_outage_is_held_for_a_new_lease() {
    let (mut leased, relay, now) = one(LEASE);
    let reports = leased.reports();
    leased.report_failed(Code::Unavailable);
    leased.stop_overdue(now + SECOND * 60);
    let back = now + SECOND * 61;
    leased.apply_answer(&reports, &answer(&["l1"]), back, back);
    leased.stop_overdue(back + SECOND * 4);
    assert!(!relay.stop.is_cancelled());
    assert!(leased.reports().is_empty());

    let again = leased.assign(assignment("l2", LEASE), back);
    assert!(again.is_none());
    leased.stop_overdue(back + SECOND * 6);
    assert!(!relay.stop.is_cancelled());
}

#[test]
fn a_held_relay_that_is_not_assigned_again_stops() {
    let (mut leased, relay, now) = one(LEASE);
    let reports = leased.reports();
    let back = now + SECOND * 61;
    leased.apply_answer(&reports, &answer(&["l1"]), back, back);
    leased.stop_overdue(back + SECOND * 5);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_renewed_lease_lasts_from_the_time_at_which_its_report_was_sent() {
    let (mut leased, relay, now) = one(LEASE);
    let (sent_at, answered_at) = (now + SECOND * 2, now + SECOND * 6);
    let reports = leased.reports();
    leased.apply_answer(&reports, &answer(&[]), sent_at, answered_at);
    leased.stop_overdue(sent_at + SECOND * 9);
    assert!(!relay.stop.is_cancelled());
    leased.stop_overdue(sent_at + SECOND * 10);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn relays_continue_only_while_the_control_plane_is_unreachable() {
    for (code, is_stopped) in [
        (Code::Unavailable, false),
        (Code::DeadlineExceeded, false),
        (Code::PermissionDenied, true),
        (Code::Unauthenticated, true),
        (Code::ResourceExhausted, false),
        (Code::Aborted, false),
    ] {
        let (mut leased, relay, now) = one(LEASE);
        leased.report_failed(code);
        leased.stop_overdue(now + SECOND * 12);
        assert_eq!(relay.stop.is_cancelled(), is_stopped, "{code}");
        leased.stop_overdue(now + SECOND * 601);
        assert!(relay.stop.is_cancelled(), "{code}");
    }
}

#[test]
fn an_end_is_reported_until_it_is_answered() {
    let (mut leased, relay, now) = one(LEASE);
    relay.status.send_replace(RelayStatus::ended(None));
    let reports = leased.reports();
    leased.report_failed(Code::Unavailable);
    assert_reported(&leased, "l1", RelayState::Idle);
    leased.apply_answer(&reports, &answer(&[]), now, now);
    assert!(leased.is_empty());
}

#[test]
fn a_crashed_relay_has_failed() {
    let (leased, relay, _) = one(LEASE);
    drop(relay);
    assert_reported(&leased, "l1", RelayState::Retrying);
}
