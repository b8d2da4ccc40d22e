//! In every list of operators, pages have no gap and no duplicate, and a page token works only for
//! the operator key that received it.

use prost::Message;
use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::fixture::{Fixture, key_request};
use crate::{
    contract::{
        descriptors::request_fields,
        raw_rpc::{bearer, call},
    },
    harness::{Client, Engine, MediaServer, Postgres, Sqlite, exchange, refused},
    organization::fixture::{create, verify},
    relay::fixture::Worker,
};

/// A list RPC, with a request for the page of one row after a token.
struct List {
    path: &'static str,
    page: fn(page_token: &str) -> Vec<u8>,
}

/// The fields of every list response; the rows stay encoded.
#[derive(Clone, PartialEq, Message)]
struct ListPage {
    #[prost(bytes = "vec", repeated, tag = "1")]
    rows: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

macro_rules! lists {
    ($($method:literal $request:ident;)*) => {
        [$(List {
            path: concat!("/sluice.v1.OperatorService/", $method),
            page: |page_token| {
                pb::$request {
                    page_size: 1,
                    page_token: page_token.to_owned(),
                    ..Default::default()
                }
                .encode_to_vec()
            },
        }),*]
    };
}

fn lists() -> [List; 7] {
    lists! {
        "ListAuditEvents" OperatorServiceListAuditEventsRequest;
        "ListLiveStreams" ListLiveStreamsRequest;
        "ListNodes" ListNodesRequest;
        "ListOperatorKeys" ListOperatorKeysRequest;
        "ListOrganizations" OperatorServiceListOrganizationsRequest;
        "ListUsers" ListUsersRequest;
        "ListWorkers" ListWorkersRequest;
    }
}

#[test]
fn every_list_rpc_of_operators_is_tested_and_no_entry_is_stale() {
    let mut described = request_fields(|field| field.name() == "page_token");
    described.retain(|name| name.starts_with("/sluice.v1.OperatorService/"));
    described.sort_unstable();
    let mut entries = lists().map(|list| format!("{} page_token", list.path));

    entries.sort_unstable();
    assert_eq!(described, entries);
}

/// Fills every list with at least two rows.
async fn fill(fixture: &Fixture) {
    for node_id in ["n1", "n2"] {
        let media = fixture
            .server
            .operator_of_node(node_id, &[Scope::StreamsPublish])
            .await;
        let owner = fixture.server.user().await;
        verify(&fixture.server.database, &owner).await;
        create(&owner).await;
        let (_, stream_key) = owner.project().await;
        let publisher = pb::Publisher {
            node_id: node_id.to_owned(),
            ..MediaServer::connection("c1")
        };
        let request = pb::BeginPublishRequest {
            stream_key,
            publisher: Some(publisher),
            media_flowing: true,
            play_url: String::new(),
        };
        media.stream.clone().begin_publish(request).await.unwrap();
        let workers = fixture.server.operator(&[Scope::RelaysWork]).await;
        let mut worker = Worker::claim(&workers, &format!("w-{node_id}"), node_id, 1).await;
        worker.next().await.unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn pages_of_one_row_contain_every_row_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fill(&fixture).await;
    let token = exchange(&fixture.server.channel, &fixture.secret).await;

    for list in lists() {
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = (list.page)(&page_token);
            let answer = call(
                &fixture.server.channel,
                list.path,
                &[bearer(&token)],
                request,
            )
            .await;
            let page = ListPage::decode(answer.unwrap().into_inner().as_slice()).unwrap();
            assert_eq!(page.rows.len(), 1, "{}", list.path);
            rows.extend(page.rows);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert!(rows.len() >= 2, "{}", list.path);
        let read = rows.len();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), read, "{}", list.path);
    }
}

#[rstest]
#[tokio::test]
async fn no_list_accepts_the_page_token_of_another_operator_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fill(&fixture).await;
    let ours = exchange(&fixture.server.channel, &fixture.secret).await;
    let (_, secret) = fixture.create(key_request(&[Scope::OperatorRead])).await;
    let theirs = exchange(&fixture.server.channel, &secret).await;

    for list in lists() {
        let page = async |token: &str, page_token: &str| {
            let request = (list.page)(page_token);
            call(
                &fixture.server.channel,
                list.path,
                &[bearer(token)],
                request,
            )
            .await
        };
        let first = page(&ours, "").await.expect(list.path).into_inner();
        let next = ListPage::decode(first.as_slice()).unwrap().next_page_token;
        assert_ne!(next, "", "{}", list.path);
        page(&ours, &next).await.expect(list.path);

        let refusal = refused(page(&theirs, &next).await);
        assert_eq!(refusal.fields(), ["page_token"], "{}", list.path);
    }
}

#[tokio::test]
async fn a_page_token_is_refused_with_another_filter() {
    let fixture = Fixture::start(Sqlite).await;
    fill(&fixture).await;
    let mut client: Client = fixture.operator.clone();
    let request = pb::ListUsersRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = client.operator.list_users(request.clone()).await.unwrap();

    let other = pb::ListUsersRequest {
        state: pb::UserState::Active.into(),
        page_token: page.into_inner().next_page_token,
        ..request
    };
    let refusal = refused(client.operator.list_users(other).await);

    assert_eq!(refusal.code, Code::InvalidArgument);
    assert_eq!(refusal.fields(), ["page_token"]);
}
