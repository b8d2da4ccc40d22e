use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{
    Code, Response,
    transport::{Channel, Endpoint},
};

use super::{
    changes::{delete_project, rename},
    fixture::Fixture,
};
use crate::{
    auth::calls,
    harness::{
        Client, Engine, Pooled, Postgres, Process, Proxy, Signal, Sqlite, TestDatabase, TestServer,
        Watcher, eventually, refused,
    },
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const INVALID: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
const EXPIRED: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED");
const DRAINING: (Code, &str) = (Code::Unavailable, "DRAINING");

#[rstest]
#[tokio::test]
async fn a_watch_ends_with_its_session(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let tokens = calls::new_session(&fixture.server, &fixture.owner).await;
    let other = Client::with_token(&fixture.server.channel, &tokens.access_token);
    let (_, mut watcher) = Watcher::start_synced(&other, id).await;
    let (_, mut stays) = Watcher::start_synced(owner, id).await;

    let request = pb::SignOutRequest::default();
    other.auth.clone().sign_out(request).await.unwrap();
    let revision = rename(owner, id, "After it ended").await;

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (INVALID, revision - 1));
    stays.read_until(revision).await;
}

#[rstest]
#[tokio::test]
async fn an_idle_watch_ends_when_its_api_key_is_revoked(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let request = calls::api_key_request(&["projects:read", "streams:read"]);
    let (key, secret) = calls::new_api_key(&fixture.owner, request).await;
    let token = calls::api_key_token(&fixture.server, &secret).await;
    let program = Client::with_token(&fixture.server.channel, &token);
    let (_, mut watcher) = Watcher::start_synced(&program, &fixture.project_id).await;

    let request = pb::RevokeApiKeyRequest {
        api_key_id: key.id,
        ..Default::default()
    };
    let answer = fixture
        .owner
        .client
        .auth
        .clone()
        .revoke_api_key(request)
        .await;
    answer.unwrap();

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (INVALID, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_when_its_token_expires(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start_with(engine, &["--access-token-lifetime=2s"]).await;
    let tokens = calls::new_session(&fixture.server, &fixture.owner).await;
    let owner = Client::with_token(&fixture.server.channel, &tokens.access_token);
    let (_, mut watcher) = Watcher::start_synced(&owner, &fixture.project_id).await;

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (EXPIRED, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_when_its_api_key_expires(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let request = calls::expiring_api_key_request(&["projects:read", "streams:read"], 6);
    let (_, secret) = calls::new_api_key(&fixture.owner, request).await;
    let token = calls::api_key_token(&fixture.server, &secret).await;
    let program = Client::with_token(&fixture.server.channel, &token);
    let (_, mut watcher) = Watcher::start_synced(&program, &fixture.project_id).await;

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (EXPIRED, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn the_watches_of_a_deleted_account_end(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let replica = fixture.server.replica().await;
    let there = Client::with_token(&replica, &fixture.owner.tokens.access_token);
    let (_, mut here) = Watcher::start_synced(&fixture.owner.client, &fixture.project_id).await;
    let (_, mut there) = Watcher::start_synced(&there, &fixture.project_id).await;

    let request = pb::DeleteMeRequest {
        password: fixture.owner.password.to_owned(),
    };
    let answer = fixture.owner.client.auth.clone().delete_me(request).await;
    answer.unwrap();

    for watcher in [&mut here, &mut there] {
        let (refusal, _) = watcher.wait_for_end().await;
        // The end of the session or of the project, whichever is detected first.
        assert!(
            [INVALID, NOT_FOUND].contains(&refusal.class()),
            "{refusal:?}"
        );
    }
}

/// A deleted row leaves no event.
#[rstest]
#[tokio::test]
async fn a_watch_ends_when_its_project_row_is_deleted(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (_, mut watcher) = Watcher::start_synced(&fixture.owner.client, &fixture.project_id).await;

    fixture
        .server
        .database
        .execute("delete from projects")
        .await;

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (NOT_FOUND, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn a_deleted_project_cannot_be_watched_again(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let (_, mut watcher) = Watcher::start_synced(owner, id).await;
    delete_project(owner, id).await;
    assert_eq!(watcher.wait_for_end().await.0.class(), NOT_FOUND);

    for after_revision in [0, 1, watcher.revision] {
        let again = Watcher::resume(owner, id, after_revision).await;
        assert_eq!(again.err().unwrap().code(), Code::NotFound);
    }
}

#[rstest]
#[tokio::test]
async fn a_draining_server_ends_its_watches_which_resume_on_another(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let id = fixture.project_id.clone();
    let (_, mut watcher) = Watcher::start_synced(&fixture.owner.client, &id).await;
    let revision = rename(&fixture.owner.client, &id, "Before").await;
    watcher.read_until(revision).await;

    let fixture = fixture.restart().await;

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (DRAINING, revision));
    let after = rename(&fixture.owner.client, &id, "After").await;
    let mut watcher = Watcher::resume(&fixture.owner.client, &id, last)
        .await
        .unwrap();
    watcher.read_until(after).await;
}

/// A channel with a small flow-control window.
async fn small_window_channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint
        .initial_stream_window_size(256)
        .connect()
        .await
        .unwrap()
}

#[rstest]
#[tokio::test]
async fn a_slow_watcher_is_ended_and_resumes_at_its_revision(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = [
        "--response-read-timeout=100ms",
        "--max-watches=1",
        // So that its connection stays open, and the reason can be read.
        "--trusted-proxies=127.0.0.1",
    ];
    let fixture = Fixture::start_with(engine, &flags).await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let channel = small_window_channel(&fixture.server.address.to_string()).await;
    let slow = Client::with_token(&channel, &fixture.owner.tokens.access_token);
    let mut watcher = Watcher::start(&slow, id).await;

    let mut revision = 0;
    for number in 0..40 {
        revision = rename(owner, id, &format!("Name {number}")).await;
    }
    let mut another = eventually("the slow watch is over", async || {
        Watcher::resume(owner, id, 0).await.ok()
    })
    .await;
    another.next().await;

    let end = eventually("the watch ends", async || watcher.message().await.err()).await;
    let refusal = refused(Err::<Response<()>, _>(end));
    assert_eq!(
        refusal.class(),
        (Code::DeadlineExceeded, "RESPONSE_NOT_READ")
    );
    let last = watcher.revision;
    assert!(last < revision);
    drop(another);
    let mut watcher = eventually("a watch slot is free", async || {
        Watcher::resume(owner, id, last).await.ok()
    })
    .await;
    watcher.read_until(revision).await;
}

/// Also while the flow-control window is full.
#[rstest]
#[tokio::test]
async fn a_slow_watcher_is_ended_with_its_session(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start_with(
        engine,
        &["--response-read-timeout=10min", "--max-watches=1"],
    )
    .await;
    let (owner, id) = (&fixture.owner.client, &fixture.project_id);
    let tokens = calls::new_session(&fixture.server, &fixture.owner).await;
    let channel = small_window_channel(&fixture.server.address.to_string()).await;
    let slow = Client::with_token(&channel, &tokens.access_token);
    let mut watcher = Watcher::start(&slow, id).await;
    for number in 0..40 {
        rename(owner, id, &format!("Name {number}")).await;
    }

    let other = Client::with_token(&fixture.server.channel, &tokens.access_token);
    let request = pb::SignOutRequest::default();
    other.auth.clone().sign_out(request).await.unwrap();
    let another = eventually("the slow watch is over", async || {
        Watcher::resume(owner, id, 0).await.ok()
    })
    .await;

    let (refusal, last) = watcher.wait_for_end().await;
    assert_eq!((refusal.class(), last), (INVALID, watcher.revision));
    assert!(last < fixture.project().await.revision);
    drop(another);
}

#[rstest]
#[tokio::test]
async fn a_slow_watcher_does_not_delay_draining(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_TIMEOUT", "300ms")]);
    let channel = program.channel().await;
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let answer = Client::anonymous(&channel).auth.sign_up(request).await;
    let token = answer.unwrap().into_inner().tokens.unwrap().access_token;
    let owner = Client::with_token(&channel, &token);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let answer = owner.project.clone().create_project(request).await;
    let id = answer.unwrap().into_inner().project.unwrap().id;
    let unread = small_window_channel(&program.address().await).await;
    let unread = Watcher::start(&Client::with_token(&unread, &token), &id).await;
    let (_, mut read) = Watcher::start_synced(&owner, &id).await;
    let mut revision = 0;
    for number in 0..40 {
        revision = rename(&owner, &id, &format!("Name {number}")).await;
    }
    read.read_until(revision).await;

    program.signal(Signal::TERM);

    let (refusal, last) = read.wait_for_end().await;
    assert_eq!((refusal.class(), last), (DRAINING, revision));
    assert_eq!(program.wait_for_exit().await, Some(0));
    drop(unread);
}

#[tokio::test]
async fn a_watch_ends_when_the_database_is_unavailable_and_resumes_afterwards() {
    let database = TestDatabase::create(Postgres).await;
    let (database, mut proxy) = Proxy::to_database(database).await;
    let server = TestServer::start_on(database, &["--db-acquire-timeout=2s"]).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let (_, mut watcher) = Watcher::start_synced(&owner.client, &project.id).await;

    proxy.disconnect().await;
    let (refusal, last) = watcher.wait_for_end().await;
    let away = (Code::Unavailable, "DATABASE_UNAVAILABLE");
    assert_eq!((refusal.class(), last), (away, project.revision));

    proxy.reconnect().await;
    let mut watcher = eventually("it can be watched again", async || {
        Watcher::resume(&owner.client, &project.id, last).await.ok()
    })
    .await;
    let revision = rename(&owner.client, &project.id, "Renamed").await;
    watcher.read_until(revision).await;
}
