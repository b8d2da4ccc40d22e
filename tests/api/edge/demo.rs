use std::{env, path::PathBuf, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// The example, which `cargo test` builds: it lies beside the tests.
fn demo() -> PathBuf {
    let tests = env::current_exe().unwrap();
    let profile = tests.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples/demo")
}

#[tokio::test]
async fn the_demo_sends_a_picture_to_two_destinations_and_ends() {
    let run = Command::new(demo())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = timeout(Duration::from_secs(240), run).await;
    let said = ended.expect("the demo ends").unwrap();

    let output = String::from_utf8(said.stdout).unwrap();
    let errors = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success(), "{output}\n{errors}");
    for sentence in ["LIVE", "BROADCASTING", "ENDED (PUBLISHER_ENDED)"] {
        assert!(output.contains(sentence), "no {sentence} in:\n{output}");
    }
    assert!(
        !output.contains('\u{1b}'),
        "nothing is redrawn where nobody looks"
    );
}
