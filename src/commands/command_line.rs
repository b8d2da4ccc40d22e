use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::{
    admin::{self, Admin},
    api::{self, Api},
    check,
    documents::{self, Completions, Man},
    edge::{self, RunChild},
    edge_check::{self, CheckEdge},
    error::CommandError,
    health, migrate, serve,
    settings::resolve,
};
use crate::{
    client::{self, ClientCommand},
    config::{Config, DataSettings, EdgeConfig, ServerSettings, Settings},
    telemetry,
};

/// The control plane for live multistreaming.
#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    after_help = "Settings of serve, edge, check, migrate, health and admin are read from flags, the \
                  environment, and the file .env of the current folder, in this order. \
                  SLUICE_ENV_FILE names another file, or is off. Commands that send a credential to \
                  a server read flags and the environment only, those of operators too.\n\n\
                  Exit codes: 0 success, 1 failure, 2 invalid argument or setting, 3 not signed in \
                  or not allowed, 4 not found, 5 conflict with the current state, 6 server \
                  unavailable."
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
    #[command(args_conflicts_with_subcommands = true)]
    Edge {
        #[command(subcommand)]
        command: Option<EdgeCommand>,
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
    #[command(subcommand, visible_alias = "operator")]
    Admin(Admin),
    #[command(subcommand)]
    Api(Api),
    #[command(flatten)]
    Client(Box<ClientCommand>),
    /// Print completions for a shell.
    Completions(Completions),
    /// Write man pages.
    Man(Man),
    /// Execute a program that is killed when its parent process ends.
    #[command(hide = true)]
    RunChild(RunChild),
}

/// The commands of an edge; without one it runs.
#[derive(Subcommand)]
enum EdgeCommand {
    /// Check what an edge needs: the control plane, the API key, the media server, its hooks and
    /// ffmpeg.
    ///
    /// Prints the settings in effect, and explains each failure. A test publisher with a random
    /// stream key, which is refused, shows whether the media server asks the edge. Can be run
    /// beside a running edge. Exit code 0 if an edge would work, 2 if a setting is invalid or
    /// unknown, else 1.
    Check(CheckEdge),
}

/// Parses the command line and runs its command.
pub fn run() -> ExitCode {
    // For help, versions and unknown flags, clap prints its own text and exits.
    let result = match CommandLine::parse().command {
        SubCommand::Serve { settings } => resolve(settings).and_then(|own| serve::run(&own)),
        SubCommand::Edge { command, settings } => match command {
            None => resolve(settings).and_then(|own| edge::run(&own)),
            Some(EdgeCommand::Check(check)) => {
                let (settings, application) = check.into_parts();
                resolve(settings).and_then(|own| edge_check::run(own, application))
            }
        },
        SubCommand::Check { settings } => resolve(settings).and_then(|own| check::run(&own)),
        SubCommand::Migrate { settings } => resolve(settings).and_then(|own| migrate::run(&own)),
        SubCommand::Health { settings } => {
            resolve(settings).and_then(|own| health::run(&own.config))
        }
        SubCommand::Admin(command) => admin::run(command),
        SubCommand::Api(command) => api::run(command),
        SubCommand::Client(command) => run_client(*command),
        SubCommand::Completions(arguments) => {
            documents::completions(&mut CommandLine::command(), &arguments)
        }
        SubCommand::Man(arguments) => documents::man(CommandLine::command(), &arguments),
        SubCommand::RunChild(child) => edge::run_child(&child),
    };
    telemetry::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// Runs a command that calls a server. One thread is enough.
fn run_client(command: ClientCommand) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(client::run(command));
    result.map_err(CommandError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
