use std::time::Instant;

use super::{
    registry::{BeginStep, Registry},
    registry_fixture::{GRACE, SECOND, Scene, adoption, kick, name, publish_of, request},
};
use crate::{
    domain::Secret,
    edge::publisher::PublishError,
    proto::v1::{EndReason, StreamStats, SyncNodeResponse},
};

#[test]
fn an_accepted_connection_is_reported_with_its_stream_until_it_ends() {
    let mut scene = Scene::new();
    scene.accept("a");

    let reported = scene.reported();
    assert_eq!(reported.len(), 1);
    assert_eq!(reported[0].connection_id, "a");
    assert_eq!(reported[0].stream_id, "stream of a");
    assert_eq!(reported[0].epoch, 1);
    assert_eq!(reported[0].stream_key, "sk_1");
    assert_eq!(scene.end("a"), Some(publish_of("a", 1)));
    assert_eq!(scene.reported(), []);
    assert_eq!(scene.end("a"), None);
}

#[test]
fn answers_about_a_pending_connection_are_ignored() {
    let mut scene = Scene::new();
    scene.begin("a").unwrap();

    let report = scene.report();
    let reported = &report.message.connections[0];
    assert_eq!((&*reported.stream_id, reported.epoch), ("", 0));
    assert_eq!(
        reported.stream_key, "",
        "its BeginPublish call decides, not this report"
    );
    scene.answer_begin("a", 2).unwrap();
    scene.answer(&report, kick("a", EndReason::KeyRotated));
    assert_eq!(scene.update("a"), Ok(false));
    let answer = adoption("a", 1);
    scene.answer(&report, answer);
    assert_eq!(scene.reported()[0].epoch, 2);
}

#[test]
fn a_publish_accepted_after_its_connection_is_gone_has_ended() {
    let mut scene = Scene::new();
    scene.begin("a").unwrap();
    assert_eq!(scene.end("a"), None);

    let accepted = scene.answer_begin("a", 1);

    assert_eq!(accepted.unwrap_err().publish, publish_of("a", 1));
    assert_eq!(scene.reported(), []);
}

#[test]
fn a_connection_adopted_after_it_is_gone_has_ended() {
    let mut scene = Scene::new();
    assert_eq!(scene.update("a"), Ok(true));
    let report = scene.report();
    scene.end("a");

    let ended = scene.answer(&report, adoption("a", 3));

    assert_eq!(ended, [publish_of("a", 3)]);
    assert_eq!(scene.reported(), []);
}

#[test]
fn a_refused_connection_is_not_taken_for_a_new_one_while_it_is_listed() {
    let mut scene = Scene::new();
    scene.begin("a").unwrap();
    scene.registry.refuse(&name("a"), scene.now);

    assert!(!scene.observe("b1", &["a"]).has_unknown);
    assert_eq!(scene.reported(), []);
    scene.now += 11 * SECOND;
    assert!(scene.observe("b1", &["a"]).has_unknown);
}

#[test]
fn a_repeated_begin_calls_the_control_plane_only_with_another_key() {
    let mut scene = Scene::new();
    scene.accept("a");
    assert_eq!(scene.begin("a"), Ok(BeginStep::AlreadyAccepted));

    let mut other = request("a");
    other.stream_key = Secret::new("sk_2");
    let step = scene.registry.begin(&other, scene.now);
    assert_eq!(step, Ok(BeginStep::CallControlPlane));
}

#[test]
fn a_kicked_connection_is_disconnected_until_it_is_gone() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.sync(kick("a", EndReason::StoppedByOwner));

    let stopped = PublishError::Stopped(EndReason::StoppedByOwner);
    assert_eq!(scene.update("a"), Err(stopped));
    assert_eq!(scene.begin("a"), Err(stopped));
    // Neither another reason nor an adoption changes it.
    scene.sync(kick("a", EndReason::KeyRotated));
    scene.sync(adoption("a", 1));
    assert_eq!(scene.update("a"), Err(stopped));
    assert_eq!(scene.reported()[0].stream_key, "");
    for _ in 0..3 {
        scene.observe("b1", &["a"]);
        assert_eq!(scene.to_disconnect(), [name("a")]);
    }
    assert_eq!(scene.end("a"), None, "its stream has ended before");
    assert_eq!(scene.to_disconnect(), []);
}

