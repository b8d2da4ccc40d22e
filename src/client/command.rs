use clap::Subcommand;

use super::{
    account::{self, Login, Logout, Signup},
    api_keys::{self, KeyCommand},
    audit,
    destinations::{self, DestinationCommand},
    email::{self, EmailCommand},
    error::ClientError,
    export,
    factors::{self, FactorCommand},
    invitations::{self, InvitationCommand},
    members::{self, MemberCommand},
    options::ClientOptions,
    organizations::{self, OrganizationCommand},
    pages::Limit,
    passkeys::{self, PasskeyCommand},
    projects::{self, ProjectCommand},
    refusals,
    relays::{self, RelayCommand},
    session::Session,
    streams::{self, StreamCommand},
    usage::{self, UsageArguments},
    watch::{self, Watch},
    webhooks::{self, WebhookCommand},
};

/// The commands that call a server as a user.
#[derive(Subcommand)]
pub enum ClientCommand {
    /// Create an account, and sign in.
    Signup(Signup),
    /// Sign in: keep a session in the profile, which other commands use.
    Login(Login),
    /// Sign out: end the session of the profile.
    Logout(Logout),
    /// Show the signed-in user.
    Whoami {
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Print a valid access token, for other clients such as grpcurl.
    Token {
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Projects and their stream keys.
    Project {
        #[command(subcommand)]
        command: ProjectCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// The destinations of a project, to which its streams are sent.
    Destination {
        #[command(subcommand)]
        command: DestinationCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Streams, live and ended.
    Stream {
        #[command(subcommand)]
        command: StreamCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// The relays of a stream to its destinations.
    Relay {
        #[command(subcommand)]
        command: RelayCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// List why publishers of a project were refused.
    Refusals {
        /// The project: its id, its unique name, or the unique start of its id.
        project: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Watch a project: its stream, relays and refusals as they change.
    ///
    /// On a terminal the view is redrawn in place; otherwise each change is a line. A watch goes on
    /// after interruptions, without a gap. Ctrl-C ends it.
    Watch(Watch),
    /// Webhooks: endpoints to which the events of projects are sent.
    #[command(visible_alias = "webhooks")]
    Webhook {
        #[command(subcommand)]
        command: WebhookCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Organizations, which own projects and have members.
    #[command(visible_alias = "organizations")]
    Organization {
        #[command(subcommand)]
        command: OrganizationCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// The members of organizations, and their roles.
    #[command(visible_alias = "members")]
    Member {
        #[command(subcommand)]
        command: MemberCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Invitations to organizations.
    #[command(visible_alias = "invitations")]
    Invitation {
        #[command(subcommand)]
        command: InvitationCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// API keys of the signed-in user, or of an organization, for programs.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Authenticators of the signed-in user, whose codes complete a sign-in, and recovery codes.
    Factor {
        #[command(subcommand)]
        command: FactorCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Passkeys of the signed-in user, which sign in without a password.
    Passkey {
        #[command(subcommand)]
        command: PasskeyCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// The e-mail address of the signed-in user.
    Email {
        #[command(subcommand)]
        command: EmailCommand,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// List the audit log of the signed-in user, or with --organization that of an organization.
    Audit {
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// How long projects streamed, and how much was delivered.
    Usage {
        #[command(flatten)]
        usage: UsageArguments,
        #[command(flatten)]
        options: ClientOptions,
    },
    /// Print all data of the signed-in user, without secrets: a line of JSON for each record.
    Export {
        #[command(flatten)]
        options: ClientOptions,
    },
}

/// Runs a command.
pub async fn run(command: ClientCommand) -> Result<(), ClientError> {
    match command {
        ClientCommand::Signup(arguments) => account::signup(&arguments).await,
        ClientCommand::Login(arguments) => account::login(&arguments).await,
        ClientCommand::Logout(arguments) => account::logout(&arguments).await,
        ClientCommand::Whoami { options } => account::whoami(&options).await,
        ClientCommand::Token { options } => account::token(&options).await,
        ClientCommand::Project { command, options } => {
            projects::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Destination { command, options } => {
            destinations::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Stream { command, options } => {
            streams::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Relay { command, options } => {
            relays::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Refusals {
            project,
            limit,
            options,
        } => refusals::print(&Session::open(&options)?, &project, &limit).await,
        ClientCommand::Watch(arguments) => watch::run(&arguments).await,
        ClientCommand::Webhook { command, options } => {
            webhooks::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Organization { command, options } => {
            organizations::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Member { command, options } => {
            members::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Invitation { command, options } => {
            invitations::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Key { command, options } => {
            api_keys::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Factor { command, options } => {
            factors::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Passkey { command, options } => {
            passkeys::run(&Session::open(&options)?, command).await
        }
        ClientCommand::Email { command, options } => email::run(&options, command).await,
        ClientCommand::Usage { usage, options } => {
            usage::print(&Session::open(&options)?, &usage).await
        }
        ClientCommand::Export { options } => export::print(&Session::open(&options)?).await,
        ClientCommand::Audit { limit, options } => {
            audit::print(&Session::open(&options)?, &limit).await
        }
    }
}
