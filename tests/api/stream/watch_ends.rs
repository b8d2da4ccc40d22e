use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{
    changes::{delete_project, rename},
    scene::Scene,
};
use crate::{
    auth::calls,
    harness::{
        Client, Engine, Postgres, Process, Proxy, Signal, Sqlite, TestDatabase, TestServer,
        Watcher, eventually,
    },
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const INVALID: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
const DRAINING: (Code, &str) = (Code::Unavailable, "DRAINING");

#[rstest]
#[tokio::test]
async fn a_watch_ends_with_its_session(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let tokens = calls::new_session(&scene.server, &scene.owner).await;
    let other = Client::with_token(&scene.server.channel, &tokens.access_token);
    let (_, mut watcher) = Watcher::synced(&other, id).await;
    let (_, mut stays) = Watcher::synced(owner, id).await;

    let request = pb::SignOutRequest::default();
    other.auth.clone().sign_out(request).await.unwrap();
    let revision = rename(owner, id, "After it ended").await;

    let (refusal, last) = watcher.ended().await;
    assert_eq!((refusal.class(), last), (INVALID, revision - 1));
    stays.read_until(revision).await;
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_in_silence_when_its_key_is_revoked(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let request = calls::api_key_request(&["projects:read", "streams:read"]);
    let (key, secret) = calls::new_api_key(&scene.owner, request).await;
    let token = calls::api_key_token(&scene.server, &secret).await;
    let program = Client::with_token(&scene.server.channel, &token);
    let (_, mut watcher) = Watcher::synced(&program, &scene.project_id).await;

    let request = pb::RevokeApiKeyRequest { api_key_id: key.id };
    let answer = scene
        .owner
        .client
        .auth
        .clone()
        .revoke_api_key(request)
        .await;
    answer.unwrap();

    let (refusal, last) = watcher.ended().await;
    assert_eq!((refusal.class(), last), (INVALID, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn a_watch_ends_when_its_token_expires(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start_with(engine, &["--access-token-lifetime=2s"]).await;
    let tokens = calls::new_session(&scene.server, &scene.owner).await;
    let owner = Client::with_token(&scene.server.channel, &tokens.access_token);
    let (_, mut watcher) = Watcher::synced(&owner, &scene.project_id).await;

    let (refusal, last) = watcher.ended().await;
    assert_eq!((refusal.class(), last), (INVALID, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn the_watches_of_a_deleted_account_end(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let replica = scene.server.replica().await;
    let there = Client::with_token(&replica, &scene.owner.tokens.access_token);
    let (_, mut here) = Watcher::synced(&scene.owner.client, &scene.project_id).await;
    let (_, mut there) = Watcher::synced(&there, &scene.project_id).await;

    let request = pb::DeleteMeRequest {
        password: scene.owner.password.to_owned(),
    };
    let answer = scene.owner.client.auth.clone().delete_me(request).await;
    answer.unwrap();

    for watcher in [&mut here, &mut there] {
        let (refusal, _) = watcher.ended().await;
        // Whichever is noticed first, the session or the project.
        assert!(
            [INVALID, NOT_FOUND].contains(&refusal.class()),
            "{refusal:?}"
        );
    }
}

/// A row that is gone leaves no event.
#[rstest]
#[tokio::test]
async fn a_watch_ends_when_its_project_is_gone(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (_, mut watcher) = Watcher::synced(&scene.owner.client, &scene.project_id).await;

    scene.server.database.execute("delete from projects").await;

    let (refusal, last) = watcher.ended().await;
    assert_eq!((refusal.class(), last), (NOT_FOUND, watcher.revision));
}

#[rstest]
#[tokio::test]
async fn a_deleted_project_cannot_be_watched_again(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let (_, mut watcher) = Watcher::synced(owner, id).await;
    delete_project(owner, id).await;
    assert_eq!(watcher.ended().await.0.class(), NOT_FOUND);

    for after_revision in [0, 1, watcher.revision] {
        let again = Watcher::after(owner, id, after_revision).await;
        assert_eq!(again.err().unwrap().code(), Code::NotFound);
    }
}

#[rstest]
#[tokio::test]
async fn a_server_that_drains_ends_its_watches_and_another_one_goes_on(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let id = scene.project_id.clone();
    let (_, mut watcher) = Watcher::synced(&scene.owner.client, &id).await;
    let revision = rename(&scene.owner.client, &id, "Before").await;
    watcher.read_until(revision).await;

    let scene = scene.restart().await;

    let (refusal, last) = watcher.ended().await;
    assert_eq!((refusal.class(), last), (DRAINING, revision));
    let after = rename(&scene.owner.client, &id, "After").await;
    let mut watcher = Watcher::after(&scene.owner.client, &id, last)
        .await
        .unwrap();
    watcher.read_until(after).await;
}

/// A connection that takes little before it is read.
async fn narrow(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint
        .initial_stream_window_size(256)
        .connect()
        .await
        .unwrap()
}

#[rstest]
#[tokio::test]
async fn a_watcher_that_does_not_read_is_ended_and_goes_on_where_it_was(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--watch-patience=100ms", "--max-watches=1"];
    let scene = Scene::start_with(engine, &flags).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let channel = narrow(&scene.server.address.to_string()).await;
    let slow = Client::with_token(&channel, &scene.owner.tokens.access_token);
    let mut watcher = Watcher::of(&slow, id).await;

    let mut revision = 0;
    for number in 0..40 {
        revision = rename(owner, id, &format!("Name {number}")).await;
    }
    let mut another = eventually("the slow watch is over", async || {
        Watcher::after(owner, id, 0).await.ok()
    })
    .await;
    another.next().await;

    let (refusal, last) = watcher.ended().await;
    let too_slow = (Code::ResourceExhausted, "WATCH_TOO_SLOW");
    assert_eq!((refusal.class(), last), (too_slow, watcher.revision));
    assert!(last < revision);
    drop(another);
    let mut watcher = eventually("there is room", async || {
        Watcher::after(owner, id, last).await.ok()
    })
    .await;
    watcher.read_until(revision).await;
}

/// Also while there is no room for what it is to be sent.
#[rstest]
#[tokio::test]
async fn a_watcher_that_does_not_read_is_ended_with_its_session(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &["--watch-patience=10min", "--max-watches=1"]).await;
    let (owner, id) = (&scene.owner.client, &scene.project_id);
    let tokens = calls::new_session(&scene.server, &scene.owner).await;
    let channel = narrow(&scene.server.address.to_string()).await;
    let slow = Client::with_token(&channel, &tokens.access_token);
    let mut watcher = Watcher::of(&slow, id).await;
    for number in 0..40 {
        rename(owner, id, &format!("Name {number}")).await;
    }

    let other = Client::with_token(&scene.server.channel, &tokens.access_token);
    let request = pb::SignOutRequest::default();
    other.auth.clone().sign_out(request).await.unwrap();
    let another = eventually("the slow watch is over", async || {
        Watcher::after(owner, id, 0).await.ok()
    })
    .await;

    let (refusal, last) = watcher.ended().await;
    assert_eq!((refusal.class(), last), (INVALID, watcher.revision));
    assert!(last < scene.project().await.revision);
    drop(another);
}

#[rstest]
#[tokio::test]
async fn a_watcher_that_does_not_read_does_not_keep_a_server_that_drains(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
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
        name: "Show".to_owned(),
        ..Default::default()
    };
    let answer = owner.project.clone().create_project(request).await;
    let id = answer.unwrap().into_inner().project.unwrap().id;
    let unread = narrow(&program.address().await).await;
    let unread = Watcher::of(&Client::with_token(&unread, &token), &id).await;
    let (_, mut read) = Watcher::synced(&owner, &id).await;
    let mut revision = 0;
    for number in 0..40 {
        revision = rename(&owner, &id, &format!("Name {number}")).await;
    }
    read.read_until(revision).await;

    program.signal(Signal::TERM);

    let (refusal, last) = read.ended().await;
    assert_eq!((refusal.class(), last), (DRAINING, revision));
    assert_eq!(program.ended().await, Some(0));
    drop(unread);
}

#[tokio::test]
async fn a_watch_ends_when_the_database_is_away_and_goes_on_when_it_is_back() {
    let database = TestDatabase::create(Postgres).await;
    let (database, mut proxy) = Proxy::before(database).await;
    let server = TestServer::over(database, &["--db-acquire-timeout=200ms"]).await;
    let owner = server.user().await;
    let (project, _) = owner.project().await;
    let (_, mut watcher) = Watcher::synced(&owner.client, &project.id).await;

    proxy.cut().await;
    let (refusal, last) = watcher.ended().await;
    let away = (Code::Unavailable, "DATABASE_UNAVAILABLE");
    assert_eq!((refusal.class(), last), (away, project.revision));

    proxy.mend().await;
    let mut watcher = eventually("it can be watched again", async || {
        Watcher::after(&owner.client, &project.id, last).await.ok()
    })
    .await;
    let revision = rename(&owner.client, &project.id, "Renamed").await;
    watcher.read_until(revision).await;
}
