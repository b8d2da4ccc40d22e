//! The configurations of media servers in `deploy/`.

use std::fs;

use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::Process;

const NGINX: &str = include_str!("../../../deploy/nginx-rtmp/nginx.conf");
const MEDIA_MTX: &str = include_str!("../../../deploy/mediamtx/mediamtx.yml");
const AVAILABLE: &str = include_str!("../../../deploy/mediamtx/available.curl");
const UNAVAILABLE: &str = include_str!("../../../deploy/mediamtx/unavailable.curl");
const SRS: &str = include_str!("../../../deploy/srs/srs.conf");

#[tokio::test]
async fn nginx_accepts_the_nginx_rtmp_configuration() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders = kinds.map(|kind| format!("{kind}_temp_path {path}/{kind};"));
    let text = NGINX
        .replace("modules/", "/usr/lib/nginx/modules/")
        .replace("/run/nginx.pid", &format!("{path}/nginx.pid"))
        .replace("/var/log/nginx/error.log", "stderr")
        .replace("http {", &format!("http {{ {}", folders.join(" ")));
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text).unwrap();

    let mut command = Command::new("nginx");
    // nginx may be installed in a directory for administrators.
    let programs = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    command.env("PATH", programs);
    command.args(["-t", "-e", "stderr", "-c"]).arg(&file);
    let output = Process::run(command).await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    assert!(!output.stderr.contains("[warn]"), "{}", output.stderr);
}

#[test]
fn each_configuration_calls_the_hooks_of_its_server() {
    let hook = |name: &str| format!("http://127.0.0.1:8085/hooks/{name}");
    for (text, hooks) in [
        (
            NGINX,
            &[
                "nginx-rtmp/HOOKS_SECRET/publish;",
                "nginx-rtmp/HOOKS_SECRET/publish_done;",
                "nginx-rtmp/HOOKS_SECRET/update;",
            ][..],
        ),
        (MEDIA_MTX, &["mediamtx/HOOKS_SECRET/auth\n"]),
        (AVAILABLE, &["mediamtx/HOOKS_SECRET/available\""]),
        (UNAVAILABLE, &["mediamtx/HOOKS_SECRET/unavailable\""]),
        (
            SRS,
            &["srs/HOOKS_SECRET/publish;", "srs/HOOKS_SECRET/unpublish;"],
        ),
    ] {
        for name in hooks {
            assert!(text.contains(&hook(name)), "{name}");
        }
        assert_eq!(text.matches("/hooks/").count(), hooks.len());
    }
}

#[test]
fn media_servers_write_no_file_relative_to_their_working_directory() {
    for (text, options) in [
        (NGINX, &["pid", "error_log"][..]),
        (SRS, &["pid", "srs_log_file"]),
    ] {
        for option in options {
            let lines = text.lines().map(str::trim);
            let mut values = lines.filter_map(|line| line.strip_prefix(option)?.strip_prefix(' '));
            let value = values.next().map(str::trim);
            assert!(
                value.is_some_and(|value| value.starts_with('/')),
                "{option}: {value:?}"
            );
        }
    }
    for text in [NGINX, MEDIA_MTX, SRS] {
        assert!(!text.contains("./"), "a relative path");
    }
    for option in ["record", "playback"] {
        assert!(
            MEDIA_MTX.contains(&format!("{option}: false\n")),
            "{option}"
        );
    }
}

#[test]
fn control_apis_of_media_servers_listen_on_loopback_only() {
    assert!(NGINX.contains("listen 127.0.0.1:8080;"));
    assert!(MEDIA_MTX.contains("\napiAddress: 127.0.0.1:9997\n"));
    assert!(SRS.contains("listen          127.0.0.1:1985;"));
}

#[test]
fn logging_is_configured_to_omit_stream_keys() {
    assert_eq!(NGINX.matches("access_log off;").count(), 2);
    assert!(NGINX.contains("error.log warn;"));
    assert!(MEDIA_MTX.contains("\nlogLevel: warn\n"));
    assert!(!MEDIA_MTX.contains("MTX_PATH"), "a path holds the key");
    assert!(SRS.contains("srs_log_level_v2    warn;"));
}
