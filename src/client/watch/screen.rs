//! The live view: the alternate screen of the terminal, redrawn in place.

use std::{
    io,
    time::{Duration, SystemTime},
};

use console::{Term, style, truncate_str};

use super::{
    super::{
        output::{Table, printable},
        refusals, relays,
        streams::{STATE, audio, end_reason, video},
        text::{bitrate, bytes, label, or_dash, time},
    },
    lines::issue_text,
    view::View,
};
use crate::proto::v1::{self as pb, IssueSeverity, StreamState};

const ENTER_ALTERNATE_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_ALTERNATE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";
const CURSOR_HOME: &str = "\x1b[H";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_REST_OF_SCREEN: &str = "\x1b[J";

/// The size of a terminal that does not know its own.
const DEFAULT_SIZE: (u16, u16) = (24, 80);

/// The alternate screen, until dropped.
pub(super) struct Screen {
    terminal: Term,
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> io::Result<Self> {
        let terminal = Term::buffered_stdout();
        terminal.write_str(ENTER_ALTERNATE_SCREEN)?;
        terminal.flush()?;
        Ok(Self { terminal })
    }

    /// Draws the view over the last one. What does not fit is cut off.
    pub fn draw(&self, view: &View) -> io::Result<()> {
        let (rows, columns) = self.terminal.size_checked().unwrap_or(DEFAULT_SIZE);
        let mut frame = String::from(CURSOR_HOME);
        // The cursor waits in the last row.
        for line in frame_lines(view)
            .iter()
            .take(usize::from(rows).saturating_sub(1))
        {
            // In the last column, clearing the rest of the line would clear the last character.
            let line = truncate_str(line, usize::from(columns).saturating_sub(1), "…");
            frame.push_str(&format!("{line}{CLEAR_REST_OF_LINE}\r\n"));
        }
        frame.push_str(CLEAR_REST_OF_SCREEN);
        self.terminal.write_str(&frame)?;
        self.terminal.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal is gone if this fails.
        let _ = self.terminal.write_str(LEAVE_ALTERNATE_SCREEN);
        let _ = self.terminal.flush();
    }
}

/// The lines of the view.
pub(super) fn frame_lines(view: &View) -> Vec<String> {
    let mut lines = vec![heading(view)];
    if let Some(sentence) = &view.interruption {
        let sentence = printable(sentence.clone());
        lines.push(style(format!("interrupted: {sentence}")).red().to_string());
    }
    lines.extend(stream_lines(view));
    lines.extend(view.issues.iter().map(|issue| issue_line(issue, view)));
    if !view.destinations.is_empty() {
        lines.push(String::new());
        lines.extend(destination_table(view).lines());
    }
    if !view.refusals.is_empty() {
        lines.push(String::new());
        lines.extend(refusal_table(view).lines());
    }
    lines
}

fn issue_line(issue: &pb::Issue, view: &View) -> String {
    let text = style(printable(issue_text(issue, view)));
    let text = match issue.severity() {
        IssueSeverity::Error => text.red(),
        _ => text.yellow(),
    };
    text.to_string()
}

fn heading(view: &View) -> String {
    let state = match view {
        View {
            is_deleted: true, ..
        } => "deleted",
        View {
            interruption: Some(_),
            ..
        } => "reconnecting",
        View {
            is_synced: false, ..
        } => "loading",
        View { project, .. } if project.disabled => "disabled",
        _ => "watching",
    };
    let name = style(printable(view.project.display_name.clone())).bold();
    let (id, revision) = (&view.project.id, view.revision);
    format!("{name}  {id}  revision {revision}  {state}")
}

fn stream_lines(view: &View) -> Vec<String> {
    let Some(stream) = &view.stream else {
        return vec!["no stream".to_owned()];
    };
    let state = label(stream.state().as_str_name(), STATE);
    let state = match stream.state() {
        StreamState::Live => style(state).green(),
        StreamState::Ended => style(state).dim(),
        _ => style(state).yellow(),
    };
    let stats = stream.stats.clone().unwrap_or_default();
    let publisher = stream.publisher.clone().unwrap_or_default();
    let rest = match stream.state() {
        StreamState::Ended => format!("{}  {}", time(stream.end_time), end_reason(stream)),
        _ => format!(
            "{}  {}  {}  audio {}  node {}  from {}",
            elapsed(stream),
            bitrate(stats.bitrate_bps),
            video(&stats),
            audio(&stats),
            or_dash(&publisher.node_id),
            or_dash(&publisher.peer_address)
        ),
    };
    vec![format!(
        "stream {}  {state}  {}",
        stream.id,
        printable(rest)
    )]
}

/// How long a stream has been live, to the second; `-` before.
fn elapsed(stream: &pb::Stream) -> String {
    let since = stream
        .live_time
        .and_then(|time| SystemTime::try_from(time).ok());
    let elapsed = since.and_then(|since| since.elapsed().ok());
    elapsed.map_or("-".to_owned(), |elapsed| {
        let seconds = Duration::from_secs(elapsed.as_secs());
        format!("for {}", humantime::format_duration(seconds))
    })
}

fn destination_table(view: &View) -> Table {
    let rows = view.destinations.values().map(|destination| {
        let relay = view.relays.get(&destination.id);
        [
            destination.display_name.clone(),
            match (relay, destination.disabled) {
                (Some(relay), _) => relays::state(relay),
                (None, false) => "-".to_owned(),
                (None, true) => "disabled".to_owned(),
            },
            relay.map_or("-".to_owned(), |relay| bitrate(relay.bitrate_bps)),
            relay.map_or("-".to_owned(), |relay| bytes(relay.bytes_sent)),
            relay.map_or("-".to_owned(), relays::problem),
        ]
    });
    Table::new(["DESTINATION", "RELAY", "BITRATE", "SENT", "ERROR"], rows)
}

fn refusal_table(view: &View) -> Table {
    let rows = view.refusals.iter().map(|refusal| {
        [
            time(refusal.create_time),
            refusals::reason(refusal),
            or_dash(&refusal.node_id),
            or_dash(&refusal.peer_prefix),
        ]
    });
    Table::new(["REFUSED", "REASON", "NODE", "PUBLISHER"], rows)
}
