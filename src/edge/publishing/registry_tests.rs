use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{
    connection_state::Grant,
    observe::Looked,
    registry::{Proposal, Registry},
    sync_report::Report,
};
use crate::{
    domain::Secret,
    edge::connection::{ConnectionId, Look, Offer, Refused, Seen},
    proto::v1::{
        EndReason, IngestProtocol, NodeAdoption, NodeConnection, NodeKick, Stream, StreamStats,
        SyncNodeResponse,
    },
};

const GRACE: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// A registry at a time of its own.
struct Scene {
    registry: Registry,
    now: Instant,
    shown_within: Duration,
}

impl Scene {
    /// In the run `b1`, in which nobody publishes yet.
    fn new() -> Self {
        let now = Instant::now();
        let registry = Registry::new(GRACE, now);
        let mut scene = Self {
            registry,
            now,
            shown_within: 5 * SECOND,
        };
        assert!(scene.look("b1", &[]).new_boot);
        scene
    }

    fn propose(&mut self, id: &str) -> Result<Proposal, Refused> {
        self.registry.propose(&offer(id), self.now)
    }

    fn accept(&mut self, id: &str) {
        self.propose(id).unwrap();
        let accepted = self.registry.accept(&name(id), grant(id, 1), self.now);
        assert_eq!(accepted, Ok(false));
    }

    fn update(&mut self, id: &str) -> Result<bool, Refused> {
        self.registry.update(&offer(id), self.now)
    }

    fn end(&mut self, id: &str) -> Option<Grant> {
        let ended = self.registry.end(&name(id), self.now);
        ended.map(|ended| ended.grant)
    }

    fn look(&mut self, boot: &str, seen: &[&str]) -> Looked {
        let seen = seen.iter().map(|id| Seen {
            id: name(id),
            offer: None,
            stats: None,
        });
        self.look_with(boot, seen.collect())
    }

    fn look_with(&mut self, boot: &str, seen: Vec<Seen>) -> Looked {
        let boot_id = boot.to_owned();
        let look = Look {
            boot_id,
            seen,
            shown_within: self.shown_within,
        };
        self.registry.look(&look, self.now, self.now)
    }

    /// A look that finds one connection with so many bytes.
    fn look_bytes(&mut self, id: &str, bytes_received: i64) -> Looked {
        let stats = StreamStats {
            bytes_received,
            ..StreamStats::default()
        };
        let seen = Seen {
            id: name(id),
            offer: None,
            stats: Some(stats),
        };
        self.look_with("b1", vec![seen])
    }

    fn report(&mut self) -> Report {
        self.registry.report("n1").unwrap()
    }

    fn reported(&mut self) -> Vec<NodeConnection> {
        let mut connections = self.report().message.connections;
        connections.sort_by(|one, other| one.connection_id.cmp(&other.connection_id));
        connections
    }

    fn answer(&mut self, report: &Report, answer: SyncNodeResponse) -> Vec<Grant> {
        self.registry.heard(self.now);
        let ended = self.registry.answered(report, answer, self.now);
        ended.into_iter().map(|ended| ended.grant).collect()
    }

    fn agree(&mut self, answer: SyncNodeResponse) -> Vec<Grant> {
        let report = self.report();
        self.answer(&report, answer)
    }

    fn unwelcome(&self) -> Vec<ConnectionId> {
        let mut unwelcome = self.registry.unwelcome(self.now);
        unwelcome.sort();
        unwelcome
    }
}

fn name(id: &str) -> ConnectionId {
    ConnectionId::parse(id).unwrap()
}

fn offer(id: &str) -> Offer {
    Offer {
        id: name(id),
        stream_key: Secret::new("sk_1"),
        peer_address: "203.0.113.5".to_owned(),
        protocol: IngestProtocol::Rtmp,
        play_url: Secret::new("rtmp://127.0.0.1/live/x"),
    }
}

