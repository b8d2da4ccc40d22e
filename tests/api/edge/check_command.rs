//! `sluice edge check` beside real media servers, and with each kind of mistake.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rstest::rstest;
use tempfile::TempDir;

use super::media::{
    ControlPlane, Destination, Edge, EdgeVariables, HOOKS_SECRET, Nginx, Sandbox, edge_settings,
};
use crate::harness::{CommandOutput, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice");

/// A control plane and nginx-rtmp, without an edge.
struct Fixture {
    control: ControlPlane,
    nginx: Nginx,
    api_key: String,
    folder: TempDir,
}

impl Fixture {
    /// With this secret in the hooks of nginx.
    async fn start(hooks_secret: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let sandbox = |name| Sandbox::new(folder.path(), name).unwrap();
        let control = ControlPlane::start(Path::new(PROGRAM), sandbox("control"))
            .await
            .unwrap();
        let api_key = control.create_api_key().await.unwrap();
        let nginx = Nginx::start(sandbox("nginx"), hooks_secret).await.unwrap();
        Self {
            control,
            nginx,
            api_key,
            folder,
        }
    }

    fn settings(&self) -> EdgeVariables {
        edge_settings(&self.nginx, &self.control, self.api_key.clone())
    }

    /// Runs the check with changed settings.
    async fn check(&self, changed: &[(&'static str, &str)]) -> CommandOutput {
        self.check_with(&[], changed).await
    }

    async fn check_with(
        &self,
        arguments: &[&str],
        changed: &[(&'static str, &str)],
    ) -> CommandOutput {
        let path = std::env::var("PATH").unwrap();
        let mut command = Process::command(&[&["edge", "check"][..], arguments].concat(), &[]);
        command.env("PATH", path).envs(self.settings());
        command.envs(changed.iter().copied());
        Process::run(command).await
    }
}

/// The line about a subject: its verdict and its text.
#[track_caller]
fn line<'a>(output: &'a CommandOutput, subject: &str) -> (&'a str, &'a str) {
    let lines = output.stdout.lines();
    let mut found = lines.filter_map(|line| {
        let (verdict, rest) = line.split_once(' ')?;
        let text = rest.trim_start().strip_prefix(subject)?;
        ["ok", "FAILED"]
            .contains(&verdict)
            .then_some((verdict, text.trim()))
    });
    found
        .next()
        .unwrap_or_else(|| panic!("{subject}: {output:?}"))
}

#[track_caller]
fn assert_failed(output: &CommandOutput, subject: &str, parts: &[&str]) {
    let (verdict, text) = line(output, subject);
    assert_eq!(verdict, "FAILED", "{output:?}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(output.exit_code, Some(1), "{output:?}");
}

#[tokio::test]
async fn a_working_installation_passes_before_and_while_its_edge_runs() {
    let fixture = Fixture::start(HOOKS_SECRET).await;

    let before = fixture.check(&[]).await;
    assert_eq!(before.exit_code, Some(0), "{before:?}");
    let subjects = [
        "state directory",
        "control plane",
        "API key",
        "node id",
        "media server",
        "disconnecting",
        "ffmpeg",
        "encoders",
        "operations port",
        "hooks",
    ];
    for subject in subjects {
        assert_eq!(line(&before, subject).0, "ok", "{before:?}");
    }
    assert!(
        line(&before, "hooks")
            .1
            .contains("nginx-rtmp asks the edge")
    );
    for secret in [&*fixture.api_key, HOOKS_SECRET] {
        assert!(!before.stdout.contains(secret), "{before:?}");
    }

    let program = Path::new(PROGRAM);
    let key = fixture.api_key.clone();
    let mut edge = Edge::start(program, &fixture.nginx, &fixture.control, key)
        .await
        .unwrap();
    let beside = fixture.check(&[]).await;
    assert_eq!(beside.exit_code, Some(0), "{beside:?}");
    assert!(
        line(&beside, "hooks")
            .1
            .contains("nginx-rtmp asks the edge")
    );
    assert!(
        line(&beside, "operations port")
            .1
            .contains("in use by an edge")
    );
    let other = [("SLUICE_HOOKS_SECRET", "another-secret-of-hooks")];
    let output = fixture.check(&other).await;
    assert_failed(&output, "hooks", &["another SLUICE_HOOKS_SECRET"]);
    edge.end().await.unwrap();
}

#[tokio::test]
async fn hooks_with_a_wrong_secret_are_explained() {
    let fixture = Fixture::start("a-secret-that-nobody-knows").await;
    let output = fixture.check(&[]).await;

    assert_failed(
        &output,
        "hooks",
        &[
            "wrong secret",
            "replace HOOKS_SECRET in deploy/nginx-rtmp/nginx.conf",
        ],
    );
    assert_eq!(line(&output, "media server").0, "ok");
}

#[tokio::test]
async fn a_media_server_that_asks_nobody_or_elsewhere_or_is_down_is_explained() {
    let fixture = Fixture::start(HOOKS_SECRET).await;
    let sandbox = Sandbox::new(fixture.folder.path(), "open").unwrap();
    let open = Destination::start(sandbox).await.unwrap();
    let rtmp = format!("rtmp://{}:1935", open.sandbox.host);

    let everyone = [("SLUICE_MEDIA_SERVER_RTMP", &*rtmp)];
    let output = fixture
        .check_with(&["--application", "open"], &everyone)
        .await;
    assert_failed(&output, "hooks", &["admits everyone", "add the hooks"]);

    let output = fixture.check_with(&["--application", "nowhere"], &[]).await;
    assert_failed(
        &output,
        "hooks",
        &["without asking the edge", "--application"],
    );

    let nobody = [("SLUICE_MEDIA_SERVER_RTMP", "rtmp://127.0.0.1:1")];
    let output = fixture.check(&nobody).await;
    assert_failed(&output, "hooks", &["nothing listens on rtmp://127.0.0.1:1"]);

    let nobody = [("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1")];
    let output = fixture.check(&nobody).await;
    assert_failed(
        &output,
        "media server",
        &["SLUICE_MEDIA_SERVER_API", "/stat"],
    );
    assert_failed(&output, "disconnecting", &["/control"]);
}

#[tokio::test]
async fn an_unreachable_control_plane_and_wrong_keys_are_explained() {
    let fixture = Fixture::start(HOOKS_SECRET).await;

    let away = [("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1")];
    let output = fixture.check(&away).await;
    assert_failed(
        &output,
        "control plane",
        &["SLUICE_CONTROL_PLANE", "SLUICE_LISTEN"],
    );
    assert_failed(&output, "API key", &["not tested"]);

    let output = fixture.check(&[("SLUICE_API_KEY", "slk_wrong")]).await;
    assert_eq!(line(&output, "control plane").0, "ok");
    assert_failed(&output, "API key", &["create-api-key", "--node-id media-1"]);

    let publisher_only = fixture
        .control
        .create_api_key_with(&["--scope", "streams:publish"])
        .await
        .unwrap();
    let output = fixture.check(&[("SLUICE_API_KEY", &*publisher_only)]).await;
    assert_failed(&output, "API key", &["lacks the scope relays:work"]);
    let no_relays = [
        ("SLUICE_API_KEY", &*publisher_only),
        ("SLUICE_RELAY_CAPACITY", "0"),
    ];
    let output = fixture.check(&no_relays).await;
    assert_eq!(
        line(&output, "API key").0,
        "ok",
        "it needs no scope of relays"
    );

    let scopes = ["--scope", "streams:publish", "--scope", "relays:work"];
    let bound = [&scopes[..], &["--node-id", "media-2"]].concat();
    let bound = fixture.control.create_api_key_with(&bound).await.unwrap();
    let output = fixture.check(&[("SLUICE_API_KEY", &*bound)]).await;
    assert_failed(&output, "node id", &["SLUICE_NODE_ID", "--node-id media-1"]);
}

#[rstest]
#[case::missing(None, "cannot run")]
#[case::old(Some("echo ffmpeg version 4.4.2 Copyright"), "5 or later")]
#[case::other(Some("echo hello"), "is not ffmpeg")]
#[case::without_srt(
    Some("echo ffmpeg version 6.0; echo Output:; echo '  rtmp'"),
    "cannot send srt"
)]
#[tokio::test]
async fn an_unsuitable_ffmpeg_is_explained(#[case] script: Option<&str>, #[case] reason: &str) {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("ffmpeg");
    if let Some(script) = script {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let settings = [
        ("SLUICE_API_KEY", "slk_x"),
        ("SLUICE_HOOKS_SECRET", HOOKS_SECRET),
        ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
        ("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1"),
        ("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1"),
        ("SLUICE_EDGE_DIR", folder.path().to_str().unwrap()),
        ("SLUICE_FFMPEG", program.to_str().unwrap()),
    ];
    let output = Process::run(Process::command(&["edge", "check"], &settings)).await;

    assert_failed(&output, "ffmpeg", &["SLUICE_FFMPEG", reason]);
    assert_failed(&output, "encoders", &["needs ffmpeg"]);
    assert_failed(&output, "hooks", &["needs ffmpeg"]);
}

#[rstest]
#[case::without_libx264("libx264")]
#[case::without_aac("aac")]
#[tokio::test]
async fn an_ffmpeg_that_cannot_encode_is_explained_where_relays_may_have_to(#[case] missing: &str) {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("ffmpeg");
    let script = format!(
        "#!/bin/sh
        case \"$*\" in
        *-c:?' '{missing}*) echo \"Unknown encoder '{missing}'\" >&2; exit 1;;
        esac
        echo ffmpeg version 6.0; echo Output:; echo '  rtmp'; echo '  srt'
        "
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut settings = vec![
        ("SLUICE_API_KEY", "slk_x"),
        ("SLUICE_HOOKS_SECRET", HOOKS_SECRET),
        ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
        ("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1"),
        ("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1"),
        ("SLUICE_EDGE_DIR", folder.path().to_str().unwrap()),
        ("SLUICE_FFMPEG", program.to_str().unwrap()),
    ];
    let output = Process::run(Process::command(&["edge", "check"], &settings)).await;
    assert_eq!(line(&output, "ffmpeg").0, "ok", "{output:?}");
    let parts = [
        missing,
        "Unknown encoder",
        "SLUICE_FFMPEG",
        "the package ffmpeg",
    ];
    assert_failed(&output, "encoders", &parts);

    settings.push(("SLUICE_RELAY_CAPACITY", "9"));
    let output = Process::run(Process::command(&["edge", "check"], &settings)).await;
    let (verdict, text) = line(&output, "encoders");
    assert!(verdict == "ok" && text.contains("not needed"), "{output:?}");
}

#[tokio::test]
async fn invalid_and_unknown_settings_end_the_check_with_code_2() {
    let folder = TempDir::new().unwrap();
    let invalid = [("SLUICE_API_KEY", "slk_x"), ("SLUICE_NODE_ID", "my server")];
    let output = Process::run(Process::command(&["edge", "check"], &invalid)).await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    for name in ["SLUICE_NODE_ID", "SLUICE_HOOKS_SECRET must be set"] {
        assert!(output.stderr.contains(name), "{output:?}");
    }

    let unknown = [
        ("SLUICE_API_KEY", "slk_x"),
        ("SLUICE_HOOKS_SECRET", HOOKS_SECRET),
        ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
        ("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1"),
        ("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1"),
        ("SLUICE_EDGE_DIR", folder.path().to_str().unwrap()),
        ("SLUICE_FFMPEG", "/nowhere/ffmpeg"),
        ("SLUICE_RELAY_CAPACTIY", "5"),
    ];
    let output = Process::run(Process::command(&["edge", "check"], &unknown)).await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("SLUICE_RELAY_CAPACTIY"),
        "{output:?}"
    );
    assert!(
        output.stdout.contains("SLUICE_HOOKS_SECRET=***"),
        "{output:?}"
    );
}
