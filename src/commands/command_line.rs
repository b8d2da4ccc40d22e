use std::{error::Error, process::ExitCode};

use clap::{
    Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    admin::{self, Admin},
    edge::{self, RunChild},
    error::CommandError,
    health, migrate, serve,
};
use crate::{
    config::{Config, EdgeConfig},
    telemetry,
};

/// The control plane for live multistreaming.
#[derive(Parser)]
#[command(name = "sluice", version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: SubCommand,
}

#[derive(Subcommand)]
enum SubCommand {
    /// Serve the gRPC API.
    Serve {
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Run beside a media server: answer its hooks and run relays.
    Edge {
        #[command(flatten)]
        config: Box<EdgeConfig>,
    },
    /// Migrate the database to the current schema.
    Migrate {
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Check the health of a server: exit code 0 if it is serving, else 1.
    Health {
        #[command(flatten)]
        args: health::HealthArgs,
    },
    /// Commands for operators.
    #[command(subcommand)]
    Admin(Admin),
    /// Execute a program that is killed when its parent process ends.
    #[command(hide = true)]
    RunChild(RunChild),
}

/// Parses the command line and runs its command.
pub fn run() -> ExitCode {
    let result = parse().and_then(|line| match line.command {
        SubCommand::Serve { config } => serve::run(&config),
        SubCommand::Edge { config } => edge::run(&config),
        SubCommand::Migrate { config } => migrate::run(&config),
        SubCommand::Health { args } => health::run(&args),
        SubCommand::Admin(command) => admin::run(command),
        SubCommand::RunChild(child) => edge::run_child(&child),
    });
    telemetry::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn parse() -> Result<CommandLine, CommandError> {
    let mut command = CommandLine::command();
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => return Err(explain(&command, &error)),
    };
    Ok(CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

/// The error for an invalid setting, which names its variable. For help, versions and unknown flags,
/// clap prints its own text and exits.
fn explain(command: &Command, error: &clap::Error) -> CommandError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let Some(flag) = text(ContextKind::InvalidArg) else {
        error.exit()
    };
    let name = variable(command, flag).unwrap_or_else(|| flag.to_owned());

    match error.kind() {
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            CommandError::Usage(format!("{name} {why}"))
        }
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                CommandError::Usage(format!("{name} must be {}", values.join(" or ")))
            }
            _ => CommandError::Usage(format!("{name} must not be empty")),
        },
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).unwrap_or_default();
            let other = variable(command, other).unwrap_or_else(|| other.to_owned());
            CommandError::Usage(format!("{name} and {other} must not both be set"))
        }
        _ => error.exit(),
    }
}

/// The environment variable of a setting that clap shows as `--flag <VALUE>`.
fn variable(command: &Command, shown: &str) -> Option<String> {
    let flag = shown.split([' ', '=']).next()?.strip_prefix("--")?;
    let (mut arguments, mut commands) = (command.get_arguments(), command.get_subcommands());
    match arguments.find(|argument| argument.get_long() == Some(flag)) {
        Some(argument) => Some(argument.get_env()?.to_string_lossy().into_owned()),
        None => commands.find_map(|inner| variable(inner, shown)),
    }
}