fn grant(id: &str, epoch: i64) -> Grant {
    Grant {
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
    assert_eq!(scene.end("a"), Some(grant("a", 1)));
    assert_eq!(scene.reported(), []);
    assert_eq!(scene.end("a"), None);
}

#[test]
fn a_pending_connection_is_reported_and_what_is_said_of_it_is_not_heeded() {
    let mut scene = Scene::new();
    scene.propose("a").unwrap();

    let report = scene.report();
    let reported = &report.message.connections[0];
    assert_eq!((&*reported.stream_id, reported.epoch), ("", 0));
    assert_eq!(
        reported.stream_key, "",
        "its begin decides, not this report"
    );
    scene
        .registry
        .accept(&name("a"), grant("a", 2), scene.now)
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
    scene.propose("a").unwrap();
    assert_eq!(scene.end("a"), None);

    let accepted = scene.registry.accept(&name("a"), grant("a", 1), scene.now);

    assert_eq!(accepted.unwrap_err().grant, grant("a", 1));
    assert_eq!(scene.reported(), []);
}

#[test]
fn a_connection_adopted_after_it_is_gone_has_ended() {
    let mut scene = Scene::new();
    assert_eq!(scene.update("a"), Ok(true));
    let report = scene.report();
    scene.end("a");

    let ended = scene.answer(&report, adoption("a", 3));

    assert_eq!(ended, [grant("a", 3)]);
    assert_eq!(scene.reported(), []);
}

#[test]
fn a_refused_connection_is_forgotten_and_not_taken_for_new_while_it_goes() {
    let mut scene = Scene::new();
    scene.propose("a").unwrap();
    scene.registry.refuse(&name("a"), scene.now);

    assert!(!scene.look("b1", &["a"]).unknown);
    assert_eq!(scene.reported(), []);
    scene.now += 11 * SECOND;
    assert!(scene.look("b1", &["a"]).unknown);
}

#[test]
fn a_repeated_wish_asks_again_only_with_another_key() {
    let mut scene = Scene::new();
    scene.accept("a");
    assert_eq!(scene.propose("a"), Ok(Proposal::Granted));

    let mut other = offer("a");
    other.stream_key = Secret::new("sk_2");
    let proposal = scene.registry.propose(&other, scene.now);
    assert_eq!(proposal, Ok(Proposal::Ask));
}

#[test]
fn who_is_told_to_stop_is_disconnected_until_gone() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.agree(kick("a", EndReason::StoppedByOwner));

    let stopped = Refused::Stopped(EndReason::StoppedByOwner);
    assert_eq!(scene.update("a"), Err(stopped));
    assert_eq!(scene.propose("a"), Err(stopped));
    // Neither another reason nor an adoption changes it.
    scene.agree(kick("a", EndReason::KeyRotated));
    scene.agree(adoption("a", 1));
    assert_eq!(scene.update("a"), Err(stopped));
    assert_eq!(scene.reported()[0].stream_key, "");
    for _ in 0..3 {
        scene.look("b1", &["a"]);
        assert_eq!(scene.unwelcome(), [name("a")]);
    }
    assert_eq!(scene.end("a"), None, "its stream has ended before");
    assert_eq!(scene.unwelcome(), []);
}

#[test]
fn a_connection_that_nobody_knows_is_adopted() {
    let mut scene = Scene::new();
    assert_eq!(scene.update("a"), Ok(true));
    assert_eq!(scene.update("a"), Ok(false));
    assert!(scene.look("b1", &["a", "b"]).unknown);

    let reported = scene.reported();
    assert_eq!(reported[0].stream_key, "sk_1");
    assert_eq!(reported[0].stats, None, "its media flows");
    assert_eq!(reported[1].stream_key, "", "the media server did not tell");
    scene.agree(adoption("a", 4));
    assert_eq!(scene.reported()[0].epoch, 4);
}

#[test]
fn absence_from_two_looks_in_a_row_is_an_end() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.accept("b");
    scene.now += 5 * SECOND;

    assert!(scene.look("b1", &["b"]).ended.is_empty());
    assert!(scene.look("b1", &["a", "b"]).ended.is_empty());
    assert!(scene.look("b1", &["b"]).ended.is_empty());
    scene.now += SECOND;
    assert!(
        scene.look("b1", &["b"]).ended.is_empty(),
        "so soon it counts as one"
    );
    scene.now += SECOND;
    let ended = scene.look("b1", &["b"]).ended;

    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].grant, grant("a", 1));
    assert_eq!(scene.reported().len(), 1);
}

#[test]
fn neither_a_young_connection_nor_a_pending_one_ends_by_absence() {
    let mut scene = Scene::new();
    scene.propose("pending").unwrap();
    scene.now += 60 * SECOND;
    scene.accept("young");
    scene.now += 4 * SECOND;

    for _ in 0..5 {
        assert!(scene.look("b1", &[]).ended.is_empty());
    }
    assert_eq!(scene.reported().len(), 2);
    scene.now += 2 * SECOND;
    assert_eq!(scene.look("b1", &[]).ended.len(), 1);
}

