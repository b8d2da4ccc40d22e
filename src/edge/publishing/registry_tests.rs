use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{
    observe::Observation,
    registry::{BeginStep, Registry},
    sync_report::SyncReport,
    tracked_connection::AcceptedPublish,
};
use crate::{
    domain::Secret,
    edge::publisher::{
        ConnectionId, ObservedPublisher, PublishError, PublishRequest, PublisherSnapshot,
    },
    proto::v1::{
        EndReason, IngestProtocol, NodeAdoption, NodeConnection, NodeKick, Stream, StreamStats,
        SyncNodeResponse,
    },
};

const GRACE: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// A registry with a simulated clock.
struct Scene {
    registry: Registry,
    now: Instant,
    listing_delay: Duration,
}

impl Scene {
    /// In the boot `b1`, without publishers.
    fn new() -> Self {
        let now = Instant::now();
        let registry = Registry::new(GRACE, now);
        let mut scene = Self {
            registry,
            now,
            listing_delay: 5 * SECOND,
        };
        assert!(scene.observe("b1", &[]).is_new_boot);
        scene
    }

    fn begin(&mut self, id: &str) -> Result<BeginStep, PublishError> {
        self.registry.begin(&request(id), self.now)
    }

    fn accept(&mut self, id: &str) {
        self.begin(id).unwrap();
        let accepted = self.registry.accept(&name(id), publish_of(id, 1), self.now);
        assert_eq!(accepted, Ok(false));
    }

    fn update(&mut self, id: &str) -> Result<bool, PublishError> {
        self.registry.update(&request(id), self.now)
    }

    fn end(&mut self, id: &str) -> Option<AcceptedPublish> {
        let ended = self.registry.end(&name(id), self.now);
        ended.map(|ended| ended.publish)
    }

    fn observe(&mut self, boot: &str, listed: &[&str]) -> Observation {
        let publishers = listed.iter().map(|id| ObservedPublisher {
            id: name(id),
            request: None,
            stats: None,
        });
        self.observe_publishers(boot, publishers.collect())
    }

    fn observe_publishers(
        &mut self,
        boot: &str,
        publishers: Vec<ObservedPublisher>,
    ) -> Observation {
        let boot_id = boot.to_owned();
        let snapshot = PublisherSnapshot {
            boot_id,
            publishers,
            listing_delay: self.listing_delay,
        };
        self.registry.observe(&snapshot, self.now, self.now)
    }

    /// Observes one connection with this number of received bytes.
    fn observe_bytes(&mut self, id: &str, bytes_received: i64) -> Observation {
        let stats = StreamStats {
            bytes_received,
            ..StreamStats::default()
        };
        let publisher = ObservedPublisher {
            id: name(id),
            request: None,
            stats: Some(stats),
        };
        self.observe_publishers("b1", vec![publisher])
    }

    fn report(&mut self) -> SyncReport {
        self.registry.sync_report("n1").unwrap()
    }

    fn reported(&mut self) -> Vec<NodeConnection> {
        let mut connections = self.report().message.connections;
        connections.sort_by(|one, other| one.connection_id.cmp(&other.connection_id));
        connections
    }

    fn answer(&mut self, report: &SyncReport, answer: SyncNodeResponse) -> Vec<AcceptedPublish> {
        self.registry.control_plane_answered(self.now);
        let ended = self.registry.apply_sync(report, answer, self.now);
        ended.into_iter().map(|ended| ended.publish).collect()
    }

    fn sync(&mut self, answer: SyncNodeResponse) -> Vec<AcceptedPublish> {
        let report = self.report();
        self.answer(&report, answer)
    }

    fn to_disconnect(&self) -> Vec<ConnectionId> {
        let mut ids = self.registry.connections_to_disconnect(self.now);
        ids.sort();
        ids
    }
}

fn name(id: &str) -> ConnectionId {
    ConnectionId::parse(id).unwrap()
}

fn request(id: &str) -> PublishRequest {
    PublishRequest {
        id: name(id),
        stream_key: Secret::new("sk_1"),
        peer_address: "203.0.113.5".to_owned(),
        protocol: IngestProtocol::Rtmp,
        play_url: Secret::new("rtmp://127.0.0.1/live/x"),
    }
}

fn publish_of(id: &str, epoch: i64) -> AcceptedPublish {
    AcceptedPublish {
        stream_id: format!("stream of {id}"),
        epoch,
        boot_id: "b1".to_owned(),
    }
}

