use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use crate::{
    edge::relays::relay_failure::RelayFailure,
    proto::v1::RelayErrorSeverity::{self, Fatal, Retryable},
};

/// The exit codes of `run-child` if the program cannot be run.
const CANNOT_RUN: [i32; 2] = [126, 127];

/// Texts of ffmpeg in lower case, with the code, the severity and the message of the failure.
const KNOWN_ERRORS: [(&[&str], &str, RelayErrorSeverity, &str); 8] = [
    (
        &["codec not currently supported in container"],
        "CODEC_UNSUPPORTED",
        Fatal,
        "MPEG-TS over SRT cannot carry a codec of the stream",
    ),
    (
        &["incorrect passphrase", "badsecret"],
        "DESTINATION_REFUSED",
        Retryable,
        "the destination has another passphrase",
    ),
    (
        &["reject reported", "connection rejected"],
        "DESTINATION_REFUSED",
        Retryable,
        "the destination refuses the connection, often because of the stream id",
    ),
    (
        &["connection to srt"],
        "CONNECT_TIMEOUT",
        Retryable,
        "the destination does not answer over SRT",
    ),
    (
        &["av_interleaved_write_frame", "error writing trailer"],
        "DESTINATION_LOST",
        Retryable,
        "the connection was lost",
    ),
    (
        &["could not find codec parameters"],
        "INPUT_LOST",
        Retryable,
        "the media server sends no media of the stream",
    ),
    (
        &["does not contain any stream"],
        "INPUT_LOST",
        Retryable,
        "the stream has neither video nor audio",
    ),
    (
        &["unrecognized option", "unknown encoder"],
        "FFMPEG_UNSUITABLE",
        Fatal,
        "ffmpeg is too old, or lacks features that relays need",
    ),
];

impl RelayFailure {
    /// The failure that an exit of ffmpeg means, from its exit status and its last lines. The
    /// message may hold URLs from `stderr_lines`, and must be redacted.
    pub(super) fn of_exit(exit: io::Result<ExitStatus>, stderr_lines: &[String]) -> Self {
        let status = match exit {
            Ok(status) => status,
            Err(error) => return Self::cannot_start(&error),
        };
        if let Some(signal) = status.signal() {
            let message = format!("ffmpeg was killed by signal {signal}");
            return Self::new("FFMPEG_KILLED", Retryable, message);
        }
        if status.code().is_some_and(|code| CANNOT_RUN.contains(&code)) {
            let message = "the edge cannot run ffmpeg (SLUICE_FFMPEG)";
            return Self::new("FFMPEG_MISSING", Fatal, message);
        }
        if status.success() {
            return Self::new("INPUT_LOST", Retryable, "the media has ended");
        }
        let is_logged = |text: &&str| {
            let has_text = |line: &String| line.to_ascii_lowercase().contains(*text);
            stderr_lines.iter().any(has_text)
        };
        match KNOWN_ERRORS
            .iter()
            .find(|(texts, ..)| texts.iter().any(is_logged))
        {
            Some((_, code, severity, message)) => Self::new(code, *severity, *message),
            None => {
                let last = stderr_lines.last().map_or("no output", String::as_str);
                Self::new("FFMPEG_FAILED", Retryable, format!("ffmpeg failed: {last}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn each_exit_has_a_code() {
        for (status, line, code, severity) in [
            (exited(127), "", "FFMPEG_MISSING", Fatal),
            (exited(126), "", "FFMPEG_MISSING", Fatal),
            (ExitStatus::from_raw(9), "", "FFMPEG_KILLED", Retryable),
            (ExitStatus::from_raw(11), "", "FFMPEG_KILLED", Retryable),
            (exited(0), "", "INPUT_LOST", Retryable),
            (
                exited(1),
                "SRT.cn: processAsyncConnectRequest: REJECT reported from HS processing: Incorrect passphrase",
                "DESTINATION_REFUSED",
                Retryable,
            ),
            (
                exited(1),
                "SRT.cn: REJECT reported from HS processing: Application-defined rejection reason",
                "DESTINATION_REFUSED",
                Retryable,
            ),
            (
                exited(1),
                "[srt @ 0x55] [error] Connection to srt://192.0.2.1:9 failed: Input/output error",
                "CONNECT_TIMEOUT",
                Retryable,
            ),
            (
                exited(1),
                "Could not find tag for codec opus in stream #1, codec not currently supported in container",
                "CODEC_UNSUPPORTED",
                Fatal,
            ),
            (
                exited(1),
                "[fatal] Output file #0 does not contain any stream",
                "INPUT_LOST",
                Retryable,
            ),
            (
                exited(1),
                "Unrecognized option 'stats_period'.",
                "FFMPEG_UNSUITABLE",
                Fatal,
            ),
            (
                exited(1),
                "Unknown encoder 'libx264'",
                "FFMPEG_UNSUITABLE",
                Fatal,
            ),
            (
                exited(1),
                "av_interleaved_write_frame(): Input/output error",
                "DESTINATION_LOST",
                Retryable,
            ),
            (exited(255), "", "FFMPEG_FAILED", Retryable),
        ] {
            let failure = RelayFailure::of_exit(Ok(status), &[line.to_owned()]);
            assert_eq!(
                (failure.code, failure.severity),
                (code, severity),
                "{status} {line}"
            );
        }
    }

    #[test]
    fn an_unknown_error_has_the_last_line() {
        let lines = ["first", "last"].map(str::to_owned);
        for (lines, message) in [
            (&lines[..], "ffmpeg failed: last"),
            (&[], "ffmpeg failed: no output"),
        ] {
            let failure = RelayFailure::of_exit(Ok(exited(1)), lines);
            assert_eq!(failure.message, message);
        }
    }
}
