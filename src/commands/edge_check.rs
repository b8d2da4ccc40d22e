//! `sluice edge check`: what an edge would need, and whether it works.

use clap::Args;
use tokio::runtime::Runtime;

use super::{
    check::{Outcome, check_directory, print_outcomes, print_settings},
    edge::host_name,
    error::CommandError,
};
use crate::{
    config::{EdgeConfig, Resolved, Settings},
    edge::{EdgeCheck, EdgeSettings},
};

/// `sluice edge check`.
#[derive(Args)]
pub(super) struct CheckEdge {
    /// The RTMP application to which publishers send, for the test publisher.
    #[arg(long, default_value = "live")]
    application: String,

    #[command(flatten)]
    settings: Settings<EdgeConfig>,
}

impl CheckEdge {
    /// Its settings, and the application.
    pub(super) fn into_parts(self) -> (Settings<EdgeConfig>, String) {
        (self.settings, self.application)
    }
}

/// Prints the settings in effect and the result of each check.
pub(super) fn run(resolved: Resolved<EdgeConfig>, application: String) -> Result<(), CommandError> {
    print_settings(&resolved.effective);
    let directory = check_directory(&resolved.config.edge_dir, "SLUICE_EDGE_DIR");
    let settings = EdgeSettings::new(resolved.config, host_name()).map_err(CommandError::Usage)?;
    let runtime = Runtime::new()?;
    // The clients need it from the start.
    let _context = runtime.enter();
    let check = EdgeCheck::new(settings, application)?;
    let results = runtime.block_on(check.run());
    let results = results
        .into_iter()
        .map(|result| (result.subject, result.outcome));
    let outcomes: Vec<(_, Outcome)> = [("state directory", directory)]
        .into_iter()
        .chain(results)
        .collect();
    print_outcomes(&outcomes, resolved.unknown)
}