#[test]
fn who_was_never_shown_has_the_time_that_the_media_server_takes() {
    let mut scene = Scene::new();
    scene.shown_within = 30 * SECOND;
    scene.accept("slow");
    scene.accept("never");
    scene.accept("quick");
    scene.look("b1", &["quick"]);
    for _ in 0..14 {
        scene.now += 2 * SECOND;
        let ended = scene.look("b1", &[]).ended;
        assert!(ended.iter().all(|ended| ended.grant == grant("quick", 1)));
    }
    assert_eq!(scene.reported().len(), 2, "one that was shown has gone");

    scene.look("b1", &["slow"]);
    scene.now += 3 * SECOND;
    let ended = scene.look("b1", &["slow"]).ended;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].grant, grant("never", 1));
}

#[test]
fn who_is_refused_for_want_of_a_key_stays_until_a_hook_has_told_it() {
    let mut scene = Scene::new();
    scene.look("b1", &["a"]);
    scene.agree(kick("a", EndReason::KeyRotated));
    assert_eq!(scene.unwelcome(), []);

    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.reported()[0].stream_key, "sk_1");
    scene.agree(kick("a", EndReason::StoppedByOwner));
    assert_eq!(scene.unwelcome(), [name("a")]);
}

#[test]
fn who_never_tells_a_key_has_to_go() {
    let mut scene = Scene::new();
    scene.look("b1", &["a"]);
    scene.now += 61 * SECOND;
    scene.agree(kick("a", EndReason::KeyRotated));
    assert_eq!(scene.unwelcome(), [name("a")]);
}

#[test]
fn a_new_run_forgets_who_is_gone_and_adopts_who_stands() {
    let mut scene = Scene::new();
    scene.accept("gone");
    scene.accept("stands");
    scene.propose("pending").unwrap();

    let looked = scene.look("b2", &["stands"]);

    assert!(looked.new_boot);
    assert!(looked.ended.is_empty(), "the report of the new run says it");
    let report = scene.report();
    assert_eq!(report.message.boot_id, "b2");
    let reported = scene.reported();
    assert_eq!(reported.len(), 2);
    assert_eq!(reported[1].connection_id, "stands");
    assert_eq!(
        (&*reported[1].stream_id, &*reported[1].stream_key),
        ("", "sk_1")
    );
    // The answer to a begin of the run before.
    let accepted = scene
        .registry
        .accept(&name("pending"), grant("pending", 1), scene.now);
    assert_eq!(accepted, Ok(false));
    assert_eq!(scene.registry.grant(&name("pending")), None);
}

#[test]
fn an_answer_to_a_report_of_an_earlier_run_decides_nothing() {
    let mut scene = Scene::new();
    scene.accept("a");
    let report = scene.report();
    scene.look("b2", &["a"]);

    scene.answer(&report, kick("a", EndReason::NodeLost));

    assert_eq!(scene.update("a"), Ok(false));
}

#[test]
fn live_ones_go_on_without_the_control_plane_until_the_grace_is_over() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.accept("b");
    assert!(scene.registry.unanswered(scene.now));
    assert!(!scene.registry.unanswered(scene.now + SECOND));

    scene.now += GRACE;
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.update("new"), Ok(true));
    assert_eq!(scene.unwelcome(), []);
    scene.now += SECOND;
    scene.propose("pending").unwrap();
    assert_eq!(scene.update("a"), Err(Refused::GraceOver));
    assert_eq!(scene.update("newer"), Err(Refused::GraceOver));
    assert_eq!(scene.unwelcome(), [name("a"), name("b"), name("new")]);

    scene.agree(SyncNodeResponse::default());
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.unwelcome(), []);
}

#[test]
fn time_between_answers_is_no_outage() {
    let mut scene = Scene::new();
    scene.accept("a");
    scene.now += 2 * GRACE;
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.unwelcome(), []);

    assert!(scene.registry.unanswered(scene.now));
    assert_eq!(scene.update("a"), Ok(false));
    assert_eq!(scene.unwelcome(), []);
}

#[test]
fn media_is_told_once_and_reported_as_it_is_measured() {
    let mut scene = Scene::new();
    scene.accept("a");
    let nothing = Some(StreamStats::default());
    assert_eq!(scene.reported()[0].stats, nothing, "no media yet");
    assert!(scene.look_bytes("a", 0).flowing.is_empty());

    assert_eq!(scene.look_bytes("a", 1000).flowing, [name("a")]);
    assert!(!scene.registry.media(&name("a")));
    scene.now += 2 * SECOND;
    assert!(scene.look_bytes("a", 251_000).flowing.is_empty());

    let stats = scene.reported()[0].stats.clone().unwrap();
    assert_eq!(stats.bytes_received, 251_000);
    assert_eq!(stats.bitrate_bps, 1_000_000);
}

