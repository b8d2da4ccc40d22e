use std::{error::Error, process::ExitCode};

use clap::{
    Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    admin::{self, Admin},
    edge,
    failure::Failure,
    health, migrate,
    run_child::{self, Child},
    serve,
};
use crate::{
    config::{Config, EdgeConfig},
    telemetry,
};

/// The control plane of live multistreaming.
#[derive(Parser)]
#[command(name = "sluice", version, propagate_version = true)]
struct Line {
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
    /// Beside a media server: answer its hooks, and run relays.
    Edge {
        #[command(flatten)]
        config: Box<EdgeConfig>,
    },
    /// Bring the database's schema up to date, and end.
    Migrate {
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Ask a server for its health: exit code 0 if it serves, 1 if not.
    Health {
        #[command(flatten)]
        question: health::Question,
    },
    /// What only operators do.
    #[command(subcommand)]
    Admin(Admin),
    /// Become a program that ends with the process that started it.
    #[command(hide = true)]
    RunChild(Child),
}

/// Runs the command that the command line names.
pub fn run() -> ExitCode {
    let done = parse().and_then(|line| match line.command {
        SubCommand::Serve { config } => serve::run(&config),
        SubCommand::Edge { config } => edge::run(&config),
        SubCommand::Migrate { config } => migrate::run(&config),
        SubCommand::Health { question } => health::run(&question),
        SubCommand::Admin(command) => admin::run(command),
        SubCommand::RunChild(child) => run_child::run(&child),
    });
    telemetry::flush();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn parse() -> Result<Line, Failure> {
    let mut command = Line::command();
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(fault) => return Err(explain(&command, &fault)),
    };
    Ok(Line::from_arg_matches(&matches).unwrap_or_else(|fault| fault.exit()))
}

/// A wrong setting gets one sentence that names its variable; for the rest of
/// what clap has to say (help, versions, unknown flags) its own words are good.
fn explain(command: &Command, fault: &clap::Error) -> Failure {
    let text = |kind| match fault.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let Some(flag) = text(ContextKind::InvalidArg) else {
        fault.exit()
    };
    let name = variable(command, flag).unwrap_or_else(|| flag.to_owned());

    match fault.kind() {
        ErrorKind::ValueValidation => {
            let why = fault.source().map(ToString::to_string).unwrap_or_default();
            Failure::Usage(format!("{name} {why}"))
        }
        ErrorKind::InvalidValue => match fault.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                Failure::Usage(format!("{name} must be {}", values.join(" or ")))
            }
            _ => Failure::Usage(format!("{name} must not be empty")),
        },
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).unwrap_or_default();
            let other = variable(command, other).unwrap_or_else(|| other.to_owned());
            Failure::Usage(format!("{name} and {other} must not both be set"))
        }
        _ => fault.exit(),
    }
}

/// The variable of a setting that clap shows as `--flag <VALUE>`.
fn variable(command: &Command, shown: &str) -> Option<String> {
    let flag = shown.split([' ', '=']).next()?.strip_prefix("--")?;
    let of_this = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(flag));
    match of_this {
        Some(argument) => Some(argument.get_env()?.to_string_lossy().into_owned()),
        None => command
            .get_subcommands()
            .find_map(|inner| variable(inner, shown)),
    }
}