#[test]
fn an_unknown_connection_is_adopted() {
    let mut scene = Scene::new();
    assert_eq!(scene.update("a"), Ok(true));
    assert_eq!(scene.update("a"), Ok(false));
    assert!(scene.observe("b1", &["a", "b"]).has_unknown);

    let reported = scene.reported();
    assert_eq!(reported[0].stream_key, "sk_1");
    assert_eq!(reported[0].stats, None, "its media flows");
    assert_eq!(
        reported[1].stream_key, "",
        "the media server did not expose it"
    );
    scene.sync(adoption("a", 4));
    assert_eq!(scene.reported()[0].epoch, 4);
}

#[test]
fn absence_from_two_snapshots_in_a_row_is_an_end() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.accept("b");
    scene.now += 5 * SECOND;

    assert!(scene.observe("b1", &["b"]).ended.is_empty());
    assert!(scene.observe("b1", &["a", "b"]).ended.is_empty());
    assert!(scene.observe("b1", &["b"]).ended.is_empty());
    scene.now += SECOND;
    assert!(
        scene.observe("b1", &["b"]).ended.is_empty(),
        "within 1.5 seconds it counts as one"
    );
    scene.now += SECOND;
    let ended = scene.observe("b1", &["b"]).ended;

    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].publish, publish_of("a", 1));
    assert_eq!(scene.reported().len(), 1);
}

#[test]
fn neither_a_young_connection_nor_a_pending_one_ends_by_absence() {
    let mut scene = Scene::new();
    scene.begin("pending").unwrap();
    scene.now += 60 * SECOND;
    scene.accept("young");
    scene.now += 4 * SECOND;

    for _ in 0..5 {
        assert!(scene.observe("b1", &[]).ended.is_empty());
    }
    assert_eq!(scene.reported().len(), 2);
    scene.now += 2 * SECOND;
    assert_eq!(scene.observe("b1", &[]).ended.len(), 1);
}

#[test]
fn a_connection_that_was_never_listed_has_the_listing_delay() {
    let mut scene = Scene::new();
    scene.listing_delay = 30 * SECOND;
    scene.accept("slow");
    scene.accept("never");
    scene.accept("quick");
    scene.observe("b1", &["quick"]);
    for _ in 0..14 {
        scene.now += 2 * SECOND;
        let ended = scene.observe("b1", &[]).ended;
        assert!(
            ended
                .iter()
                .all(|ended| ended.publish == publish_of("quick", 1))
        );
    }
    assert_eq!(scene.reported().len(), 2, "the listed one is gone");

    scene.observe("b1", &["slow"]);
    scene.now += 3 * SECOND;
    let ended = scene.observe("b1", &["slow"]).ended;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].publish, publish_of("never", 1));
}

#[test]
fn a_connection_kicked_without_a_key_stays_until_a_hook_has_the_key() {
    let mut scene = Scene::new();
    scene.observe("b1", &["a"]);
    scene.sync(kick("a", EndReason::KeyRotated));
    assert_eq!(scene.to_disconnect(), []);

    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.reported()[0].stream_key, "sk_1");
    scene.sync(kick("a", EndReason::StoppedByOwner));
    assert_eq!(scene.to_disconnect(), [name("a")]);
}

#[test]
fn a_connection_that_never_presents_a_key_is_kicked() {
    let mut scene = Scene::new();
    scene.observe("b1", &["a"]);
    scene.now += 61 * SECOND;
    scene.sync(kick("a", EndReason::KeyRotated));
    assert_eq!(scene.to_disconnect(), [name("a")]);
}

#[test]
fn a_new_boot_removes_lost_connections_and_adopts_listed_ones() {
    let mut scene = Scene::new();
    scene.accept("gone");
    scene.accept("listed");
    scene.begin("pending").unwrap();

    let observed = scene.observe("b2", &["listed"]);

    assert!(observed.is_new_boot);
    assert!(
        observed.ended.is_empty(),
        "the report of the new boot ends it"
    );
    let report = scene.report();
    assert_eq!(report.message.boot_id, "b2");
    let reported = scene.reported();
    assert_eq!(reported.len(), 2);
    assert_eq!(reported[0].connection_id, "listed");
    assert_eq!(
        (&*reported[0].stream_id, &*reported[0].stream_key),
        ("", "sk_1")
    );
    // The answer to a begin of the boot before.
    let accepted = scene.answer_begin("pending", 1);
    assert_eq!(accepted, Ok(false));
    assert_eq!(scene.registry.accepted_publish(&name("pending")), None);
}

