use console::Term;

use super::{
    super::{
        error::ClientError,
        options::OutputFormat,
        output::{json, print_line},
    },
    feed::Update,
    lines::Lines,
    screen::{Screen, frame_lines},
    view::View,
};

/// Where a watch is shown.
pub(super) enum Display {
    /// On the terminal, in place.
    Screen(Screen),
    /// A line for each change.
    Lines(Lines),
    /// A line with each message, as JSON.
    Json,
}

impl Display {
    /// Takes the terminal, unless standard output is none or lines are wanted.
    pub fn open(output: OutputFormat, is_plain: bool) -> Result<Self, ClientError> {
        let can_redraw = Term::stdout().is_term() && !console::is_dumb();
        Ok(match output {
            OutputFormat::Json => Self::Json,
            OutputFormat::Table if is_plain || !can_redraw => Self::Lines(Lines::default()),
            OutputFormat::Table => Self::Screen(Screen::open()?),
        })
    }

    /// Shows an update. `view` is the state after it.
    pub fn show(&mut self, update: &Update, view: &View) -> Result<(), ClientError> {
        match (self, update) {
            (Self::Screen(screen), _) => Ok(screen.draw(view)?),
            (Self::Lines(lines), update) => {
                let lines = lines.of(update, view);
                lines.iter().try_for_each(|line| print_line(line))
            }
            (Self::Json, Update::Message(message)) => print_line(&json(&**message, false)?),
            (Self::Json, Update::Interrupted { sentence, .. }) => {
                eprintln!("sluice: interrupted: {sentence}");
                Ok(())
            }
            (Self::Json, Update::Started | Update::EarlierRefusals(_)) => Ok(()),
        }
    }

    /// Draws the screen again: its size or the time has changed.
    pub fn redraw(&self, view: &View) -> Result<(), ClientError> {
        match self {
            Self::Screen(screen) => Ok(screen.draw(view)?),
            Self::Lines(_) | Self::Json => Ok(()),
        }
    }

    /// Gives the terminal back, with the last state on it.
    pub fn close(self, view: &View) -> Result<(), ClientError> {
        match self {
            Self::Lines(_) | Self::Json => Ok(()),
            Self::Screen(screen) => {
                drop(screen);
                frame_lines(view)
                    .iter()
                    .try_for_each(|line| print_line(line))
            }
        }
    }
}
