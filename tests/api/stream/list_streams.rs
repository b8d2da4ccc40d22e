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
async fn streams_can_be_filtered_by_state(#[values(Sqlite, Postgres)] engine: Engine) {
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

#[rstest]
#[tokio::test]
async fn without_a_project_the_streams_of_all_projects_of_the_caller_are_listed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let streams = fixture.streams().await;
    let (other, other_key) = fixture.owner.project().await;
    let live = fixture.node.live(&other_key, "other").await;
    let stranger = fixture.server.user().await;
    let (_, foreign_key) = stranger.project().await;
    let foreign = fixture.node.live(&foreign_key, "foreign").await;
    let all = [std::slice::from_ref(&live), &streams].concat();

    let listed = fixture.list(pb::ListStreamsRequest::default()).await;
    assert_eq!(listed.streams, all);
    let of_live = pb::ListStreamsRequest {
        state: Some(pb::StreamState::Live.into()),
        ..Default::default()
    };
    let of_live = fixture.list(of_live).await.streams;
    assert_eq!(ids(&of_live), [&*live.id, &*streams[0].id]);

    let mut paged = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListStreamsRequest {
            page_size: 4,
            page_token,
            ..Default::default()
        };
        let page = fixture.list(request).await;
        paged.extend(page.streams);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);

    let restricted = fixture
        .api_key_client(&["streams:read"], &[&other.id])
        .await;
    let request = pb::ListStreamsRequest::default();
    let seen = restricted.stream.clone().list_streams(request).await;
    assert_eq!(ids(&seen.unwrap().into_inner().streams), [&*live.id]);
    let request = pb::ListStreamsRequest::default();
    let seen = stranger.client.stream.clone().list_streams(request).await;
    assert_eq!(ids(&seen.unwrap().into_inner().streams), [&*foreign.id]);
}

#[rstest]
#[tokio::test]
async fn streams_and_refusals_are_filtered_by_creation_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let streams = fixture.streams().await;
    let request = pb::ListStreamsRequest {
        created_after: streams[3].create_time,
        created_before: streams[1].create_time,
        ..fixture.page()
    };
    let listed = fixture.list(request).await.streams;
    assert_eq!(ids(&listed), [&*streams[2].id]);

    for connection in ["x", "y"] {
        refused(fixture.node.begin(&fixture.key, connection).await);
    }
    let mut client = fixture.owner.client.stream.clone();
    let request = pb::ListRefusalsRequest {
        project_id: fixture.project_id.clone(),
        ..Default::default()
    };
    let all = client.list_refusals(request.clone()).await.unwrap();
    let all = all.into_inner().refusals;
    let request = pb::ListRefusalsRequest {
        created_after: all[1].create_time,
        ..request
    };
    let newer = client.list_refusals(request).await.unwrap().into_inner();
    assert_eq!(newer.refusals, all[..1]);
}
