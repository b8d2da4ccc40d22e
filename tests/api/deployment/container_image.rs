use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};

use super::image_build::{Image, change_owner};
use crate::harness::{Signal, eventually, http, send_signal};

/// Whether the tests run as root.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| std::os::unix::fs::MetadataExt::uid(&this) == 0)
}

/// A command in the image, with its environment and further settings. If possible it runs as the
/// user of the image, with a read-only file system except for the volume.
async fn command_in_image(
    image: &Image,
    volume: &Path,
    settings: &[(&str, &str)],
    words: &[String],
) -> Command {
    let program = image.root.join("usr/local/bin").join(&words[0]);
    let mut line = vec![program.to_str().unwrap().to_owned()];
    line.extend_from_slice(&words[1..]);
    let user = image.argument("USER").split(':').next().unwrap().to_owned();
    let mut before: Vec<String> = Vec::new();
    if is_root() {
        let read_only = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro / && exec \"$@\"";
        let sealed = [
            "unshare",
            "--mount",
            "sh",
            "-euc",
            read_only,
            volume.to_str().unwrap(),
        ];
        let tried = Command::new(sealed[0])
            .args(&sealed[1..])
            .arg("true")
            .output()
            .await;
        match tried.is_ok_and(|tried| tried.status.success()) {
            true => before.extend(sealed.map(str::to_owned)),
            false => println!("not checked here: a read-only root (mounts are not allowed)"),
        }
        let as_user = [
            "setpriv",
            "--clear-groups",
            "--no-new-privs",
            "--reuid",
            &user,
            "--regid",
            &user,
        ];
        before.extend(as_user.map(str::to_owned));
    } else {
        println!("not checked here: the user {user} (the tests do not run as root)");
    }

    let line: Vec<_> = before.into_iter().chain(line).collect();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .env_clear()
        .envs(&image.environment)
        .envs(settings.iter().copied())
        .env("PATH", path)
        .env("SLUICE_DATA_DIR", volume)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The built image and its volume, readable by all users.
fn build_image() -> (TempDir, Image, PathBuf) {
    build_image_with(Image::build)
}

fn build_image_with(build: impl Fn(&Path) -> Image) -> (TempDir, Image, PathBuf) {
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        // Not on a tmpfs, which would not be part of the read-only root file system.
        .tempdir_in("/tmp")
        .unwrap();
    let image = build(folder.path());
    let volume = image.root.join("data");
    if is_root() {
        let user = image
            .argument("USER")
            .split(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        change_owner(&volume, user);
    }
    (folder, image, volume)
}

#[tokio::test]
async fn the_image_serves_reports_healthy_and_stops() {
    let (_folder, image, volume) = build_image();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = format!("0.0.0.0:{}", free.local_addr().unwrap().port());
    drop(free);
    // Production refuses keys that are not random.
    let key = "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=";
    let settings = [
        ("SLUICE_LISTEN", &*listen),
        ("SLUICE_OPERATIONS_LISTEN", "127.0.0.1:0"),
        ("SLUICE_JWT_SECRET", "c1f0a9e6b37d58422e6b1d07f98a3c54"),
        ("SLUICE_SEALING_KEYS", key),
    ];
    let mut line = image.command("ENTRYPOINT");
    line.extend(image.command("CMD"));
    let health = image.command("HEALTHCHECK");

    let early = command_in_image(&image, &volume, &settings, &health)
        .await
        .output()
        .await
        .unwrap();
    assert_eq!(early.status.code(), Some(1));
    let mut server = command_in_image(&image, &volume, &settings, &line)
        .await
        .spawn()
        .unwrap();
    eventually("it is healthy", async || {
        let asked = command_in_image(&image, &volume, &settings, &health)
            .await
            .output()
            .await
            .unwrap();
        (asked.status.code() == Some(0)).then_some(())
    })
    .await;
    assert_eq!(image.argument("STOPSIGNAL"), "SIGTERM");
    send_signal(server.id().unwrap(), Signal::TERM);
    let ended = server.wait().await.unwrap();

    assert_eq!(ended.code(), Some(0));
    assert!(volume.join("sluice.db").exists());
}

#[tokio::test]
async fn the_image_of_the_edge_answers_probes_and_stops() {
    let (_folder, image, volume) = build_image_with(|folder| Image::build_target(folder, "edge"));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let operations = free.local_addr().unwrap().to_string();
    drop(free);
    let settings = [
        ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
        ("SLUICE_EDGE_OPERATIONS_LISTEN", &*operations),
        ("SLUICE_EDGE_DIR", volume.to_str().unwrap()),
        ("SLUICE_NODE_ID", "media-1"),
        ("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1"),
        ("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1"),
        ("SLUICE_API_KEY", "slk_x"),
        ("SLUICE_HOOKS_SECRET", "0123456789abcdef"),
    ];
    let mut line = image.command("ENTRYPOINT");
    line.extend(image.command("CMD"));
    assert_eq!(line, ["sluice", "edge"]);
    assert_eq!(
        image.argument("VOLUME"),
        image.environment["SLUICE_EDGE_DIR"]
    );
    assert!(image.argument("RUN").contains(" ffmpeg "));

    let mut edge = command_in_image(&image, &volume, &settings, &line)
        .await
        .spawn()
        .unwrap();
    eventually("it answers probes", async || {
        TcpStream::connect(&operations).await.ok()?;
        let alive = http(&operations, "GET", "/livez", "").await;
        let ready = http(&operations, "GET", "/readyz", "").await;
        (alive.status == 200 && ready.status == 503).then_some(())
    })
    .await;
    assert_eq!(image.argument("STOPSIGNAL"), "SIGTERM");
    send_signal(edge.id().unwrap(), Signal::TERM);

    assert_eq!(edge.wait().await.unwrap().code(), Some(0));
    assert!(volume.join("worker").exists(), "its state is in the volume");
}

#[tokio::test]
async fn the_image_does_not_start_without_its_secrets() {
    let (_folder, image, volume) = build_image();
    let mut line = image.command("ENTRYPOINT");
    line.extend(image.command("CMD"));

    let said = command_in_image(&image, &volume, &[], &line)
        .await
        .output()
        .await
        .unwrap();

    assert_eq!(said.status.code(), Some(2));
    let errors = String::from_utf8(said.stderr).unwrap();
    assert!(errors.contains("sluice: SLUICE_JWT_SECRET"), "{errors}");
}

#[test]
fn the_image_runs_as_a_numeric_non_root_user() {
    let folder = TempDir::new().unwrap();
    let image = Image::build(folder.path());
    let (user, group) = image.argument("USER").split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 999 && group.parse::<u32>().unwrap() > 999);
    assert_eq!(
        image.argument("VOLUME"),
        image.environment["SLUICE_DATA_DIR"]
    );
    for setting in ["SLUICE_LISTEN", "SLUICE_OPERATIONS_LISTEN"] {
        let (_, port) = image.environment[setting].rsplit_once(':').unwrap();
        assert!(
            image
                .argument("EXPOSE")
                .split(' ')
                .any(|exposed| exposed == port),
            "{setting}"
        );
    }
}

/// The files of this repository that the compiler read for the library, from its latest dep-info.
fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_sluice")).with_file_name("deps");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let lists = entries.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("sluice-") && path.extension().is_some_and(|end| end == "d")
    });
    let text = lists
        .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path))
        .map(|(time, path)| (time, fs::read_to_string(path).unwrap()))
        .filter(|(_, text)| text.contains("\nsrc/lib.rs:"))
        // Not the dep-info of clippy, which contains files that only lints read.
        .filter(|(_, text)| !text.contains("/clippy.toml:"))
        .max()
        .expect("the compiler has listed the sources of the library")
        .1;
    let own = format!("{}/", env!("CARGO_MANIFEST_DIR"));
    let names = text.lines().filter_map(|line| line.strip_suffix(':'));
    let paths = names.map(|name| PathBuf::from(name.strip_prefix(&own).unwrap_or(name)));
    paths
        .filter(|path| path.is_relative() && !path.starts_with("target"))
        .collect()
}

#[test]
fn the_dockerfile_copies_every_source_of_the_program() {
    let folder = TempDir::new().unwrap();
    Image::build(folder.path());
    let copied = folder.path().join("build/build");

    let sources = sources();

    assert!(sources.len() > 100, "{sources:?}");
    for source in sources {
        assert!(
            copied.join(&source).exists(),
            "the Dockerfile does not copy {}",
            source.display()
        );
    }
    for file in [
        "build.rs",
        "proto/sluice/v1/auth.proto",
        "migrations/sqlite/1_create_accounts.sql",
    ] {
        let (copied, own) = (
            copied.join(file),
            Path::new(env!("CARGO_MANIFEST_DIR")).join(file),
        );
        assert_eq!(fs::read(copied).unwrap(), fs::read(own).unwrap(), "{file}");
    }
}
