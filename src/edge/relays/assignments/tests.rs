use std::time::{Duration, Instant, SystemTime};

use tonic::Code;

use super::{Roster, Start};
use crate::{
    edge::relays::status::Seen,
    proto::v1::{Relay, RelayAssignment, RelayState, ReportRelaysResponse},
};

const SECOND: Duration = Duration::from_secs(1);

fn assignment(lease_id: &str, lease: Duration) -> RelayAssignment {
    RelayAssignment {
        relay: Some(Relay {
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

/// A roster with one relay under the lease `l1`, which is claimed now.
fn one(lease: Duration) -> (Roster, Start, Instant) {
    let mut roster = Roster::new(SECOND * 600);
    let now = Instant::now();
    let start = roster.assign(assignment("l1", lease), now).unwrap();
    (roster, start, now)
}

fn reported(roster: &Roster) -> Vec<(String, RelayState)> {
    let reports = roster.reports().into_iter();
    reports
        .map(|report| (report.lease_id.clone(), report.state()))
        .collect()
}

#[test]
fn a_relay_that_still_runs_goes_on_under_its_new_lease() {
    let (mut roster, start, now) = one(SECOND);
    assert!(roster.assign(assignment("l2", SECOND), now).is_none());
    assert!(!start.stop.is_cancelled());
    assert_eq!(reported(&roster), [("l2".to_owned(), RelayState::Starting)]);
    roster.revoke("l1");
    assert!(!start.stop.is_cancelled());
}

#[test]
fn one_that_is_to_do_something_else_is_stopped_and_waited_for() {
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
        let (mut roster, start, now) = one(SECOND);
        let next = roster.assign(other, now).unwrap();
        assert!(start.stop.is_cancelled());
        assert!(!next.after[0].borrow().is_over());
        start.seen.send_replace(Seen::ended(None));
        assert!(next.after[0].borrow().is_over());
    }
}

#[test]
fn another_destination_is_no_concern() {
    let (mut roster, start, now) = one(SECOND);
    let mut other = assignment("l2", SECOND);
    other.relay.as_mut().unwrap().destination_id = "d2".to_owned();
    let next = roster.assign(other, now).unwrap();
    assert!(next.after.is_empty());
    assert!(!start.stop.is_cancelled());
}

#[test]
fn one_that_is_stopping_is_not_taken_over() {
    let (mut roster, start, now) = one(SECOND);
    roster.revoke("l1");
    let next = roster.assign(assignment("l2", SECOND), now).unwrap();
    assert_eq!(next.after.len(), 1);
    assert!(start.stop.is_cancelled());
}

#[test]
fn a_revoked_lease_is_stopped_at_once() {
    let (roster, start, _) = one(SECOND * 15);
    let mut roster = roster;
    roster.revoke("l1");
    assert!(start.stop.is_cancelled());
}

#[test]
fn a_lease_that_is_taken_away_in_an_answer_is_stopped_at_once() {
    let (mut roster, start, now) = one(SECOND * 15);
    let reports = roster.reports();
    roster.answered(&reports, &answer(&["l1"], SECOND * 15), now);
    assert!(start.stop.is_cancelled());
}

#[test]
fn one_that_ended_while_the_control_plane_was_away_is_held_for_a_new_one() {
    let (mut roster, start, now) = one(SECOND * 15);
    let reports = roster.reports();
    roster.unanswered(Code::Unavailable);
    roster.stop_overdue(now + SECOND * 60);
    let back = now + SECOND * 61;
    roster.answered(&reports, &answer(&["l1"], SECOND * 15), back);
    roster.stop_overdue(back + SECOND * 4);
    assert!(!start.stop.is_cancelled());
    assert!(roster.reports().is_empty());

    let again = roster.assign(assignment("l2", SECOND * 76), back);
    assert!(again.is_none());
    roster.stop_overdue(back + SECOND * 6);
    assert!(!start.stop.is_cancelled());
}

#[test]
fn one_that_is_not_given_again_is_stopped() {
    let (mut roster, start, now) = one(SECOND * 15);
    let reports = roster.reports();
    let back = now + SECOND * 61;
    roster.answered(&reports, &answer(&["l1"], SECOND * 15), back);
    roster.stop_overdue(back + SECOND * 5);
    assert!(start.stop.is_cancelled());
}

#[test]
fn only_a_control_plane_that_is_away_is_waited_for() {
    for (code, is_stopped) in [
        (Code::Unavailable, false),
        (Code::DeadlineExceeded, false),
        (Code::PermissionDenied, true),
        (Code::Unauthenticated, true),
        (Code::ResourceExhausted, false),
        (Code::Aborted, false),
    ] {
        let (mut roster, start, now) = one(SECOND * 15);
        roster.unanswered(code);
        roster.stop_overdue(now + SECOND * 12);
        assert_eq!(start.stop.is_cancelled(), is_stopped, "{code}");
        roster.stop_overdue(now + SECOND * 601);
        assert!(start.stop.is_cancelled(), "{code}");
    }
}

#[test]
fn an_end_is_told_until_it_is_heard() {
    let (mut roster, start, now) = one(SECOND * 15);
    start.seen.send_replace(Seen::ended(None));
    let reports = roster.reports();
    roster.unanswered(Code::Unavailable);
    assert_eq!(reported(&roster), [("l1".to_owned(), RelayState::Idle)]);
    roster.answered(&reports, &answer(&[], SECOND * 15), now);
    assert!(roster.is_empty());
}

#[test]
fn a_relay_that_vanished_has_failed() {
    let (roster, start, _) = one(SECOND * 15);
    drop(start);
    assert_eq!(reported(&roster), [("l1".to_owned(), RelayState::Retrying)]);
}
