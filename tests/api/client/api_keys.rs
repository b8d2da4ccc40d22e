use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::harness::{Engine, Postgres, Sqlite, TestServer};

#[rstest]
#[tokio::test]
async fn an_api_key_is_created_used_listed_and_revoked(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    user.project().await;

    let arguments = ["key", "create", "nightly", "--scope", "projects:read"];
    let secret = cli.output(&arguments).await;
    let secret = secret.trim();
    // Only the secret is on standard output.
    assert!(secret.starts_with("slk_"), "{secret}");
    assert!(!secret.contains('\n'), "{secret}");

    let program = Cli::new(&format!("http://{}", server.address));
    let key = ("SLUICE_API_KEY", secret);
    let list = program.run_with(&["project", "list"], key).await;
    assert!(list.stdout.contains("Show"), "{list:?}");
    let create = program.run_with(&["project", "create", "Other"], key).await;
    failed(&create, 3, &["projects:write", "sluice login"]);
    assert!(!program.profile("default").exists());

    let keys = cli.json(&["key", "list"]).await;
    let id = keys["apiKeys"][0]["id"].as_str().unwrap();
    cli.output(&["key", "revoke", id]).await;
    let list = program.run_with(&["project", "list"], key).await;
    failed(&list, 3, &["SLUICE_API_KEY"]);
}

#[tokio::test]
async fn an_api_key_can_be_restricted_and_expire() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, _) = user.project().await;

    let arguments = [
        "key",
        "create",
        "guest",
        "--scope",
        "projects:read",
        "--scope",
        "streams:read",
        "--project",
        "Show",
        "--expires-in",
        "90d",
    ];
    let created = cli.json(&arguments).await;

    let key = &created["apiKey"];
    assert_eq!(key["projectIds"], serde_json::json!([project.id]));
    assert!(key["expireTime"].is_string(), "{created}");
    assert!(created["secret"].is_string());
}

#[tokio::test]
async fn an_expiry_beyond_all_calendars_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    let create = ["key", "create", "guest", "--scope", "projects:read"];

    let arguments = [&create[..], &["--expires-in", "300000000000years"]].concat();
    let output = cli.run(&arguments).await;

    failed(&output, 2, &["sluice: --expires-in is too long"]);
}
