//! Why ffmpeg ended, from how it ended and what it said last.
//!
//! What the carriers know of the far sides is better than any of this; it is looked at
//! only where they know nothing.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use super::failure::Fault;
use crate::proto::v1::RelayErrorSeverity::{self, Fatal, Retryable};

/// How a destination refuses a key, in the codes of carriers, and after how many failures
/// in a row one more is the last: it may still hold the connection of the try before, and
/// one that accepts at first may have been restarted.
const REFUSALS: [(&str, i64); 2] = [("DESTINATION_REFUSED", 4), ("DESTINATION_CLOSED_EARLY", 6)];

/// What the starting command ends with where there is no program to run.
const NOT_FOUND: [i32; 2] = [126, 127];

/// What ffmpeg says, in small letters; what it means; and what people are told.
const SAYINGS: [(&str, &str, RelayErrorSeverity, &str); 7] = [
    (
        "not compatible with flv",
        "CODEC_UNSUPPORTED",
        Fatal,
        "the destination's protocol cannot carry a codec of the stream",
    ),
    (
        "codec not currently supported in container",
        "CODEC_UNSUPPORTED",
        Fatal,
        "the destination's protocol cannot carry a codec of the stream",
    ),
    (
        "flv does not support sample rate",
        "CODEC_UNSUPPORTED",
        Fatal,
        "the destination's protocol cannot carry the sample rate of the stream",
    ),
    (
        "error opening input",
        "INPUT_LOST",
        Retryable,
        "the media server does not give the stream",
    ),
    (
        "could not find codec parameters",
        "INPUT_LOST",
        Retryable,
        "the media server gives nothing of the stream",
    ),
    (
        "does not contain any stream",
        "INPUT_LOST",
        Retryable,
        "there is neither picture nor sound in the stream",
    ),
    (
        "unrecognized option",
        "FFMPEG_UNSUITABLE",
        Fatal,
        "ffmpeg is too old, or built without what relays need",
    ),
];

/// Whether a destination may have refused the key.
pub(super) fn is_refusal(code: &str) -> bool {
    REFUSALS.iter().any(|(refusal, _)| *refusal == code)
}

/// Whether to try no more after this fault, so many failures being before it, the last a
/// refusal too.
pub(super) fn is_final(code: &str, failures: i64) -> bool {
    REFUSALS
        .iter()
        .any(|(refusal, most)| *refusal == code && failures >= *most)
}

/// What the end of ffmpeg means. Its last lines may tell addresses: the message is to
/// be cleaned.
pub(super) fn of_exit(exit: io::Result<ExitStatus>, last_lines: &[String]) -> Fault {
    let status = match exit {
        Ok(status) => status,
        Err(error) => return of_no_process(&error),
    };
    if let Some(signal) = status.signal() {
        let message = format!("ffmpeg was killed by signal {signal}");
        return fault("FFMPEG_KILLED", Retryable, message);
    }
    if status.code().is_some_and(|code| NOT_FOUND.contains(&code)) {
        let message = "the edge cannot run ffmpeg (SLUICE_FFMPEG)".to_owned();
        return fault("FFMPEG_MISSING", Fatal, message);
    }
    if status.success() {
        return fault("INPUT_LOST", Retryable, "the media has ended".to_owned());
    }
    let said = |what: &str| {
        let is_said = |line: &String| line.to_ascii_lowercase().contains(what);
        last_lines.iter().any(is_said)
    };
    match SAYINGS.iter().find(|(what, ..)| said(what)) {
        Some((_, code, severity, message)) => fault(code, *severity, (*message).to_owned()),
        None => {
            let last = last_lines.last().map_or("it said nothing", String::as_str);
            fault("FFMPEG_FAILED", Retryable, format!("ffmpeg failed: {last}"))
        }
    }
}

/// What it means that there is no process.
pub(super) fn of_no_process(error: &io::Error) -> Fault {
    let message = format!("no process can be started: {error}");
    fault("FFMPEG_FAILED", Retryable, message)
}

/// What it means that nobody has said where the media is.
pub(super) fn of_no_input() -> Fault {
    let message = "the media server has not said where its media is read".to_owned();
    fault("INPUT_UNKNOWN", Retryable, message)
}

/// What it means that a relay told nothing of its end.
pub(super) fn of_crash() -> Fault {
    let message = "the edge has lost the relay".to_owned();
    fault("RELAY_LOST", Retryable, message)
}

/// What it means that the destination's bytes do not grow.
pub(super) fn of_silence(ffmpeg_writes: bool) -> Fault {
    let message = match ffmpeg_writes {
        true => "the destination takes nothing more",
        false => "the media server gives nothing more",
    };
    fault("NO_PROGRESS", Retryable, message.to_owned())
}

fn fault(code: &'static str, severity: RelayErrorSeverity, message: String) -> Fault {
    Fault {
        code,
        severity,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn who_refuses_again_and_again_is_not_tried_again() {
        for (code, failures, is_last) in [
            ("DESTINATION_REFUSED", 3, false),
            ("DESTINATION_REFUSED", 4, true),
            ("DESTINATION_CLOSED_EARLY", 5, false),
            ("DESTINATION_CLOSED_EARLY", 6, true),
            ("DESTINATION_LOST", 50, false),
        ] {
            assert_eq!(is_final(code, failures), is_last, "{code} {failures}");
        }
    }

    #[test]
    fn every_end_has_a_meaning() {
        for (status, line, code, severity) in [
            (exited(127), "", "FFMPEG_MISSING", Fatal),
            (exited(126), "", "FFMPEG_MISSING", Fatal),
            (ExitStatus::from_raw(9), "", "FFMPEG_KILLED", Retryable),
            (ExitStatus::from_raw(11), "", "FFMPEG_KILLED", Retryable),
            (exited(0), "", "INPUT_LOST", Retryable),
            (
                exited(1),
                "[flv @ 0x55] [error] Video codec hevc not compatible with flv",
                "CODEC_UNSUPPORTED",
                Fatal,
            ),
            (
                exited(1),
                "Could not find tag for codec opus in stream #1, codec not currently supported in container",
                "CODEC_UNSUPPORTED",
                Fatal,
            ),
            (
                exited(1),
                "[flv @ 0x55] [error] FLV does not support sample rate 48000, choose from (44100, 22050, 11025)",
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
                "av_interleaved_write_frame(): Broken pipe",
                "FFMPEG_FAILED",
                Retryable,
            ),
            (exited(255), "", "FFMPEG_FAILED", Retryable),
        ] {
            let fault = of_exit(Ok(status), &[line.to_owned()]);
            assert_eq!(
                (fault.code, fault.severity),
                (code, severity),
                "{status} {line}"
            );
        }
    }

    #[test]
    fn the_last_line_is_told_where_nothing_else_is_known() {
        let lines = ["first", "last"].map(str::to_owned);
        assert_eq!(
            of_exit(Ok(exited(1)), &lines).message,
            "ffmpeg failed: last"
        );
        assert_eq!(
            of_exit(Ok(exited(1)), &[]).message,
            "ffmpeg failed: it said nothing"
        );
    }
}
