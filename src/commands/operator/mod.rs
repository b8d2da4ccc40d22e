//! The commands for operators that call OperatorService, with one file per kind of resource.

mod audit;
mod client;
mod fleet;
mod keys;
mod organizations;
mod quotas;
mod tables;
mod users;

use clap::Subcommand;

use super::error::CommandError;

/// Commands for operators that call a server. They need an operator key.
#[derive(Subcommand)]
pub(super) enum OperatorCommand {
    #[command(flatten)]
    Keys(keys::KeyCommand),
    #[command(flatten)]
    Users(users::UserCommand),
    #[command(flatten)]
    Organizations(organizations::OrganizationCommand),
    #[command(flatten)]
    Quotas(quotas::QuotaCommand),
    #[command(flatten)]
    Fleet(fleet::FleetCommand),
    #[command(flatten)]
    Audit(audit::AuditCommand),
}

/// Runs a command that calls a server.
pub(super) fn run(command: OperatorCommand) -> Result<(), CommandError> {
    match command {
        OperatorCommand::Keys(command) => keys::run(command),
        OperatorCommand::Users(command) => users::run(command),
        OperatorCommand::Organizations(command) => organizations::run(command),
        OperatorCommand::Quotas(command) => quotas::run(command),
        OperatorCommand::Fleet(command) => fleet::run(command),
        OperatorCommand::Audit(command) => audit::run(command),
    }
}
