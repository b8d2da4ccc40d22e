//! ReportRelays: what runs.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::scene::{STARTED, Scene, Worker, at, breaks, broadcasts, runs, state};
use crate::harness::{Engine, Postgres, Sqlite, refused};
use pb::RelayState::{Broadcasting, Idle, Stalled, Starting, Stopping};

#[rstest]
#[tokio::test]
async fn a_relay_broadcasts_once_its_bytes_grow(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    let before = scene.revision().await;

    worker.takes(runs(&assignment, Starting, 0)).await;
    worker.takes(broadcasts(&assignment, 0)).await;
    let relay = scene.relay(&live).await;
    assert_eq!((relay.state(), relay.last_progress_time), (Starting, None));
    assert_eq!(scene.revision().await, before);

    worker.takes(broadcasts(&assignment, 5)).await;
    let relay = scene.relay(&live).await;
    assert_eq!(relay.state(), Broadcasting);
    assert_eq!((relay.bytes_sent, relay.bitrate_bps), (5, 40));
    assert!(relay.last_progress_time.is_some());
    assert_eq!(scene.revision().await, before + 1);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn bytes_are_no_change_that_is_numbered(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;
    let (before, revision) = (scene.relay(&live).await, scene.revision().await);

    let answer = worker.report(vec![broadcasts(&assignment, 6)]).await;

    let after = scene.relay(&live).await;
    assert!(at(after.last_progress_time) > at(before.last_progress_time));
    let expected = pb::Relay {
        bytes_sent: 6,
        bitrate_bps: 48,
        last_progress_time: after.last_progress_time,
        ..before
    };
    assert_eq!(after, expected);
    assert!(at(answer.lease_expire_time) > at(assignment.lease_expire_time));
    assert_eq!(scene.revision().await, revision);
}

#[rstest]
#[tokio::test]
async fn a_late_report_only_renews_the_lease(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;
    let before = scene.relay(&live).await;

    for late in [Starting, Broadcasting, Stalled, Stopping] {
        worker.takes(runs(&assignment, late, 4)).await;
        assert_eq!(scene.relay(&live).await, before, "{late:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_worker_may_say_that_a_relay_stalls(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (live, _, worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;

    worker.takes(runs(&assignment, Stalled, 5)).await;
    assert_eq!(scene.relay(&live).await.state(), Stalled);
    worker.takes(broadcasts(&assignment, 6)).await;
    assert_eq!(scene.relay(&live).await.state(), Broadcasting);
}

#[rstest]
#[tokio::test]
async fn a_worker_that_says_that_it_stops_a_relay_can_only_give_it_back(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;

    worker.takes(runs(&assignment, Stopping, 5)).await;

    let stopping = scene.relay(&live).await;
    assert_eq!(state(&stopping), (STARTED, Stopping));
    worker.loses(broadcasts(&assignment, 6)).await;
    assert_eq!(scene.relay(&live).await, stopping);
    worker.takes(runs(&assignment, Idle, 6)).await;
    worker.assigned(1).await;
}

#[rstest]
#[tokio::test]
async fn a_relay_that_a_worker_gives_back_is_claimed_a_second_later(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, assignment) = scene.claimed().await;
    worker.takes(broadcasts(&assignment, 5)).await;

    worker.takes(runs(&assignment, Idle, 5)).await;

    let idle = scene.relay(&live).await;
    assert_eq!(idle.next_retry_time, None, "it has not failed");
    let again = worker.assigned(1).await;
    let relay = again[0].relay.as_ref().unwrap();
    let waited = nanos(relay.update_time) - nanos(idle.update_time);
    assert!(waited >= 1_000_000_000, "{waited}");
    assert_eq!((relay.state(), relay.attempt), (Starting, 0));
    assert_eq!(relay.bytes_sent, 0, "a new try");
    assert_ne!(again[0].lease_id, assignment.lease_id);
}

#[rstest]
#[tokio::test]
async fn a_report_under_anothers_old_or_unknown_lease_changes_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(Broadcasting, Starting, Stalled, Stopping, Idle)] says: pb::RelayState,
) {
    let scene = Scene::start(engine).await;
    let (live, _, mut worker, old) = scene.claimed().await;
    worker.takes(runs(&old, Idle, 0)).await;
    let assignment = worker.assigned(1).await.remove(0);
    worker.takes(broadcasts(&assignment, 5)).await;
    let (before, revision) = (scene.relay(&live).await, scene.revision().await);
    let another = Worker::claim(&scene.workers, "w2", "", 9).await;
    let unknown = pb::RelayAssignment {
        lease_id: Uuid::now_v7().to_string(),
        ..assignment.clone()
    };

    another.loses(runs(&assignment, says, 99)).await;
    worker.loses(runs(&old, says, 99)).await;
    worker.loses(runs(&unknown, says, 99)).await;

    assert_eq!(scene.relay(&live).await, before);
    assert_eq!(scene.revision().await, revision);
    worker.takes(broadcasts(&assignment, 6)).await;
}

