use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use super::fixture::{Fixture, state};
use crate::harness::{Client, Engine, MediaServer, Pooled, Postgres, Sqlite, refused};

type Begun = Result<Response<pb::BeginPublishResponse>, Status>;

const CALLS: usize = 20;

impl Fixture {
    /// Clients of media servers on this server and on a replica.
    pub async fn two_nodes(&mut self) -> [Client; 2] {
        let here = self.node.client.clone();
        let channel = self.server.replica().await;
        let origin = std::mem::replace(&mut self.server.channel, channel);
        let there = self.server.media_server().await.client;
        self.server.channel = origin;
        [here, there]
    }

    /// Concurrent BeginPublish calls on both servers.
    async fn begin_all(
        &mut self,
        connection: impl Fn(usize) -> String,
    ) -> Vec<Result<pb::Stream, Status>> {
        let nodes = self.two_nodes().await;
        let calls: JoinSet<Begun> = (0..CALLS)
            .map(|number| {
                let mut client = nodes[number % 2].stream.clone();
                let request = pb::BeginPublishRequest {
                    stream_key: self.key.clone(),
                    publisher: Some(MediaServer::connection(&connection(number))),
                    media_flowing: false,
                    play_url: String::new(),
                };
                async move { client.begin_publish(request).await }
            })
            .collect();
        let answers = calls.join_all().await.into_iter();
        answers
            .map(|answer| answer.map(|answer| answer.into_inner().stream.unwrap()))
            .collect()
    }

    async fn rows(&self) -> i64 {
        let query = "select count(*) from streams";
        self.server.database.number(query).await
    }
}

/// The only accepted stream; all other publishers must be refused for the conflict.
fn winner(answers: Vec<Result<pb::Stream, Status>>) -> pb::Stream {
    let mut winners = Vec::new();
    for answer in answers {
        match answer {
            Ok(stream) => winners.push(stream),
            Err(status) => {
                let refusal = refused::<()>(Err(status));
                assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
            }
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    winners.remove(0)
}

/// Predecessor's defect G4: a second publish made a second live row.
#[rstest]
#[tokio::test]
async fn of_concurrent_publishers_exactly_one_is_accepted(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::start(engine).await;
    let before = fixture.project().await;

    let answers = fixture.begin_all(|number| number.to_string()).await;

    let winner = winner(answers);
    assert_eq!(winner.epoch, 1);
    assert_eq!(fixture.owner.stream(&winner.id).await, winner);
    assert_eq!(
        (fixture.count_unended().await, fixture.rows().await),
        (1, 1)
    );
    let project = fixture.project().await;
    assert_eq!(project.live_stream_id, winner.id);
    assert_eq!(project.revision, before.revision + 1);
}

#[rstest]
#[tokio::test]
async fn of_concurrently_reconnecting_publishers_exactly_one_is_accepted(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.node.live(&fixture.key, "lost").await;
    fixture.node.end(&live, "lost").await;

    let answers = fixture.begin_all(|number| number.to_string()).await;

    let winner = winner(answers);
    assert_eq!((&winner.id, winner.epoch), (&live.id, 2));
    assert_eq!(fixture.owner.stream(&winner.id).await, winner);
    assert_eq!(
        (fixture.count_unended().await, fixture.rows().await),
        (1, 1)
    );
}

#[rstest]
#[tokio::test]
async fn one_publish_begun_many_times_concurrently_is_one_stream(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::start(engine).await;
    let before = fixture.project().await;

    let answers = fixture.begin_all(|_| "same".to_owned()).await;

    let live_stream_id = fixture.project().await.live_stream_id;
    for stream in answers {
        let stream = stream.unwrap();
        assert_eq!((&stream.id, stream.epoch), (&live_stream_id, 1));
    }
    assert_eq!(
        (fixture.count_unended().await, fixture.rows().await),
        (1, 1)
    );
    assert_eq!(fixture.project().await.revision, before.revision + 1);
}

/// Predecessor's defect G4: a second publish made a second live row.
#[rstest]
#[tokio::test]
async fn of_concurrent_takeovers_exactly_one_remains(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::with_takeover(engine, 60).await;

    let answers = fixture.begin_all(|number| number.to_string()).await;

    let live_stream_id = fixture.project().await.live_stream_id;
    let mut running = 0;
    for stream in answers {
        let stream = fixture.owner.stream(&stream.unwrap().id).await;
        match stream.id == live_stream_id {
            true => running += 1,
            false => assert_eq!(
                state(&stream),
                (pb::StreamState::Ended, pb::EndReason::TakenOver)
            ),
        }
    }
    assert_eq!(running, 1);
    assert_eq!(
        (fixture.count_unended().await, fixture.rows().await),
        (1, 20)
    );
}

#[rstest]
#[tokio::test]
async fn a_stop_among_concurrent_heartbeats_is_final(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let mut fixture = Fixture::start(engine).await;
    let nodes = fixture.two_nodes().await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let before = fixture.project().await.revision;

    let mut calls: JoinSet<pb::Stream> = (0..CALLS)
        .map(|number| {
            let mut client = nodes[number % 2].stream.clone();
            let publisher = Some(MediaServer::connection("a"));
            let (stream_id, epoch) = (live.id.clone(), live.epoch);
            async move {
                let request = pb::HeartbeatPublishRequest {
                    stream_id,
                    epoch,
                    publisher,
                    stats: None,
                };
                let answer = client.heartbeat_publish(request).await;
                answer.unwrap().into_inner().stream.unwrap()
            }
        })
        .collect();
    let mut owner = fixture.owner.client.stream.clone();
    let request = pb::StopStreamRequest {
        stream_id: live.id.clone(),
        hold: None,
        ..Default::default()
    };
    calls.spawn(async move {
        let answer = owner.stop_stream(request).await;
        answer.unwrap().into_inner().stream.unwrap()
    });
    for stream in calls.join_all().await {
        assert_eq!(stream.id, live.id);
    }

    let over = (pb::StreamState::Ended, pb::EndReason::StoppedByOwner);
    assert_eq!(state(&fixture.owner.stream(&live.id).await), over);
    assert_eq!(fixture.project().await.revision, before + 1);
}

/// Predecessor's defect G4: nothing kept a project from having two live rows.
#[rstest]
#[tokio::test]
async fn the_schema_refuses_a_second_stream_that_has_not_ended(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    fixture.node.end(&live, "a").await;
    fixture.node.live(&fixture.key, "b").await;

    let revive = "update streams set end_time = null where end_time is not null";
    assert!(
        fixture
            .server
            .database
            .violates_unique_constraint(revive)
            .await
    );
}
