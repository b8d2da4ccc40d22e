use std::time::Instant;

use super::{
    registry::{BeginStep, Registry},
    simulation::{GRACE, SECOND, Simulation, adoption, kick, name, publish_of, request},
};
use crate::{
    domain::Secret,
    edge::publisher::PublishError,
    proto::v1::{EndReason, StreamStats, SyncNodeResponse},
};

#[test]
fn an_accepted_connection_is_reported_with_its_stream_until_it_ends() {
    let mut sim = Simulation::live("a");

    let [reported] = &sim.reported()[..] else {
        panic!("one connection is reported");
    };
    assert_eq!(reported.connection_id, "a");
    assert_eq!(reported.stream_id, "stream of a");
    assert_eq!(reported.epoch, 1);
    assert_eq!(reported.stream_key, "sk_1");
    assert_eq!(sim.end("a").unwrap().publish, publish_of("a", 1));
    assert_eq!(sim.reported(), []);
    assert_eq!(sim.end("a"), None);
}

#[test]
fn answers_about_a_pending_connection_are_ignored() {
    let mut sim = Simulation::pending("a");

    let report = sim.report();
    let reported = &report.message.connections[0];
    assert_eq!((&*reported.stream_id, reported.epoch), ("", 0));
    assert_eq!(reported.stream_key, "", "its BeginPublish call decides");
    sim.answer_begin("a", 2).unwrap();
    sim.answer(&report, kick("a", EndReason::KeyRotated));
    assert_eq!(sim.update("a"), Ok(false));
    sim.answer(&report, adoption("a", 1));
    assert_eq!(sim.reported()[0].epoch, 2);
}

#[test]
fn a_publish_accepted_after_its_connection_is_gone_has_ended() {
    let mut sim = Simulation::pending("a");
    assert_eq!(sim.end("a"), None);

    let accepted = sim.answer_begin("a", 1);

    assert_eq!(accepted.unwrap_err().publish, publish_of("a", 1));
    assert_eq!(sim.reported(), []);
}

#[test]
fn a_connection_adopted_after_it_is_gone_has_ended() {
    let mut sim = Simulation::new();
    assert_eq!(sim.update("a"), Ok(true));
    let report = sim.report();
    sim.end("a");

    let ended = sim.answer(&report, adoption("a", 3));

    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].publish, publish_of("a", 3));
    assert_eq!(sim.reported(), []);
}

#[test]
fn a_refused_connection_is_not_taken_for_a_new_one_while_it_is_listed() {
    let mut sim = Simulation::pending("a");
    sim.registry.refuse(&name("a"), sim.now);

    assert!(!sim.observe("b1", &["a"]).has_unknown);
    assert_eq!(sim.reported(), []);
    sim.now += 11 * SECOND;
    assert!(sim.observe("b1", &["a"]).has_unknown);
}

#[test]
fn a_repeated_begin_calls_the_control_plane_only_with_another_key() {
    let mut sim = Simulation::live("a");
    assert_eq!(sim.begin("a"), Ok(BeginStep::AlreadyAccepted));

    let mut other = request("a");
    other.stream_key = Secret::new("sk_2");
    let step = sim.registry.begin(&other, sim.now);
    assert_eq!(step, Ok(BeginStep::CallControlPlane));
}

#[test]
fn a_kicked_connection_is_disconnected_until_it_is_gone() {
    let mut sim = Simulation::live("a");
    sim.sync(kick("a", EndReason::StoppedByOwner));

    let stopped = PublishError::Stopped(EndReason::StoppedByOwner);
    assert_eq!(sim.update("a"), Err(stopped));
    assert_eq!(sim.begin("a"), Err(stopped));
    // Neither another reason nor an adoption changes it.
    sim.sync(kick("a", EndReason::KeyRotated));
    sim.sync(adoption("a", 1));
    assert_eq!(sim.update("a"), Err(stopped));
    assert_eq!(sim.reported()[0].stream_key, "");
    for _ in 0..3 {
        sim.observe("b1", &["a"]);
        assert_eq!(sim.to_disconnect(), [name("a")]);
    }
    assert_eq!(sim.end("a"), None, "its stream has ended before");
    assert_eq!(sim.to_disconnect(), []);
}

