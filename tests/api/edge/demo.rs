use std::{
    env, fs,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use super::real_media::wait_for;
use crate::harness::{Signal, descendants, is_running, send_signal};

/// Time limit of the demo, also on a busy machine.
const DEMO_TIMEOUT: Duration = Duration::from_secs(240);

/// The example, as `cargo test` builds it beside the tests.
fn demo() -> Command {
    let tests = env::current_exe().unwrap();
    let profile = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let program: PathBuf = profile.join("examples/demo");
    assert!(
        program.exists(),
        "there is no example: `cargo build --example demo` builds it"
    );
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The output of a run.
fn said(output: &Output) -> String {
    let text = [&*output.stdout, b"\n", &*output.stderr].concat();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn the_demo_relays_a_test_stream_to_two_destinations_and_ends() {
    let ended = timeout(DEMO_TIMEOUT, demo().output()).await;
    let output = ended.expect("the demo ends").unwrap();

    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for sentence in ["LIVE", "BROADCASTING", "ENDED (PUBLISHER_ENDED)"] {
        assert!(said.contains(sentence), "no {sentence} in:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "elsewhere nothing is redrawn");
}

#[tokio::test]
async fn an_interrupted_demo_leaves_no_process_or_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo().env("TMPDIR", folder.path()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("BROADCASTING") {
                break;
            }
        }
    };
    timeout(DEMO_TIMEOUT, reading).await.expect("relays run");
    let started = descendants(demo.id().unwrap());
    assert!(started.len() >= 6, "{started:?}");

    send_signal(demo.id().unwrap(), Signal::INT);
    let ended = timeout(DEMO_TIMEOUT, demo.wait())
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(ended.code(), Some(1));

    wait_for("all that it started has ended", async || {
        (!started.iter().any(|pid| is_running(*pid))).then_some(())
    })
    .await;
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
