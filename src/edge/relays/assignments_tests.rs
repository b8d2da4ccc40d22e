use std::time::{Duration, Instant, SystemTime};

use tonic::Code;

use super::{assignments::Assignments, relay::Relay, status::RelayStatus};
use crate::proto::v1::{self, RelayAssignment, RelayState, ReportRelaysResponse};

const SECOND: Duration = Duration::from_secs(1);

fn assignment(lease_id: &str, lease: Duration) -> RelayAssignment {
    RelayAssignment {
        relay: Some(v1::Relay {
            stream_id: "s".to_owned(),
            destination_id: "d".to_owned(),
            ..Default::default()
        }),
        lease_id: lease_id.to_owned(),
        lease_expire_time: Some((SystemTime::now() + lease).into()),
        input_url: "rtmp://127.0.0.1/live/a".to_owned(),
        output_url: "rtmp://127.0.0.1/app/k".to_owned(),
        connection_id: "c".to_owned(),
    }
}

fn answer(lost: &[&str], lease: Duration) -> ReportRelaysResponse {
    ReportRelaysResponse {
        lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
        lease_expire_time: Some((SystemTime::now() + lease).into()),
    }
}

/// Assignments with one relay under the lease `l1`, which is granted now.
fn one(lease: Duration) -> (Assignments, Relay, Instant) {
    let mut assignments = Assignments::new(SECOND * 600);
    let now = Instant::now();
    let relay = assignments.assign(assignment("l1", lease), now).unwrap();
    (assignments, relay, now)
}

/// Asserts that exactly one relay is reported.
#[track_caller]
fn assert_reported(assignments: &Assignments, lease_id: &str, state: RelayState) {
    let reports = assignments.reports().into_iter();
    let reported = reports.map(|report| (report.lease_id.clone(), report.state()));
    let reported: Vec<_> = reported.collect();
    assert_eq!(reported, [(lease_id.to_owned(), state)]);
}

#[test]
fn a_running_relay_continues_under_its_new_lease() {
    let (mut assignments, relay, now) = one(SECOND);
    assert!(assignments.assign(assignment("l2", SECOND), now).is_none());
    assert!(!relay.stop.is_cancelled());
    assert_reported(&assignments, "l2", RelayState::Starting);
    assignments.cancel("l1");
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
        other(|it| it.output_url.push('2')),
        other(|it| it.relay.as_mut().unwrap().stream_id.push('2')),
    ] {
        let (mut assignments, relay, now) = one(SECOND);
        let next = assignments.assign(other, now).unwrap();
        assert!(relay.stop.is_cancelled());
        assert!(!next.predecessors[0].borrow().is_over());
        relay.status.send_replace(RelayStatus::ended(None));
        assert!(next.predecessors[0].borrow().is_over());
    }
}

#[test]
fn a_relay_to_another_destination_continues() {
    let (mut assignments, relay, now) = one(SECOND);
    let mut other = assignment("l2", SECOND);
    other.relay.as_mut().unwrap().destination_id = "d2".to_owned();
    let next = assignments.assign(other, now).unwrap();
    assert!(next.predecessors.is_empty());
    assert!(!relay.stop.is_cancelled());
}

#[test]
fn a_stopping_relay_does_not_continue_under_a_new_lease() {
    let (mut assignments, relay, now) = one(SECOND);
    assignments.cancel("l1");
    let next = assignments.assign(assignment("l2", SECOND), now).unwrap();
    assert_eq!(next.predecessors.len(), 1);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_lease_is_cancelled_stops_at_once() {
    let (assignments, relay, _) = one(SECOND * 15);
    assignments.cancel("l1");
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_lease_is_lost_before_its_expiry_stops_at_once() {
    let (mut assignments, relay, now) = one(SECOND * 15);
    let reports = assignments.reports();
    assignments.apply_answer(&reports, &answer(&["l1"], SECOND * 15), now);
    assert!(relay.stop.is_cancelled());
}

#[test]
fn a_relay_whose_lease_expired_in_an_outage_is_held_for_a_new_lease() {
    let (mut assignments, relay, now) = one(SECOND * 15);
    let reports = assignments.reports();
    assignments.report_failed(Code::Unavailable);
    assignments.stop_overdue(now + SECOND * 60);
    let back = now + SECOND * 61;
    assignments.apply_answer(&reports, &answer(&["l1"], SECOND * 15), back);
    assignments.stop_overdue(back + SECOND * 4);
    assert!(!relay.stop.is_cancelled());
    assert!(assignments.reports().is_empty());

    let again = assignments.assign(assignment("l2", SECOND * 76), back);
    assert!(again.is_none());
    assignments.stop_overdue(back + SECOND * 6);
    assert!(!relay.stop.is_cancelled());
}

#[test]
fn a_held_relay_that_is_not_assigned_again_stops() {
    let (mut assignments, relay, now) = one(SECOND * 15);
    let reports = assignments.reports();
    let back = now + SECOND * 61;
    assignments.apply_answer(&reports, &answer(&["l1"], SECOND * 15), back);
    assignments.stop_overdue(back + SECOND * 5);
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
        let (mut assignments, relay, now) = one(SECOND * 15);
        assignments.report_failed(code);
        assignments.stop_overdue(now + SECOND * 12);
        assert_eq!(relay.stop.is_cancelled(), is_stopped, "{code}");
        assignments.stop_overdue(now + SECOND * 601);
        assert!(relay.stop.is_cancelled(), "{code}");
    }
}

#[test]
fn an_end_is_reported_until_it_is_answered() {
    let (mut assignments, relay, now) = one(SECOND * 15);
    relay.status.send_replace(RelayStatus::ended(None));
    let reports = assignments.reports();
    assignments.report_failed(Code::Unavailable);
    assert_reported(&assignments, "l1", RelayState::Idle);
    assignments.apply_answer(&reports, &answer(&[], SECOND * 15), now);
    assert!(assignments.is_empty());
}

#[test]
fn a_crashed_relay_has_failed() {
    let (assignments, relay, _) = one(SECOND * 15);
    drop(relay);
    assert_reported(&assignments, "l1", RelayState::Retrying);
}
