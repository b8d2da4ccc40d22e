use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::calls::get_me;
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

async fn update_me(
    user: &User,
    display_name: Option<&str>,
) -> Result<Response<pb::UpdateMeResponse>, Status> {
    let request = pb::UpdateMeRequest {
        display_name: display_name.map(str::to_owned),
        ..Default::default()
    };
    user.client.auth.clone().update_me(request).await
}

async fn me(user: &User) -> pb::User {
    let answer = get_me(&user.client).await.unwrap();
    answer.into_inner().user.unwrap()
}

#[rstest]
#[tokio::test]
async fn get_me_returns_the_callers_account(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);

    assert_eq!(me(&ada).await, ada.user);
    assert_eq!(me(&grace).await, grace.user);
}

#[rstest]
#[tokio::test]
async fn update_me_changes_only_the_name(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);

    let answer = update_me(&ada, Some("Ada King")).await.unwrap();

    let updated = answer.into_inner().user.unwrap();
    assert_ne!(updated.update_time, ada.user.update_time);
    let expected = pb::User {
        display_name: "Ada King".to_owned(),
        update_time: updated.update_time,
        ..ada.user.clone()
    };
    assert_eq!(updated, expected);
    assert_eq!(me(&ada).await, updated);
    assert_eq!(me(&grace).await, grace.user);
}

#[rstest]
#[tokio::test]
async fn an_absent_name_is_not_changed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let answer = update_me(&ada, None).await.unwrap();

    let updated = answer.into_inner().user.unwrap();
    assert_eq!(updated.display_name, ada.user.display_name);
    assert_eq!(me(&ada).await, updated);
}

/// Predecessor's defect G14: deleted every letter outside ASCII, and words such as "select".
#[rstest]
#[tokio::test]
async fn a_name_may_contain_any_script_and_any_word(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let longest = "🎮".repeat(100);
    for (sent, stored) in [
        ("Ünïcödé 日本語 🎮 עברית", "Ünïcödé 日本語 🎮 עברית"),
        ("select update create", "select update create"),
        ("O'Brien <b>\"; --", "O'Brien <b>\"; --"),
        ("  Zoe\u{308}  ", "Zo\u{eb}"),
        (&*longest, &*longest),
    ] {
        update_me(&ada, Some(sent)).await.unwrap();
        assert_eq!(me(&ada).await.display_name, stored);
    }
}

#[rstest]
#[tokio::test]
async fn a_malformed_name_is_an_invalid_field(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let too_long = ["x".repeat(101), "é".repeat(101), "x".repeat(10_000)];
    let names = ["", "   ", "Ada\0", "Ada\nLovelace"];
    for name in names.into_iter().chain(too_long.iter().map(|name| &**name)) {
        let refusal = refused(update_me(&ada, Some(name)).await);
        assert_eq!(refusal.fields(), ["display_name"], "{name:?}");
    }

    assert_eq!(me(&ada).await, ada.user);
}

#[rstest]
#[tokio::test]
async fn a_deleted_account_is_not_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    server.database.execute("delete from users").await;

    for refusal in [
        refused(get_me(&ada.client).await),
        refused(update_me(&ada, Some("Ada King")).await),
    ] {
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
}
