use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use super::example::{Example, client_file};
use crate::harness::{Engine, Postgres, Process, Sqlite, TestDatabase, tool};

/// A lifetime of access tokens that may end within a story, at any step.
const SHORT_TOKENS: [(&str, &str); 1] = [("SLUICE_ACCESS_TOKEN_LIFETIME", "5s")];

/// What every example prints.
const STORY: [&str; 11] = [
    "signed up as ada-",
    "created project Friday show",
    "refused: display_name, url",
    "added a destination",
    "watching, 1 destination",
    "listed 4 projects in 2 pages",
    "published, next heartbeat in 10 s",
    "the stream is live",
    "the stream ended: END_REASON_STOPPED_BY_OWNER",
    "signed out: UNAUTHENTICATED",
    "8 calls shared",
];

#[track_caller]
fn assert_story(stdout: &str) {
    for expected in STORY {
        assert!(stdout.contains(expected), "{expected} is not in: {stdout}");
    }
}

/// Runs an example against a server with default settings, and one with short-lived tokens.
async fn run(example: &Example, engine: Engine, program: &str, arguments: &[&str]) {
    for settings in [&[][..], &SHORT_TOKENS] {
        let database = TestDatabase::create(engine).await;
        let server = Process::serve(&database, settings);
        server.channel().await;
        let address = server.address().await;
        let key = Process::create_operator_key(&database).await;
        let config = example.service_config();
        let arguments = [arguments, &[&*address, &*key, &*config]].concat();
        let stdout = example.run(program, &arguments).await;
        assert_story(&stdout);
        if settings.is_empty() {
            assert!(stdout.contains("8 calls shared 1 refresh"), "{stdout}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn the_python_example_tells_the_whole_story(#[values(Sqlite, Postgres)] engine: Engine) {
    let example = Example::python().await;
    let python = tool("venv/bin/python");
    run(&example, engine, python.to_str().unwrap(), &["main.py"]).await;
}

/// grpcio 1.51 and protobuf 3.21, of Debian 12.
#[rstest]
#[tokio::test]
async fn the_python_example_tells_the_whole_story_with_debians_plugin_and_packages(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let example = Example::debian_python().await;
    let origin = "import google.protobuf, grpc; print(grpc.__file__, google.protobuf.__file__)";
    let origin = example.run("/usr/bin/python3", &["-c", origin]).await;
    assert_eq!(origin.matches("/usr/lib/python3/").count(), 2, "{origin}");
    run(&example, engine, "/usr/bin/python3", &["main.py"]).await;
}

#[rstest]
#[tokio::test]
async fn the_node_example_tells_the_whole_story(#[values(Sqlite, Postgres)] engine: Engine) {
    let example = Example::node().await;
    run(&example, engine, "node", &["dist/src/main.js"]).await;
}

/// It takes half a minute to compile, so that both engines share one build.
#[tokio::test]
async fn the_cpp_example_compiles_with_debians_tools_and_tells_the_whole_story() {
    let example = Example::copy("cpp").await;
    example.run("make", &["-j2"]).await;
    for engine in [Sqlite, Postgres] {
        run(&example, engine, "./main", &[]).await;
    }
}

/// What the page in Chromium shows, with these choices in its form.
async fn steps_in_chromium(engine: Engine, choices: &Value) -> String {
    let example = Example::copy_with_packages("web").await;
    for script in ["generate", "check", "build"] {
        example.run("npm", &["run", script]).await;
    }
    let mut browser = Command::new("node")
        .arg(client_file("web_page.mjs"))
        .args([tool("npm/browser/node_modules"), example.path()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(browser.stdout.take().unwrap());
    let mut origin = String::new();
    stdout.read_line(&mut origin).await.unwrap();

    let database = TestDatabase::create(engine).await;
    let settings = [
        ("SLUICE_WEB_ORIGINS", origin.trim()),
        ("SLUICE_WEBAUTHN_RP_ID", "localhost"),
        ("SLUICE_WEBAUTHN_ORIGINS", origin.trim()),
    ];
    let server = Process::serve(&database, &settings);
    server.channel().await;
    let mut fields = choices.clone();
    fields["server"] = json!(format!("http://{}", server.address().await));
    fields["operatorKey"] = json!(Process::create_operator_key(&database).await);
    let mut stdin = browser.stdin.take().unwrap();
    stdin
        .write_all(format!("{fields}\n").as_bytes())
        .await
        .unwrap();

    let mut steps = String::new();
    stdout.read_to_string(&mut steps).await.unwrap();
    assert!(browser.wait().await.unwrap().success(), "{steps}");
    assert_story(&steps);
    steps
}

#[rstest]
#[tokio::test]
async fn a_page_in_chromium_calls_over_http1_while_its_watch_is_open(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let steps = steps_in_chromium(engine, &json!({})).await;
    let (watching, listed) = (steps.find("watching"), steps.find("listed"));
    assert!(
        watching < listed,
        "calls follow while the watch is open: {steps}"
    );
}

/// The authenticator is Chromium's own, which checks the options as a browser does.
#[rstest]
#[tokio::test]
async fn a_page_in_chromium_signs_in_with_a_passkey(#[values(Sqlite, Postgres)] engine: Engine) {
    let steps = steps_in_chromium(engine, &json!({ "passkey": true })).await;
    for expected in [
        "registered a passkey, with 10 recovery codes",
        "signed in with the passkey as ada-",
        "the same assertion again: PASSKEY_INVALID",
        "the password alone: SECOND_FACTOR_REQUIRED",
        "signed in with the password and the passkey",
        "deleted the passkey, 0 are left",
    ] {
        assert!(steps.contains(expected), "{expected} is not in: {steps}");
    }
}
