//! ListRefusals.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::Fixture;
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, refused};

impl Fixture {
    async fn refusals(&self) -> Vec<pb::Refusal> {
        let answer = self.list_refusals(0, "").await;
        assert_eq!(answer.next_page_token, "");
        answer.refusals
    }

    async fn list_refusals(&self, size: i32, token: &str) -> pb::ListRefusalsResponse {
        let request = pb::ListRefusalsRequest {
            project_id: self.project_id.clone(),
            page_size: size,
            page_token: token.to_owned(),
            ..Default::default()
        };
        let mut client = self.owner.client.stream.clone();
        client.list_refusals(request).await.unwrap().into_inner()
    }

    /// BeginPublish from an address, which must be refused.
    async fn begin_refused_from(&self, key: &str, peer_address: &str) {
        let request = pb::BeginPublishRequest {
            stream_key: key.to_owned(),
            publisher: Some(pb::Publisher {
                peer_address: peer_address.to_owned(),
                ..MediaServer::connection("z")
            }),
            ..Default::default()
        };
        refused(self.node.client.stream.clone().begin_publish(request).await);
    }
}

fn reasons(refusals: &[pb::Refusal]) -> Vec<pb::ErrorReason> {
    refusals.iter().map(pb::Refusal::reason).collect()
}

#[rstest]
#[tokio::test]
async fn the_owner_sees_why_publishers_were_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let old_key = fixture.key.clone();
    let key = fixture.rotate(0).await;
    let live = fixture.node.live(&key, "a").await;

    fixture.begin_refused_from(&key, "203.0.113.5").await;
    fixture.stop(&live, 3600).await;
    fixture.begin_refused_from(&key, "2001:db8:1:2::3").await;
    fixture.set_disabled(true).await;
    fixture.begin_refused_from(&key, "").await;
    fixture
        .begin_refused_from(&old_key, "::ffff:198.51.100.7")
        .await;

    let refusals = fixture.refusals().await;
    use pb::ErrorReason::{ProjectDisabled, PublishConflict, PublishHeld, StreamKeyInvalid};
    let expected = [
        StreamKeyInvalid,
        ProjectDisabled,
        PublishHeld,
        PublishConflict,
    ];
    assert_eq!(reasons(&refusals), expected);
    let prefixes: Vec<_> = refusals.iter().map(|one| &*one.peer_prefix).collect();
    let expected = ["198.51.100.0/24", "", "2001:db8:1::/48", "203.0.113.0/24"];
    assert_eq!(prefixes, expected);
    assert!(refusals.iter().all(|one| one.node_id == "n1"));
    assert!(refusals.iter().all(|one| one.create_time.is_some()));
    let shown = format!("{refusals:?}");
    assert!(!shown.contains("203.0.113.5") && !shown.contains(&key[3..]));
}

#[rstest]
#[tokio::test]
async fn a_refusal_of_an_unknown_key_is_not_recorded(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;

    fixture
        .begin_refused_from("sk_unknown", "203.0.113.5")
        .await;

    assert_eq!(fixture.refusals().await, []);
    let kept = fixture
        .server
        .database
        .number("select count(*) from refusals");
    assert_eq!(kept.await, 0);
}

#[rstest]
#[tokio::test]
async fn a_refusal_does_not_change_the_project(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.begin_stream("a").await;
    let before = fixture.project().await;

    fixture.begin_refused_from(&fixture.key, "").await;

    assert_eq!(fixture.project().await, before);
    assert_eq!(fixture.refusals().await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn only_the_newest_hundred_refusals_are_stored(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.begin_stream("a").await;
    fixture.begin_refused_from(&fixture.key, "192.0.2.1").await;
    for _ in 0..100 {
        fixture
            .begin_refused_from(&fixture.key, "203.0.113.5")
            .await;
    }

    let first = fixture.list_refusals(60, "").await;
    let second = fixture.list_refusals(60, &first.next_page_token).await;

    assert_eq!((first.refusals.len(), second.refusals.len()), (60, 40));
    assert_eq!(second.next_page_token, "");
    let all = || first.refusals.iter().chain(&second.refusals);
    assert!(all().all(|one| one.peer_prefix == "203.0.113.0/24"));
}

#[rstest]
#[tokio::test]
async fn refusals_of_another_tenants_project_are_not_found(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stranger = fixture.server.user().await;

    let request = pb::ListRefusalsRequest {
        project_id: fixture.project_id.clone(),
        ..Default::default()
    };
    let refusal = refused(stranger.client.stream.clone().list_refusals(request).await);

    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let fixture = Fixture::start(Sqlite).await;

    let request = pb::ListRefusalsRequest {
        project_id: "x".to_owned(),
        page_size: -1,
        page_token: "x".to_owned(),
        ..Default::default()
    };
    let refusal = refused(
        fixture
            .owner
            .client
            .stream
            .clone()
            .list_refusals(request)
            .await,
    );

    assert_eq!(refusal.fields(), ["page_size", "page_token", "project_id"]);
}