#[test]
fn an_answer_to_a_report_of_an_earlier_boot_is_ignored() {
    let mut scene = Scene::new();
    scene.accept("a");
    let report = scene.report();
    scene.observe("b2", &["a"]);

    scene.answer(&report, kick("a", EndReason::NodeLost));

    assert_eq!(scene.update("a"), Ok(false));
}

#[test]
fn live_connections_continue_without_the_control_plane_for_the_grace_period() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.accept("b");
    assert!(scene.registry.control_plane_unreachable(scene.now));
    assert!(!scene.registry.control_plane_unreachable(scene.now + SECOND));

    scene.now += GRACE;
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.update("new"), Ok(true));
    assert_eq!(scene.to_disconnect(), []);
    scene.now += SECOND;
    scene.begin("pending").unwrap();
    assert_eq!(scene.update("a"), Err(PublishError::GraceExpired));
    assert_eq!(scene.update("newer"), Err(PublishError::GraceExpired));
    assert_eq!(scene.to_disconnect(), [name("a"), name("b"), name("new")]);

    scene.sync(SyncNodeResponse::default());
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.to_disconnect(), []);
}

#[test]
fn time_between_answers_is_no_outage() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.now += 2 * GRACE;
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.to_disconnect(), []);

    assert!(scene.registry.control_plane_unreachable(scene.now));
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.to_disconnect(), []);
}

#[test]
fn a_media_start_is_sent_once_and_reported_as_measured() {
    let mut scene = Scene::new();
    scene.accept("a");
    let nothing = Some(StreamStats::default());
    assert_eq!(scene.reported()[0].stats, nothing, "no media yet");
    assert!(scene.observe_bytes("a", 0).media_started.is_empty());

    assert_eq!(scene.observe_bytes("a", 1000).media_started, [name("a")]);
    assert!(!scene.registry.media_started(&name("a")));
    scene.now += 2 * SECOND;
    assert!(scene.observe_bytes("a", 251_000).media_started.is_empty());

    let stats = scene.reported()[0].stats.clone().unwrap();
    assert_eq!(stats.bytes_received, 251_000);
    assert_eq!(stats.bitrate_bps, 1_000_000);
}

#[test]
fn unmeasured_media_is_reported_without_stats() {
    let mut scene = Scene::new();
    scene.accept("a");
    assert!(scene.registry.media_started(&name("a")));
    assert!(!scene.registry.media_started(&name("a")));
    assert!(!scene.registry.media_started(&name("b")));
    assert_eq!(scene.reported()[0].stats, None);
}

#[test]
fn a_media_start_before_the_answer_is_kept() {
    let mut scene = Scene::new();
    scene.begin("a").unwrap();
    assert!(scene.registry.media_started(&name("a")));
    let accepted = scene.answer_begin("a", 1);
    assert_eq!(accepted, Ok(true));
}

#[test]
fn a_later_report_makes_an_end_obsolete_and_an_earlier_one_does_not() {
    let mut scene = Scene::new();
    scene.accept("a");
    let earlier = scene.report();
    let ended = scene.registry.end(&name("a"), scene.now).unwrap();

    scene.answer(&earlier, SyncNodeResponse::default());
    assert!(!scene.registry.is_end_obsolete(&ended));
    scene.sync(SyncNodeResponse::default());
    assert!(scene.registry.is_end_obsolete(&ended));
}

#[test]
fn a_new_boot_makes_earlier_ends_obsolete() {
    let mut scene = Scene::new();
    scene.accept("a");
    let ended = scene.registry.end(&name("a"), scene.now).unwrap();
    scene.observe("b2", &[]);
    assert!(scene.registry.is_end_obsolete(&ended));
}

#[test]
fn there_are_at_most_five_thousand_connections() {
    let mut scene = Scene::new();
    for number in 0..5000 {
        scene.begin(&number.to_string()).unwrap();
    }

    assert_eq!(scene.begin("more"), Err(PublishError::Unreachable));
    assert_eq!(scene.update("more"), Err(PublishError::Unreachable));
    assert!(!scene.observe("b1", &["more"]).has_unknown);
    assert_eq!(scene.update("17"), Ok(false));
    assert_eq!(scene.reported().len(), 5000);
    scene.end("17");
    assert_eq!(scene.begin("more"), Ok(BeginStep::CallControlPlane));
}

#[test]
fn there_is_no_report_before_the_first_snapshot() {
    let mut registry = Registry::new(GRACE, Instant::now());
    assert!(registry.sync_report("n1").is_none());
}
