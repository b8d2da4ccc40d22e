use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{
    admin::{self, Admin},
    api::{self, Api},
    check,
    edge::{self, RunChild},
    health, migrate, serve,
    settings::resolve,
};
use crate::{
    config::{Config, DataSettings, EdgeConfig, ServerSettings, Settings},
    telemetry,
};

/// The control plane for live multistreaming.
#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    after_help = "Settings are read from flags, the environment, and the file .env of the current \
                  folder, in this order. SLUICE_ENV_FILE names another file, or is off."
)]
struct CommandLine {
    #[command(subcommand)]
    command: SubCommand,
}

#[derive(Subcommand)]
enum SubCommand {
    /// Serve the gRPC API.
    Serve {
        #[command(flatten)]
        settings: Settings<Config, ServerSettings>,
    },
    /// Run beside a media server: answer its hooks and run relays.
    Edge {
        #[command(flatten)]
        settings: Settings<EdgeConfig>,
    },
    /// Check what a start of the server would need, and print the settings in effect.
    ///
    /// Changes nothing. Exit code 0 if a server would serve, 2 if a setting is invalid or unknown,
    /// else 1. While a server runs with the same settings, its addresses and its SQLite database are
    /// in use.
    Check {
        #[command(flatten)]
        settings: Settings<Config, ServerSettings>,
    },
    /// Migrate the database to the current schema.
    Migrate {
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
    /// Check the health of a server: exit code 0 if it is serving, else 1.
    Health {
        #[command(flatten)]
        settings: Settings<health::HealthArgs>,
    },
    /// Commands for operators.
    #[command(subcommand)]
    Admin(Admin),
    #[command(subcommand)]
    Api(Api),
    /// Execute a program that is killed when its parent process ends.
    #[command(hide = true)]
    RunChild(RunChild),
}

/// Parses the command line and runs its command.
pub fn run() -> ExitCode {
    // For help, versions and unknown flags, clap prints its own text and exits.
    let result = match CommandLine::parse().command {
        SubCommand::Serve { settings } => resolve(settings).and_then(|own| serve::run(&own)),
        SubCommand::Edge { settings } => resolve(settings).and_then(|own| edge::run(&own)),
        SubCommand::Check { settings } => resolve(settings).and_then(|own| check::run(&own)),
        SubCommand::Migrate { settings } => resolve(settings).and_then(|own| migrate::run(&own)),
        SubCommand::Health { settings } => {
            resolve(settings).and_then(|own| health::run(&own.config))
        }
        SubCommand::Admin(command) => admin::run(command),
        SubCommand::Api(command) => api::run(command),
        SubCommand::RunChild(child) => edge::run_child(&child),
    };
    telemetry::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
