use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::Fixture;
use crate::harness::{Client, Engine, Postgres, Sqlite, refused};

fn ids(streams: &[pb::Stream]) -> Vec<&str> {
    streams.iter().map(|stream| stream.id.as_str()).collect()
}

impl Fixture {
    fn page(&self) -> pb::ListStreamsRequest {
        pb::ListStreamsRequest {
            project_id: self.project_id.clone(),
            ..Default::default()
        }
    }

    async fn list(&self, request: pb::ListStreamsRequest) -> pb::ListStreamsResponse {
        let answer = self.owner.client.stream.clone().list_streams(request).await;
        answer.unwrap().into_inner()
    }

    /// Begins streams: four that have ended and one that is live. Newest first.
    async fn streams(&self) -> Vec<pb::Stream> {
        let mut streams = Vec::new();
        for connection in ["1", "2", "3", "4"] {
            let begun = self.begin_stream(connection).await;
            streams.insert(0, self.node.end(&begun, connection).await);
        }
        streams.insert(0, self.node.live(&self.key, "5").await);
        streams
    }

    async fn token_faults(&self, client: &Client, request: pb::ListStreamsRequest) {
        let answer = client.stream.clone().list_streams(request).await;
        assert_eq!(refused(answer).fields(), ["page_token"]);
    }
}

#[rstest]
#[tokio::test]
async fn a_projects_streams_are_listed_newest_first(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    assert_eq!(
        fixture.list(fixture.page()).await,
        pb::ListStreamsResponse::default()
    );
    let streams = fixture.streams().await;
    let (_, other_key) = fixture.owner.project().await;
    fixture.node.live(&other_key, "other").await;

    let answer = fixture.list(fixture.page()).await;

    assert_eq!(answer.streams, streams);
    assert_eq!(answer.next_page_token, "");
}

#[rstest]
#[tokio::test]
async fn pages_show_every_stream_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let streams = fixture.streams().await;

    let mut seen = Vec::new();
    let mut page_token = String::new();
    for (page_size, expected) in [(2, 2), (1, 1), (2, 2)] {
        let request = pb::ListStreamsRequest {
            page_size,
            page_token,
            ..fixture.page()
        };
        let answer = fixture.list(request).await;
        assert_eq!(answer.streams.len(), expected);
        seen.extend(answer.streams);
        page_token = answer.next_page_token;
        assert_eq!(page_token.is_empty(), seen.len() == streams.len());
    }
    assert_eq!(seen, streams);
}

#[rstest]
#[tokio::test]
async fn a_page_continues_where_the_previous_one_ended(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let streams = fixture.streams().await;
    let request = pb::ListStreamsRequest {
        page_size: 2,
        ..fixture.page()
    };
    let first = fixture.list(request.clone()).await;
    // A stream that begins meanwhile is newer than those of later pages.
    fixture.stop(&streams[0], 0).await;
    fixture.begin_stream("6").await;

    let second = fixture
        .list(pb::ListStreamsRequest {
            page_token: first.next_page_token,
            ..request
        })
        .await;

    assert_eq!(ids(&second.streams), ids(&streams[2..4]));
}

#[rstest]
#[tokio::test]
async fn streams_can_be_filtered_by_status(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let ended = fixture.begin_stream("1").await;
    fixture.stop(&ended, 0).await;
    let list = async |state: pb::StreamState| {
        let request = pb::ListStreamsRequest {
            state: Some(state.into()),
            ..fixture.page()
        };
        fixture.list(request).await.streams
    };

    let stream = fixture.begin_stream("2").await;
    assert_eq!(
        list(pb::StreamState::Connecting).await,
        std::slice::from_ref(&stream)
    );
    assert_eq!(list(pb::StreamState::Live).await, []);
    let live = fixture.node.heartbeat(&stream, "2").await.stream.unwrap();
    assert_eq!(
        list(pb::StreamState::Live).await,
        std::slice::from_ref(&live)
    );
    assert_eq!(list(pb::StreamState::Connecting).await, []);
    let waiting = fixture.node.end(&live, "2").await;
    assert_eq!(list(pb::StreamState::Reconnecting).await, [waiting]);
    assert_eq!(ids(&list(pb::StreamState::Ended).await), [&*ended.id]);
}

#[rstest]
#[tokio::test]
async fn pages_keep_their_filter(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let streams = fixture.streams().await;
    let request = pb::ListStreamsRequest {
        state: Some(pb::StreamState::Ended.into()),
        page_size: 3,
        ..fixture.page()
    };

    let first = fixture.list(request.clone()).await;
    let second = fixture
        .list(pb::ListStreamsRequest {
            page_token: first.next_page_token,
            ..request
        })
        .await;

    assert_eq!(first.streams, streams[1..4]);
    assert_eq!(second.streams, streams[4..]);
    assert_eq!(second.next_page_token, "");
}

#[rstest]
#[tokio::test]
async fn a_page_token_is_valid_only_for_its_own_list(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.streams().await;
    let first = fixture
        .list(pb::ListStreamsRequest {
            page_size: 1,
            ..fixture.page()
        })
        .await;
    let request = pb::ListStreamsRequest {
        page_token: first.next_page_token,
        ..fixture.page()
    };
    let other_filter = pb::ListStreamsRequest {
        state: Some(pb::StreamState::Ended.into()),
        ..request.clone()
    };
    let (other, _) = fixture.owner.project().await;
    let other_project = pb::ListStreamsRequest {
        project_id: other.id,
        ..request.clone()
    };
    let changed = pb::ListStreamsRequest {
        page_token: request.page_token.to_lowercase(),
        ..request.clone()
    };
    let other_user = fixture.server.user().await;

    for foreign in [other_filter, other_project, changed] {
        fixture.token_faults(&fixture.owner.client, foreign).await;
    }
    let stranger = &other_user.client;
    fixture.token_faults(stranger, request.clone()).await;
    assert_eq!(fixture.list(request).await.streams.len(), 4);
}