#[test]
fn an_unknown_connection_is_adopted() {
    let mut sim = Simulation::new();
    assert_eq!(sim.update("a"), Ok(true));
    assert_eq!(sim.update("a"), Ok(false));
    assert!(sim.observe("b1", &["a", "b"]).has_unknown);

    let reported = sim.reported();
    assert_eq!(reported[0].stream_key, "sk_1");
    assert_eq!(reported[0].stats, None, "its media flows");
    assert_eq!(reported[1].stream_key, "", "no hook had it");
    sim.sync(adoption("a", 4));
    assert_eq!(sim.reported()[0].epoch, 4);
}

#[test]
fn absence_from_two_snapshots_in_a_row_is_an_end() {
    let mut sim = Simulation::live("a");
    sim.accept("b");
    sim.now += 5 * SECOND;

    assert_eq!(sim.observe("b1", &["b"]).ended, []);
    assert_eq!(sim.observe("b1", &["a", "b"]).ended, []);
    assert_eq!(sim.observe("b1", &["b"]).ended, []);
    sim.now += SECOND;
    let within_1_5_seconds = sim.observe("b1", &["b"]).ended;
    assert_eq!(within_1_5_seconds, [], "both count as one");
    sim.now += SECOND;
    let ended = sim.observe("b1", &["b"]).ended;

    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].publish, publish_of("a", 1));
    assert_eq!(sim.reported().len(), 1);
}

#[test]
fn neither_a_young_connection_nor_a_pending_one_ends_by_absence() {
    let mut sim = Simulation::pending("pending");
    sim.now += 60 * SECOND;
    sim.accept("young");
    sim.now += 4 * SECOND;

    for _ in 0..5 {
        assert_eq!(sim.observe("b1", &[]).ended, []);
    }
    assert_eq!(sim.reported().len(), 2);
    sim.now += 2 * SECOND;
    assert_eq!(sim.observe("b1", &[]).ended.len(), 1);
}

#[test]
fn a_connection_that_was_never_listed_has_the_listing_delay() {
    let mut sim = Simulation::new();
    sim.listing_delay = 30 * SECOND;
    sim.accept("slow");
    sim.accept("never");
    sim.accept("quick");
    sim.observe("b1", &["quick"]);
    for _ in 0..14 {
        sim.now += 2 * SECOND;
        let ended = sim.observe("b1", &[]).ended;
        assert!(ended.iter().all(|ended| ended.id == name("quick")));
    }
    assert_eq!(sim.reported().len(), 2, "the listed one is gone");

    sim.observe("b1", &["slow"]);
    sim.now += 3 * SECOND;
    let ended = sim.observe("b1", &["slow"]).ended;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].id, name("never"));
}

#[test]
fn a_connection_kicked_without_a_key_stays_until_a_hook_has_the_key() {
    let mut sim = Simulation::new();
    sim.observe("b1", &["a"]);
    sim.sync(kick("a", EndReason::KeyRotated));
    assert_eq!(sim.to_disconnect(), []);

    assert_eq!(sim.update("a"), Ok(false));
    assert_eq!(sim.reported()[0].stream_key, "sk_1");
    sim.sync(kick("a", EndReason::StoppedByOwner));
    assert_eq!(sim.to_disconnect(), [name("a")]);
}

#[test]
fn a_connection_that_never_presents_a_key_is_kicked() {
    let mut sim = Simulation::new();
    sim.observe("b1", &["a"]);
    sim.now += 61 * SECOND;
    sim.sync(kick("a", EndReason::KeyRotated));
    assert_eq!(sim.to_disconnect(), [name("a")]);
}

#[test]
fn a_new_boot_removes_lost_connections_and_adopts_listed_ones() {
    let mut sim = Simulation::live("gone");
    sim.accept("listed");
    sim.begin("pending").unwrap();

    let observed = sim.observe("b2", &["listed"]);

    assert!(observed.is_new_boot);
    assert_eq!(observed.ended, [], "the report of the new boot ends it");
    assert_eq!(sim.report().message.boot_id, "b2");
    let reported = sim.reported();
    assert_eq!(reported.len(), 2);
    let listed = &reported[0];
    assert_eq!(listed.connection_id, "listed");
    assert_eq!((&*listed.stream_id, &*listed.stream_key), ("", "sk_1"));
    // The answer to a begin of the boot before.
    assert_eq!(sim.answer_begin("pending", 1), Ok(false));
    assert_eq!(sim.registry.accepted_publish(&name("pending")), None);
}

#[test]
fn an_answer_to_a_report_of_an_earlier_boot_is_ignored() {
    let mut sim = Simulation::live("a");
    let report = sim.report();
    sim.observe("b2", &["a"]);

    sim.answer(&report, kick("a", EndReason::NodeLost));

    assert_eq!(sim.update("a"), Ok(false));
}

