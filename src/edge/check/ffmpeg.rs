use std::{
    env,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::fs::{Access, access};
use tokio::{process::Command, time::timeout};

use super::edge_check::Outcome;

/// The oldest version whose options relays use.
const MIN_MAJOR_VERSION: u32 = 5;

/// The protocols of the test publisher and of SRT relays.
const PROTOCOLS: [&str; 2] = ["rtmp", "srt"];

/// What renditions are encoded with: the encoder, and the options that let ffmpeg encode a second of
/// nothing with it.
const ENCODERS: [(&str, &[&str]); 2] = [
    (
        "libx264",
        &[
            "-f",
            "lavfi",
            "-i",
            "color=size=64x64:rate=5",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-pix_fmt",
            "yuv420p",
        ],
    ),
    (
        "aac",
        &[
            "-f",
            "lavfi",
            "-i",
            "anullsrc=sample_rate=44100",
            "-c:a",
            "aac",
        ],
    ),
];

/// The longest time of one run.
const RUN_TIMEOUT: Duration = Duration::from_secs(20);

/// How a test publisher ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublishResult {
    /// The media server accepted its media.
    Accepted,
    /// Nothing listens on the address.
    ConnectionRefused,
    /// The media server refused it, or the connection broke: the last line of ffmpeg.
    Failed(String),
}

/// Whether there is a program that can be executed, as a path or in `PATH`.
pub(crate) fn exists(program: &Path) -> bool {
    let is_executable = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    match program.components().count() {
        1 => env::var_os("PATH").is_some_and(|path| {
            env::split_paths(&path).any(|dir| is_executable(&dir.join(program)))
        }),
        _ => is_executable(program),
    }
}

/// The version of a program, which must be new enough and have the protocols of relays.
pub(super) async fn check(program: &Path) -> Outcome {
    let shown = program.display();
    let text = match run(program, &["-hide_banner", "-version"]).await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            return Err(format!(
                "cannot run {shown} (SLUICE_FFMPEG): {error:#}: install ffmpeg \
                 {MIN_MAJOR_VERSION} or later"
            ));
        }
    };
    let version = version(&text).ok_or_else(|| {
        format!("{shown} (SLUICE_FFMPEG) is not ffmpeg: it does not tell its version")
    })?;
    if major(version).is_some_and(|major| major < MIN_MAJOR_VERSION) {
        return Err(format!(
            "{shown} (SLUICE_FFMPEG) has version {version}: SRT relays need \
             {MIN_MAJOR_VERSION} or later"
        ));
    }
    let listed = run(program, &["-hide_banner", "-protocols"]).await;
    let listed =
        listed.map_err(|error| format!("{shown} does not list its protocols: {error:#}"))?;
    let missing = missing_protocols(&String::from_utf8_lossy(&listed.stdout));
    match missing.is_empty() {
        true => Ok(format!(
            "{shown} {version}, with {}",
            PROTOCOLS.join(" and ")
        )),
        false => Err(format!(
            "{shown} (SLUICE_FFMPEG) cannot send {}: install a build of ffmpeg with librtmp or \
             its own rtmp, and with libsrt",
            missing.join(" and ")
        )),
    }
}

/// Whether it can encode renditions.
pub(super) async fn check_encoders(program: &Path) -> Outcome {
    let shown = program.display();
    for (encoder, source) in ENCODERS {
        let begin = ["-hide_banner", "-nostdin", "-loglevel", "error"];
        let end = ["-t", "1", "-f", "null", "-"];
        let reason = match run(program, &[&begin[..], source, &end].concat()).await {
            Ok(output) if output.status.success() => continue,
            Ok(output) => last_line(&output),
            Err(error) => format!("{error:#}"),
        };
        return Err(format!(
            "{shown} (SLUICE_FFMPEG) cannot encode with {encoder}: {reason}: relays to \
             destinations with max_video_bitrate_kbps or max_height fail; install a build of \
             ffmpeg with {encoder}, as the package ffmpeg of Debian, Ubuntu and Alpine, or of RPM \
             Fusion instead of ffmpeg-free"
        ));
    }
    let names = ENCODERS.map(|(encoder, _)| encoder);
    Ok(format!("{shown} encodes with {}", names.join(" and ")))
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().next_back().unwrap_or("no output").to_owned()
}

/// Publishes a few seconds of a black picture to an RTMP URL, which contains no secret.
pub(super) async fn publish(program: &Path, url: &str) -> PublishResult {
    let picture = "color=size=64x64:rate=5";
    let arguments = [
        &["-hide_banner", "-nostdin", "-loglevel", "error", "-re"][..],
        &["-f", "lavfi", "-i", picture, "-t", "2", "-c:v", "flv1"],
        &["-flvflags", "no_duration_filesize", "-f", "flv", url],
    ];
    let output = match run(program, &arguments.concat()).await {
        Ok(output) if output.status.success() => return PublishResult::Accepted,
        Ok(output) => output,
        Err(error) => return PublishResult::Failed(format!("{error:#}")),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    match text.contains("Connection refused") {
        true => PublishResult::ConnectionRefused,
        false => PublishResult::Failed(last_line(&output)),
    }
}

async fn run(program: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(RUN_TIMEOUT, output).await {
        Ok(output) => output.context("it does not start"),
        Err(_) => bail!("it does not end within {} s", RUN_TIMEOUT.as_secs()),
    }
}

/// The version in the first line, for example `5.1.6-0+deb12u1`.
fn version(text: &str) -> Option<&str> {
    let rest = text.lines().next()?.strip_prefix("ffmpeg version ")?;
    rest.split_whitespace().next()
}

/// The major version of a release; `None` for a build from a revision, such as `N-112233-g0`.
fn major(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches('n');
    let end = digits.find(|letter: char| !letter.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

/// The protocols that are missing in the output section of `ffmpeg -protocols`.
fn missing_protocols(listed: &str) -> Vec<&'static str> {
    let (_, outputs) = listed.split_once("Output:").unwrap_or_default();
    let has = |name: &&str| outputs.lines().any(|line| line.trim() == *name);
    PROTOCOLS.into_iter().filter(|name| !has(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_first_line() {
        for (text, major_version) in [
            (
                "ffmpeg version 5.1.9-0+deb12u1 Copyright (c)\nbuilt",
                Some(5),
            ),
            ("ffmpeg version n7.1 Copyright", Some(7)),
            ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright", Some(4)),
            ("ffmpeg version N-112233-gabcdef Copyright", None),
        ] {
            let version = version(text).unwrap();
            assert_eq!(major(version), major_version, "{text}");
        }
        assert_eq!(version("usage: true"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn only_output_protocols_count() {
        let listed = |outputs: &str| format!("Input:\n  rtmp\n  srt\nOutput:\n{outputs}");
        assert!(missing_protocols(&listed("  rtmp\n  rtmps\n  srt\n")).is_empty());
        assert_eq!(missing_protocols(&listed("  rtmp\n  srtp\n")), ["srt"]);
        assert_eq!(missing_protocols(""), ["rtmp", "srt"]);
    }
}
