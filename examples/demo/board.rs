use std::io::{IsTerminal, Write, stdout};

use sluice::proto::v1 as pb;

use crate::watching::Seen;

/// What is to be seen, in the terminal: lines that are redrawn. Elsewhere each change is a
/// line.
pub struct Board {
    is_terminal: bool,
    destinations: Vec<(String, &'static str)>,
    /// How many lines are to be drawn over.
    drawn: usize,
    /// What was told last, of the stream and of each relay.
    told: Vec<String>,
}

impl Board {
    /// An empty one; destinations are shown under their names, in this order.
    pub fn new(destinations: Vec<(String, &'static str)>) -> Self {
        let mut board = Self {
            is_terminal: stdout().is_terminal(),
            destinations,
            drawn: 0,
            told: Vec::new(),
        };
        // Of what has not begun there is nothing to tell.
        let nothing = board.lines(&Seen::default());
        board.told = nothing.into_iter().map(|(line, _)| line).collect();
        board
    }

    /// A line that stays.
    pub fn say(&mut self, line: &str) {
        println!("{line}");
        // What stands above it stays too.
        self.drawn = 0;
    }

    /// Shows what is.
    pub fn show(&mut self, seen: &Seen) {
        if self.is_terminal {
            self.draw(seen);
        } else {
            self.tell(seen);
        }
    }

    fn draw(&mut self, seen: &Seen) {
        let mut out = stdout().lock();
        if self.drawn > 0 {
            // So many lines up.
            let _ = write!(out, "\x1b[{}A", self.drawn);
        }
        let lines = self.lines(seen);
        for (line, more) in &lines {
            // Whatever stands there is wiped out.
            let _ = writeln!(out, "\x1b[2K  {line}{more}");
        }
        let _ = out.flush();
        self.drawn = lines.len();
    }

    fn tell(&mut self, seen: &Seen) {
        let lines = self.lines(seen);
        for (told, (line, more)) in self.told.iter_mut().zip(lines) {
            if *told != line {
                println!("  {line}{more}");
                *told = line;
            }
        }
    }

    /// One for the stream and one for each destination: what is worth a line when it
    /// changes, and what is not.
    fn lines(&self, seen: &Seen) -> Vec<(String, String)> {
        let stream = (format!("stream  {}", status(seen)), String::new());
        let relays = self.destinations.iter().map(|(id, name)| {
            let relay = seen.relays.get(id);
            let bytes = relay.map_or(0, |relay| relay.bytes_sent);
            let state = seen.relay_state(id).as_str_name();
            let state = state.trim_start_matches("RELAY_STATE_");
            let error = relay.and_then(|relay| relay.error.as_ref());
            let error = error.map_or_else(String::new, |error| format!("  {}", error.code));
            let line = format!("{name:<7} {:<13}{error}", or_dash(state));
            (line, format!("{:>8} KiB", bytes / 1024))
        });
        [stream].into_iter().chain(relays).collect()
    }
}

fn status(seen: &Seen) -> String {
    let status = seen.status().as_str_name();
    let status = or_dash(status.trim_start_matches("STREAM_STATUS_"));
    let reason = seen.stream.as_ref().map(pb::Stream::end_reason);
    match reason {
        None | Some(pb::EndReason::Unspecified) => status.to_owned(),
        Some(reason) => {
            let reason = reason.as_str_name().trim_start_matches("END_REASON_");
            format!("{status} ({reason})")
        }
    }
}

fn or_dash(text: &str) -> &str {
    match text {
        "UNSPECIFIED" => "-",
        text => text,
    }
}