#[test]
fn live_connections_continue_without_the_control_plane_for_the_grace_period() {
    let mut sim = Simulation::live("a");
    sim.accept("b");
    assert!(sim.registry.control_plane_unreachable(sim.now));
    assert!(!sim.registry.control_plane_unreachable(sim.now + SECOND));

    sim.now += GRACE;
    assert_eq!(sim.update("a"), Ok(false));
    assert_eq!(sim.update("new"), Ok(true));
    assert_eq!(sim.to_disconnect(), []);
    sim.now += SECOND;
    sim.begin("pending").unwrap();
    assert_eq!(sim.update("a"), Err(PublishError::GraceExpired));
    assert_eq!(sim.update("newer"), Err(PublishError::GraceExpired));
    assert_eq!(sim.to_disconnect(), [name("a"), name("b"), name("new")]);

    sim.sync(SyncNodeResponse::default());
    assert_eq!(sim.update("a"), Ok(false));
    assert_eq!(sim.to_disconnect(), []);
}

#[test]
fn time_between_answers_is_no_outage() {
    let mut sim = Simulation::live("a");
    sim.now += 2 * GRACE;
    assert_eq!(sim.update("a"), Ok(false));
    assert_eq!(sim.to_disconnect(), []);

    assert!(sim.registry.control_plane_unreachable(sim.now));
    assert_eq!(sim.update("a"), Ok(false));
    assert_eq!(sim.to_disconnect(), []);
}

#[test]
fn a_media_start_is_sent_once_and_reported_as_measured() {
    let mut sim = Simulation::live("a");
    let nothing = Some(StreamStats::default());
    assert_eq!(sim.reported()[0].stats, nothing, "no media yet");
    assert_eq!(sim.observe_bytes("a", 0).media_started, []);

    assert_eq!(sim.observe_bytes("a", 1000).media_started, [name("a")]);
    assert!(!sim.registry.media_started(&name("a")));
    sim.now += 2 * SECOND;
    assert_eq!(sim.observe_bytes("a", 251_000).media_started, []);

    let stats = sim.reported()[0].stats.clone().unwrap();
    assert_eq!(stats.bytes_received, 251_000);
    assert_eq!(stats.bitrate_bps, 1_000_000);
}

#[test]
fn unmeasured_media_is_reported_without_stats() {
    let mut sim = Simulation::live("a");
    assert!(sim.registry.media_started(&name("a")));
    assert!(!sim.registry.media_started(&name("a")));
    assert!(!sim.registry.media_started(&name("b")));
    assert_eq!(sim.reported()[0].stats, None);
}

#[test]
fn a_media_start_before_the_answer_is_kept() {
    let mut sim = Simulation::pending("a");
    assert!(sim.registry.media_started(&name("a")));
    assert_eq!(sim.answer_begin("a", 1), Ok(true));
}

#[test]
fn a_later_report_makes_an_end_obsolete_and_an_earlier_one_does_not() {
    let mut sim = Simulation::live("a");
    let earlier = sim.report();
    let ended = sim.end("a").unwrap();

    sim.answer(&earlier, SyncNodeResponse::default());
    assert!(!sim.registry.is_end_obsolete(&ended));
    sim.sync(SyncNodeResponse::default());
    assert!(sim.registry.is_end_obsolete(&ended));
}

#[test]
fn a_new_boot_makes_earlier_ends_obsolete() {
    let mut sim = Simulation::live("a");
    let ended = sim.end("a").unwrap();
    assert!(!sim.registry.is_end_obsolete(&ended));
    sim.observe("b2", &[]);
    assert!(sim.registry.is_end_obsolete(&ended));
}

#[test]
fn there_are_at_most_five_thousand_connections() {
    let mut sim = Simulation::new();
    for number in 0..5000 {
        sim.begin(&number.to_string()).unwrap();
    }

    assert_eq!(sim.begin("more"), Err(PublishError::Unreachable));
    assert_eq!(sim.update("more"), Err(PublishError::Unreachable));
    assert!(!sim.observe("b1", &["more"]).has_unknown);
    assert_eq!(sim.update("17"), Ok(false));
    assert_eq!(sim.reported().len(), 5000);
    sim.end("17");
    assert_eq!(sim.begin("more"), Ok(BeginStep::CallControlPlane));
}

#[test]
fn there_is_no_report_before_the_first_snapshot() {
    let mut registry = Registry::new(GRACE, Instant::now());
    assert!(registry.sync_report("n1").is_none());
}
