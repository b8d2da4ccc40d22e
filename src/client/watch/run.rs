use std::time::Duration;

use clap::Args;
use tokio::{
    pin,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    super::{
        error::ClientError,
        names::project_id,
        options::{ClientOptions, OutputFormat},
        session::Session,
    },
    display::Display,
    feed::{Extras, follow},
    view::View,
};

/// How often the times on the screen advance.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// Updates that wait until they are shown.
const QUEUE: usize = 64;

/// The arguments of `sluice watch`.
#[derive(Args)]
pub struct Watch {
    /// The project: its id, its unique name, or the unique start of its id.
    project: String,
    /// Begin with the changes after this revision, a line each, instead of the current state.
    #[arg(long, value_name = "REVISION", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after_revision: i64,
    /// Print what there is now, and end.
    #[arg(long)]
    once: bool,
    /// Print a line for each change, as without a terminal.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Shows a project as it changes, until a signal (SIGINT, SIGTERM, SIGHUP) or its deletion.
pub async fn run(arguments: &Watch) -> Result<(), ClientError> {
    let session = Session::open(&arguments.options)?;
    let project_id = project_id(&session, &arguments.project).await?;
    // Without a snapshot there is no state to draw.
    let has_snapshot = arguments.after_revision == 0;
    let is_plain = arguments.plain || arguments.once || !has_snapshot;
    let mut display = Display::open(session.output(), is_plain)?;
    let mut view = View::default();

    let result = show(&session, &project_id, arguments, &mut display, &mut view).await;
    display.close(&view)?;
    result
}

async fn show(
    session: &Session,
    project_id: &str,
    arguments: &Watch,
    display: &mut Display,
    view: &mut View,
) -> Result<(), ClientError> {
    let (sender, mut updates) = mpsc::channel(QUEUE);
    // A line tells of a change, so that only a screen and a program have use for statistics.
    let has_statistics = matches!(display, Display::Screen(_) | Display::Json);
    let extras = Extras {
        statistics: has_statistics && !arguments.once,
        earlier_refusals: session.output() == OutputFormat::Table && !arguments.once,
    };
    let following = follow(
        session,
        project_id,
        arguments.after_revision,
        extras,
        &sender,
    );
    pin!(following);

    let mut redraws = interval(REDRAW_INTERVAL);
    redraws.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut resized = signal(SignalKind::window_change())?;
    let mut ends = Ends::listen()?;
    loop {
        tokio::select! {
            biased;
            () = ends.received() => return Ok(()),
            Some(update) = updates.recv() => {
                view.apply(&update);
                display.show(&update, view)?;
                if view.is_deleted || (arguments.once && view.is_synced) {
                    return Ok(());
                }
            }
            ended = &mut following => {
                // What it sent last may tell why: the end of a deleted project is no error.
                while let Ok(update) = updates.try_recv() {
                    view.apply(&update);
                    display.show(&update, view)?;
                }
                return match view.is_deleted {
                    true => Ok(()),
                    false => ended.map(|never| match never {}),
                };
            }
            _ = redraws.tick() => display.redraw(view)?,
            _ = resized.recv() => display.redraw(view)?,
        }
    }
}

/// The signals that end a watch.
struct Ends([Signal; 3]);

impl Ends {
    fn listen() -> Result<Self, ClientError> {
        let listen = |kind| signal(kind).map_err(ClientError::from);
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