fn kick(id: &str, reason: EndReason) -> SyncNodeResponse {
    SyncNodeResponse {
        kicks: vec![NodeKick {
            connection_id: id.to_owned(),
            reason: reason.into(),
        }],
        ..SyncNodeResponse::default()
    }
}

fn adoption(id: &str, epoch: i64) -> SyncNodeResponse {
    let stream = Stream {
        id: format!("stream of {id}"),
        epoch,
        ..Stream::default()
    };
    SyncNodeResponse {
        adoptions: vec![NodeAdoption {
            connection_id: id.to_owned(),
            stream: Some(stream),
        }],
        ..SyncNodeResponse::default()
    }
}

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
    scene
        .registry
        .accept(&name("a"), publish_of("a", 2), scene.now)
        .unwrap();
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

    let accepted = scene
        .registry
        .accept(&name("a"), publish_of("a", 1), scene.now);

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
    let accepted = scene
        .registry
        .accept(&name("pending"), publish_of("pending", 1), scene.now);
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
    let accepted = scene
        .registry
        .accept(&name("a"), publish_of("a", 1), scene.now);
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

/// Events in any order; numbers are connections.
#[derive(Debug, Clone)]
enum Event {
    Begin(u8),
    Accept(u8),
    Refuse(u8),
    Update(u8),
    End(u8),
    Observe(Vec<u8>),
    Boot,
    Send,
    Kick(u8),
    Adopt(u8),
    Pass(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let id = 0..4_u8;
    prop_oneof![
        id.clone().prop_map(Event::Begin),
        id.clone().prop_map(Event::Accept),
        id.clone().prop_map(Event::Refuse),
        id.clone().prop_map(Event::Update),
        id.clone().prop_map(Event::End),
        prop::collection::vec(id.clone(), 0..4).prop_map(Event::Observe),
        Just(Event::Boot),
        Just(Event::Send),
        id.clone().prop_map(Event::Kick),
        id.prop_map(Event::Adopt),
        (0..8_u8).prop_map(Event::Pass),
    ]
}

impl Scene {
    fn play(&mut self, event: Event, boot: &mut u32, report: &mut Option<SyncReport>) {
        let id = |number: u8| number.to_string();
        match event {
            Event::Begin(number) => drop(self.begin(&id(number))),
            Event::Accept(number) => {
                let id = id(number);
                let publish = publish_of(&id, 1);
                drop(self.registry.accept(&name(&id), publish, self.now));
            }
            Event::Refuse(number) => self.registry.refuse(&name(&id(number)), self.now),
            Event::Update(number) => drop(self.update(&id(number))),
            Event::End(number) => drop(self.end(&id(number))),
            Event::Observe(seen) => {
                let seen: Vec<_> = seen.into_iter().map(id).collect();
                let seen: Vec<_> = seen.iter().map(|id| &**id).collect();
                self.observe(&format!("b{boot}"), &seen);
            }
            Event::Boot => *boot += 1,
            Event::Send => *report = Some(self.report()),
            Event::Kick(number) => {
                if let Some(report) = report.take() {
                    self.answer(&report, kick(&id(number), EndReason::KeyRotated));
                }
            }
            Event::Adopt(number) => {
                if let Some(report) = report.take() {
                    self.answer(&report, adoption(&id(number), 2));
                }
            }
            Event::Pass(seconds) => self.now += SECOND * u32::from(seconds),
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_reports_valid_and_ends_final(
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut scene = Scene::new();
        let (mut boot, mut report) = (1, None);
        for event in events {
            let last = event.clone();
            scene.play(event, &mut boot, &mut report);

            let reported = scene.reported();
            for (index, one) in reported.iter().enumerate() {
                prop_assert_eq!(one.stream_id.is_empty(), one.epoch == 0);
                prop_assert!(index == 0 || reported[index - 1].connection_id != one.connection_id);
            }
            for id in scene.to_disconnect() {
                prop_assert!(reported.iter().any(|one| one.connection_id == id.as_str()));
                prop_assert!(scene.registry.accepted_publish(&id).is_none());
            }
            if let Event::End(number) = last {
                let id = number.to_string();
                prop_assert!(reported.iter().all(|one| one.connection_id != id));
            }
        }
    }
}
