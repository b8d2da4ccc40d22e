use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::node::{adopted, keyed};
use super::scene::{CONTINUE, Scene, seconds, state, stop, told};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, refused};

const TAKEN_OVER: pb::EndReason = pb::EndReason::TakenOver;

impl Scene {
    /// A connection that does not hold this stream reports itself in vain.
    async fn is_fenced(&self, stream: &pb::Stream, stranger: pb::Publisher, epoch: i64) {
        let before = self.owner.stream(&stream.id).await;
        let project = self.project().await;
        let claimed = pb::Stream {
            epoch,
            ..stream.clone()
        };

        let answer = self.heartbeat_of(&claimed, stranger.clone(), None).await;
        assert_eq!(told(&answer), stop(TAKEN_OVER), "{stranger:?} {epoch}");
        assert_eq!(answer.stream.as_ref(), Some(&before));
        assert_eq!(self.end_of(&claimed, stranger).await, before);

        assert_eq!(self.owner.stream(&stream.id).await, before);
        assert_eq!(self.project().await, project);
    }
}

/// Predecessor's defect G4: nginx sends the loser's updates and its end under
/// the winner's name, and the loser's end ended the winner's stream.
#[rstest]
#[tokio::test]
async fn the_loser_of_a_double_publish_does_not_touch_the_winner(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] window: bool,
) {
    let scene = match window {
        true => Scene::with_window(engine, &[]).await,
        false => Scene::start(engine).await,
    };
    let winner = scene.node.live(&scene.key, "54").await;

    let refusal = refused(scene.node.begin(&scene.key, "55").await);
    assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
    let update = scene.node.heartbeat(&winner, "55").await;
    let done = scene.node.end(&winner, "55").await;

    assert_eq!(told(&update), stop(TAKEN_OVER));
    assert_eq!(update.stream, Some(winner.clone()));
    assert_eq!(done, winner);
    assert_eq!(scene.owner.stream(&winner.id).await, winner);
    let next = scene.node.heartbeat(&winner, "54").await;
    assert_eq!(told(&next), CONTINUE);
    let next = next.stream.unwrap();
    assert_eq!((next.status(), next.epoch), (pb::StreamStatus::Live, 1));
}