#[test]
fn media_that_is_not_measured_flows_by_word() {
    let mut scene = Scene::new();
    scene.accept("a");
    assert!(scene.registry.media(&name("a")));
    assert!(!scene.registry.media(&name("a")));
    assert!(!scene.registry.media(&name("b")));
    assert_eq!(scene.reported()[0].stats, None);
}

#[test]
fn media_before_the_answer_is_not_forgotten() {
    let mut scene = Scene::new();
    scene.propose("a").unwrap();
    assert!(scene.registry.media(&name("a")));
    let accepted = scene.registry.accept(&name("a"), grant("a", 1), scene.now);
    assert_eq!(accepted, Ok(true));
}

#[test]
fn a_later_report_makes_an_end_moot_and_an_earlier_one_does_not() {
    let mut scene = Scene::new();
    scene.accept("a");
    let earlier = scene.report();
    let ended = scene.registry.end(&name("a"), scene.now).unwrap();

    scene.answer(&earlier, SyncNodeResponse::default());
    assert!(!scene.registry.is_moot(&ended));
    scene.agree(SyncNodeResponse::default());
    assert!(scene.registry.is_moot(&ended));
}

#[test]
fn a_new_run_makes_the_ends_of_the_last_one_moot() {
    let mut scene = Scene::new();
    scene.accept("a");
    let ended = scene.registry.end(&name("a"), scene.now).unwrap();
    scene.look("b2", &[]);
    assert!(scene.registry.is_moot(&ended));
}

#[test]
fn there_are_five_thousand_connections_and_no_more() {
    let mut scene = Scene::new();
    for number in 0..5000 {
        scene.propose(&number.to_string()).unwrap();
    }

    assert_eq!(scene.propose("more"), Err(Refused::Away));
    assert_eq!(scene.update("more"), Err(Refused::Away));
    assert!(!scene.look("b1", &["more"]).unknown);
    assert_eq!(scene.update("17"), Ok(false));
    assert_eq!(scene.reported().len(), 5000);
    scene.end("17");
    assert_eq!(scene.propose("more"), Ok(Proposal::Ask));
}

#[test]
fn nothing_is_reported_before_the_first_look() {
    let mut registry = Registry::new(GRACE, Instant::now());
    assert!(registry.report("n1").is_none());
}

/// What may happen, in any order; numbers stand for connections.
#[derive(Debug, Clone)]
enum Event {
    Propose(u8),
    Accept(u8),
    Refuse(u8),
    Update(u8),
    End(u8),
    Look(Vec<u8>),
    Boot,
    Send,
    Kick(u8),
    Adopt(u8),
    Pass(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let id = 0..4_u8;
    prop_oneof![
        id.clone().prop_map(Event::Propose),
        id.clone().prop_map(Event::Accept),
        id.clone().prop_map(Event::Refuse),
        id.clone().prop_map(Event::Update),
        id.clone().prop_map(Event::End),
        prop::collection::vec(id.clone(), 0..4).prop_map(Event::Look),
        Just(Event::Boot),
        Just(Event::Send),
        id.clone().prop_map(Event::Kick),
        id.prop_map(Event::Adopt),
        (0..8_u8).prop_map(Event::Pass),
    ]
}

impl Scene {
    fn play(&mut self, event: Event, boot: &mut u32, report: &mut Option<Report>) {
        let id = |number: u8| number.to_string();
        match event {
            Event::Propose(number) => drop(self.propose(&id(number))),
            Event::Accept(number) => {
                let id = id(number);
                let grant = grant(&id, 1);
                drop(self.registry.accept(&name(&id), grant, self.now));
            }
            Event::Refuse(number) => self.registry.refuse(&name(&id(number)), self.now),
            Event::Update(number) => drop(self.update(&id(number))),
            Event::End(number) => drop(self.end(&id(number))),
            Event::Look(seen) => {
                let seen: Vec<_> = seen.into_iter().map(id).collect();
                let seen: Vec<_> = seen.iter().map(|id| &**id).collect();
                self.look(&format!("b{boot}"), &seen);
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
    fn whatever_happens_a_report_can_be_taken_and_an_end_is_final(
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
            for id in scene.unwelcome() {
                prop_assert!(reported.iter().any(|one| one.connection_id == id.as_str()));
                prop_assert!(scene.registry.grant(&id).is_none());
            }
            if let Event::End(number) = last {
                let id = number.to_string();
                prop_assert!(reported.iter().all(|one| one.connection_id != id));
            }
        }
    }
}
