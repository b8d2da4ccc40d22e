use std::io::{IsTerminal, Write, stdout};

use sluice::proto::v1 as pb;

use crate::project_watch::Observed;

/// The display of the stream and its relays. A terminal shows lines that are redrawn; any
/// other output gets a line for each change.
pub struct Board {
    is_terminal: bool,
    destinations: Vec<(String, &'static str)>,
    /// The number of lines to draw over.
    drawn: usize,
    /// The last printed lines, of the stream and of each relay.
    printed: Vec<String>,
}

impl Board {
    /// An empty display. Destinations are in this order, with their names.
    pub fn new(destinations: Vec<(String, &'static str)>) -> Self {
        let mut board = Self {
            is_terminal: stdout().is_terminal(),
            destinations,
            drawn: 0,
            printed: Vec::new(),
        };
        // The initial state is not printed.
        let initial = board.lines(&Observed::default());
        board.printed = initial.into_iter().map(|(line, _)| line).collect();
        board
    }

    /// Prints a permanent line.
    pub fn print(&mut self, line: &str) {
        println!("{line}");
        // The lines above it become permanent too.
        self.drawn = 0;
    }

    /// Shows the current state.
    pub fn show(&mut self, observed: &Observed) {
        if self.is_terminal {
            self.draw(observed);
        } else {
            self.print_changes(observed);
        }
    }

    fn draw(&mut self, observed: &Observed) {
        let mut out = stdout().lock();
        if self.drawn > 0 {
            // Moves the cursor up.
            let _ = write!(out, "\x1b[{}A", self.drawn);
        }
        let lines = self.lines(observed);
        for (line, more) in &lines {
            // Clears the old line.
            let _ = writeln!(out, "\x1b[2K  {line}{more}");
        }
        let _ = out.flush();
        self.drawn = lines.len();
    }

    fn print_changes(&mut self, observed: &Observed) {
        let lines = self.lines(observed);
        for (printed, (line, more)) in self.printed.iter_mut().zip(lines) {
            if *printed != line {
                println!("  {line}{more}");
                *printed = line;
            }
        }
    }

    /// A line for the stream and one for each destination. A change of the first part is
    /// printed, a change of the second alone is not.
    fn lines(&self, observed: &Observed) -> Vec<(String, String)> {
        let stream = (format!("stream  {}", state(observed)), String::new());
        let relays = self.destinations.iter().map(|(id, name)| {
            let relay = observed.relays.get(id);
            let bytes = relay.map_or(0, |relay| relay.bytes_sent);
            let state = observed.relay_state(id).as_str_name();
            let state = state.trim_start_matches("RELAY_STATE_");
            let error = relay.and_then(|relay| relay.error.as_ref());
            let error = error.map_or_else(String::new, |error| format!("  {}", error.code));
            let line = format!("{name:<7} {:<13}{error}", or_dash(state));
            (line, format!("{:>8} KiB", bytes / 1024))
        });
        [stream].into_iter().chain(relays).collect()
    }
}

fn state(observed: &Observed) -> String {
    let state = observed.state().as_str_name();
    let state = or_dash(state.trim_start_matches("STREAM_STATE_"));
    let reason = observed.stream.as_ref().map(pb::Stream::end_reason);
    match reason {
        None | Some(pb::EndReason::Unspecified) => state.to_owned(),
        Some(reason) => {
            let reason = reason.as_str_name().trim_start_matches("END_REASON_");
            format!("{state} ({reason})")
        }
    }
}

fn or_dash(text: &str) -> &str {
    match text {
        "UNSPECIFIED" => "-",
        text => text,
    }
}