/// Predecessor's defect G4: reports were matched by the stream key alone.
#[rstest]
#[tokio::test]
async fn only_the_connection_that_holds_a_stream_reports_it(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let stream = match live {
        true => scene.node.live(&scene.key, "a").await,
        false => scene.begun("a").await,
    };
    let holder = || MediaServer::connection("a");

    let other_connection = MediaServer::connection("b");
    let other_case = MediaServer::connection("A");
    let other_node = pb::Publisher {
        node_id: "n2".to_owned(),
        ..holder()
    };
    let other_boot = pb::Publisher {
        boot_id: "b2".to_owned(),
        ..holder()
    };
    for stranger in [other_connection, other_case, other_node, other_boot] {
        scene.is_fenced(&stream, stranger, 1).await;
    }
    for epoch in [2, i64::MAX] {
        scene.is_fenced(&stream, holder(), epoch).await;
    }
    assert_eq!(told(&scene.node.heartbeat(&stream, "a").await), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn an_address_is_no_part_of_a_connections_identity(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;
    let elsewhere = pb::Publisher {
        peer_address: "198.51.100.7".to_owned(),
        protocol: pb::IngestProtocol::Srt.into(),
        ..MediaServer::connection("a")
    };

    let answer = scene.heartbeat_of(&stream, elsewhere.clone(), None).await;
    assert_eq!(told(&answer), CONTINUE);
    let ended = scene.end_of(&stream, elsewhere).await;

    assert_eq!(ended.status(), pb::StreamStatus::Ended);
    assert_eq!(ended.publisher, stream.publisher);
}

#[rstest]
#[tokio::test]
async fn reports_of_an_older_epoch_change_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let first = scene.node.live(&scene.key, "a").await;
    scene.node.end(&first, "a").await;
    let second = scene.begun("b").await;
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    scene
        .is_fenced(&second, MediaServer::connection("a"), 1)
        .await;
    scene
        .is_fenced(&second, MediaServer::connection("b"), 1)
        .await;
    scene
        .is_fenced(&second, MediaServer::connection("a"), 2)
        .await;

    assert_eq!(told(&scene.node.heartbeat(&second, "b").await), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn a_connection_that_has_ended_does_not_begin_again(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] replaced: bool,
) {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    let scene = Scene::of(engine, &[], request).await;
    let first = scene.node.live(&scene.key, "a").await;
    let ended = scene.node.end(&first, "a").await;
    let now = match replaced {
        true => scene.begun_live("b").await,
        false => ended,
    };
    let before = scene.project().await;

    let refusal = refused(scene.node.begin(&scene.key, "a").await);

    let over = (Code::FailedPrecondition, "CONNECTION_ENDED");
    assert_eq!(refusal.class(), over);
    assert_eq!(scene.owner.stream(&now.id).await, now);
    assert_eq!(scene.project().await, before);
    scene.node.begin(&scene.key, "c").await.unwrap();
}

/// The connection was thought gone, and is let in again.
#[rstest]
#[tokio::test]
async fn an_older_epoch_of_the_connection_itself_is_fenced(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.begun_live("a").await;
    scene.sync("b1", &[]).await;
    let answer = scene.sync("b1", &[keyed("a", &live, &scene.key)]).await;
    let (_, back) = adopted(&answer);
    assert_eq!((&back.id, back.epoch), (&live.id, 2));

    scene.is_fenced(back, MediaServer::connection("a"), 1).await;
}

#[rstest]
#[tokio::test]
async fn a_late_repetition_of_the_loser_of_a_takeover_takes_nothing_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let request = pb::CreateProjectRequest {
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    let scene = Scene::of(engine, &[], request).await;
    scene.node.live(&scene.key, "loser").await;
    let winner = scene.begun_live("winner").await;

    let refusal = refused(scene.node.begin(&scene.key, "loser").await);

    let over = (Code::FailedPrecondition, "CONNECTION_ENDED");
    assert_eq!(refusal.class(), over);
    assert_eq!(scene.owner.stream(&winner.id).await, winner);
}

#[rstest]
#[tokio::test]
async fn an_end_that_overtakes_the_first_heartbeat_stands(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let begun = scene.begun("a").await;

    let ended = scene.node.end(&begun, "a").await;
    let late = scene.node.heartbeat(&begun, "a").await;

    let over = (pb::StreamStatus::Ended, pb::EndReason::PublisherEnded);
    assert_eq!(state(&ended), over);
    assert_eq!(ended.live_time, None);
    assert_eq!(told(&late), stop(pb::EndReason::PublisherEnded));
    assert_eq!(late.stream, Some(ended.clone()));
    assert_eq!(scene.owner.stream(&begun.id).await, ended);
}

#[rstest]
#[tokio::test]
async fn a_late_heartbeat_does_not_bring_a_lost_connection_back(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let stream = match live {
        true => scene.node.live(&scene.key, "a").await,
        false => scene.begun("a").await,
    };
    let waiting = scene.node.end(&stream, "a").await;
    assert_eq!(waiting.status(), pb::StreamStatus::Reconnecting);

    let late = scene.node.heartbeat(&stream, "a").await;

    assert_eq!(told(&late), stop(pb::EndReason::PublisherEnded));
    assert_eq!(late.stream, Some(waiting.clone()));
    assert_eq!(scene.node.end(&stream, "a").await, waiting);
    assert_eq!(scene.owner.stream(&stream.id).await, waiting);
}

#[rstest]
#[tokio::test]
async fn reports_of_an_unknown_stream_find_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stream_id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let heartbeat = pb::HeartbeatPublishRequest {
        stream_id: stream_id.to_owned(),
        epoch: 1,
        publisher: Some(MediaServer::connection("a")),
        stats: None,
    };
    let end = pb::EndPublishRequest {
        stream_id: stream_id.to_owned(),
        epoch: 1,
        publisher: Some(MediaServer::connection("a")),
    };

    let mut client = scene.node.client.stream.clone();
    for refusal in [
        refused(client.heartbeat_publish(heartbeat).await),
        refused(client.end_publish(end).await),
    ] {
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        let resource = refusal.details.resource_info().unwrap();
        assert_eq!(resource.resource_type, "stream");
        assert_eq!(resource.resource_name, stream_id);
    }
}
