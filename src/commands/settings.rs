use std::collections::BTreeSet;

use clap::{Args, Command};

use super::error::CommandError;
use crate::{
    client::ClientOptions,
    config::{
        Config, CopyTarget, ENV_FILE, EdgeConfig, OperatorConfig, Resolved, Selection,
        SettingGroup, Settings, Variables,
    },
};

/// Reads and checks the settings of a command.
pub(super) fn resolve<C: SettingGroup, S: Selection<C>>(
    settings: Settings<C, S>,
) -> Result<Resolved<C>, CommandError> {
    let variables = Variables::load(known_variables());
    let resolved = variables.and_then(|variables| settings.resolve(&variables));
    resolved.map_err(CommandError::Settings)
}

/// Reads and checks the settings of a command that sends a credential to a server: a `.env` file has
/// no part in them.
pub(super) fn resolve_without_file<C: SettingGroup, S: Selection<C>>(
    settings: Settings<C, S>,
) -> Result<Resolved<C>, CommandError> {
    let variables = Variables::without_file(known_variables());
    settings.resolve(&variables).map_err(CommandError::Settings)
}

/// Reads and checks two groups of settings. The errors of both are reported.
pub(super) fn resolve_both<A: SettingGroup, B: SettingGroup, S: Selection<A>, T: Selection<B>>(
    one: Settings<A, S>,
    other: Settings<B, T>,
) -> Result<(Resolved<A>, Resolved<B>), CommandError> {
    match (resolve(one), resolve(other)) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(CommandError::Settings(mut errors)), Err(CommandError::Settings(others))) => {
            errors.extend(others);
            // Both report an invalid file.
            errors.dedup();
            Err(CommandError::Settings(errors))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The variables of all commands, which may share a file and an environment.
fn known_variables() -> BTreeSet<String> {
    let commands = [
        Config::augment_args(Command::new("serve")),
        EdgeConfig::augment_args(Command::new("edge")),
        CopyTarget::augment_args(Command::new("copy")),
        OperatorConfig::augment_args(Command::new("operator")),
        ClientOptions::augment_args(Command::new("client")),
    ];
    let arguments = commands.iter().flat_map(Command::get_arguments);
    let variables = arguments.filter_map(|argument| argument.get_env()?.to_str());
    variables.chain([ENV_FILE]).map(str::to_owned).collect()
}