#[rstest]
#[tokio::test]
async fn one_report_tells_of_many_relays(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    for name in ["a", "b", "c"] {
        scene.destination(name).await;
    }
    let live = scene.live("c1").await;
    let mut worker = scene.worker("w1").await;
    let assigned = worker.assigned(3).await;
    worker.takes(broadcasts(&assigned[0], 5)).await;

    let stale = pb::RelayReport {
        lease_id: Uuid::now_v7().to_string(),
        ..broadcasts(&assigned[0], 5)
    };
    let reports = vec![
        broadcasts(&assigned[0], 6),
        stale.clone(),
        broadcasts(&assigned[1], 1),
        breaks(&assigned[2]),
    ];
    let answer = worker.report(reports).await;

    assert_eq!(answer.lost_lease_ids, [stale.lease_id]);
    let relays = scene.relays(&live).await;
    let states: Vec<_> = relays.iter().map(pb::Relay::state).collect();
    assert_eq!(
        states,
        [Broadcasting, Broadcasting, pb::RelayState::Retrying]
    );
    assert_eq!(relays[0].bytes_sent, 6);
    assert_eq!(worker.report(Vec::new()).await.lost_lease_ids, [""; 0]);
    scene.assert_events().await;
}

#[rstest]
#[tokio::test]
async fn a_report_that_cannot_be_taken_keeps_no_other_from_being_taken(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    for name in ["a", "b", "c"] {
        scene.destination(name).await;
    }
    let live = scene.live("c1").await;
    let mut worker = scene.worker("w1").await;
    let assigned = worker.assigned(3).await;
    let broken = match engine {
        Sqlite => {
            "create trigger broken before update on relays when new.state = 'retrying'
             begin select raise(abort, 'broken'); end"
        }
        Postgres => "alter table relays add constraint broken check (state <> 'retrying')",
    };
    scene.server.database.execute(broken).await;

    let request = pb::ReportRelaysRequest {
        worker_id: "w1".to_owned(),
        reports: vec![
            broadcasts(&assigned[0], 1),
            breaks(&assigned[1]),
            broadcasts(&assigned[2], 1),
        ],
    };
    let refusal = refused(scene.workers.stream.clone().report_relays(request).await);

    assert_eq!(refusal.class(), (Code::Internal, "INTERNAL"));
    let relays = scene.relays(&live).await;
    let states: Vec<_> = relays.iter().map(pb::Relay::state).collect();
    assert_eq!(states, [Broadcasting, Starting, Broadcasting]);
    let expiries = "select count(distinct lease_expire_time) from relays";
    assert_eq!(scene.server.database.number(expiries).await, 1, "renewed");
    scene.assert_events().await;
}

fn nanos(time: Option<prost_types::Timestamp>) -> i64 {
    let (seconds, nanos) = at(time);
    seconds * 1_000_000_000 + i64::from(nanos)
}
