use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;

use super::{copy, failure::Failure, rotate, serve::prepare};
use crate::{
    auth::ApiKeySecret,
    config::{
        Config,
        parse::{parsed, span},
    },
    database::{Database, Target},
    domain::{Act, ApiKeyId, Email, Name, NewApiKey, Origin, Scope, Scopes, UserId, now},
    repositories::{ApiKeys, Sessions, Users},
};

/// What only operators do.
#[derive(Subcommand)]
pub(super) enum Admin {
    /// Make an API key for a part of the system, and print its secret.
    CreateApiKey {
        /// `streams:publish` for media servers, `relays:work` for relay workers;
        /// may be given more than once.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// What the key is for: 1 to 100 characters.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        config: Box<Config>,
    },
    /// End the sessions of one user, or of all; print how many.
    #[command(group = clap::ArgGroup::new("whose").required(true))]
    EndSessions {
        /// The address of the user's account, in any case.
        #[arg(long, group = "whose")]
        email: Option<String>,
        /// Everybody's.
        #[arg(long, group = "whose")]
        all: bool,
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Make a new key that signs access tokens, without a restart.
    ///
    /// Needs the settings of the servers. Tokens under the keys before it work
    /// until they expire.
    RotateSigningKey {
        /// Refuse all tokens under other keys as soon as the new one signs: for
        /// a key that leaked.
        #[arg(long)]
        revoke_old: bool,
        /// When the new key begins to sign: by then every server must know it.
        #[arg(long, default_value = "10s", value_parser = span("5s", "1h"))]
        activate_after: Duration,
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Make a new key that seals secrets, and seal all of them anew under it,
    /// without a restart.
    ///
    /// Needs the settings of the servers. May be interrupted: run it again, and
    /// it goes on.
    RotateSealingKey {
        /// When the new key begins to seal: by then every server must know it.
        #[arg(long, default_value = "10s", value_parser = span("5s", "1h"))]
        activate_after: Duration,
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Copy everything into an empty database of the other engine, and print how many
    /// rows each table has.
    ///
    /// Nobody may use either database meanwhile. May be interrupted: run it again.
    Copy {
        /// The empty database: `postgres://user:password@host:port/name` or `sqlite:FILE`.
        #[arg(long, env = "SLUICE_COPY_TO", hide_env_values = true, value_parser = parsed::<Target>)]
        to: Target,
        #[command(flatten)]
        config: Box<Config>,
    },
}

/// Runs an operator's command.
pub(super) fn run(command: Admin) -> Result<(), Failure> {
    match command {
        Admin::CreateApiKey {
            scopes,
            name,
            config,
        } => operators_key(&config, &scopes, &name),
        Admin::EndSessions {
            email,
            all: _,
            config,
        } => end_sessions(&config, email.as_deref()),
        Admin::RotateSigningKey {
            revoke_old,
            activate_after,
            config,
        } => rotate::signing_key(&config, activate_after, revoke_old),
        Admin::RotateSealingKey {
            activate_after,
            config,
        } => rotate::sealing_key(&config, activate_after),
        Admin::Copy { to, config } => copy::run(&config, to),
    }
}

fn operators_key(config: &Config, scopes: &[String], name: &str) -> Result<(), Failure> {
    let scopes = scopes.iter().map(String::as_str);
    let scopes = Scopes::parse(scopes, &Scope::OF_OPERATORS)
        .map_err(|fault| Failure::Usage(format!("--scope {}", fault.0)))?;
    let name = Name::parse(name).map_err(|fault| Failure::Usage(format!("--name {}", fault.0)))?;
    prepare(config)?;

    tokio::runtime::Runtime::new()?.block_on(create_api_key(config, scopes, name))
}

async fn create_api_key(config: &Config, scopes: Scopes, name: Name) -> Result<(), Failure> {
    let database = Database::open(&config.database());
    database.migrate().await?;
    let id = ApiKeyId::generate();
    let secret = ApiKeySecret::generate(id);
    let act = Act::of_user("CreateApiKey", None, Origin::default()).on(id);
    let key = NewApiKey {
        display_name: name,
        scopes,
        project_ids: Vec::new(),
        expire_time: None,
    };

    ApiKeys::new(database.clone())
        .create(id, None, &key, &secret.hash(), &act, now())
        .await?;
    database.close().await;

    println!("{}", secret.expose());
    Ok(())
}

/// Ends the sessions of the account with an address, or without one everybody's.
fn end_sessions(config: &Config, email: Option<&str>) -> Result<(), Failure> {
    let email = email.map(Email::parse).transpose();
    let email = email.map_err(|fault| Failure::Usage(format!("--email {}", fault.0)))?;
    prepare(config)?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        database.migrate().await?;
        let sessions = Sessions::new(database.clone());
        let ended = match email {
            None => {
                sessions
                    .revoke_everybodys(&by_operator(None), now())
                    .await?
            }
            Some(email) => {
                let found = Users::new(database.clone()).find_by_email(&email).await?;
                let (user, _) = found.context("no account has this address")?;
                let act = by_operator(Some(user.id));
                let ended = sessions.revoke_all(user.id, None, &act, now()).await?;
                ended.len()
            }
        };
        database.close().await;

        println!("{ended} sessions ended");
        Ok(())
    })
}

fn by_operator(user_id: Option<UserId>) -> Act {
    Act::of_user("EndSessions", user_id, Origin::default())
}
