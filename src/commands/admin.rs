use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    admin_output::Output,
    error::CommandError,
    migrate::{require_database, with_database},
    operator::{self, OperatorCommand},
    progress::counter,
    rotate,
    serve::prepare,
    settings::{resolve, resolve_both},
};
use crate::{
    auth::ApiKeySecret,
    client::{ClientError, ExitClass},
    config::{Config, CopyTarget, DataSettings, Resolved, Settings, parse::duration},
    database::{self, CopiedTable, CopyError, Database, DatabaseOptions, SettingNames, Target},
    domain::{
        ApiKeyId, AuditContext, Email, Invalid, Name, NodeId, RequestOrigin, Scope, Scopes, User,
        now,
    },
    proto::v1 as pb,
    repositories::{
        Created, NewOperatorKey, NewSecret, OperatorKeys, SecondFactors, Sessions, Users,
    },
    services::key_message,
};

/// Commands for operators.
///
/// Those with the settings of the database are maintenance: they need no server, no operator key,
/// and work while nobody can sign in. All others call a server, with an operator key.
#[derive(Subcommand)]
pub(super) enum Admin {
    #[command(flatten)]
    Operator(OperatorCommand),
    /// Create an operator key at the database, and print its secret: the first key, and keys of
    /// media servers and relay workers until there is one with the scope `operator:write`.
    ///
    /// From then on, use `create-operator-key`, which needs that key and is audited under its name.
    CreateApiKey {
        /// `streams:publish` for media servers, `relays:work` for relay workers, `operator:read`
        /// and `operator:write` for operators; repeatable.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// The name of the key: 1 to 100 characters.
        #[arg(long)]
        name: String,
        /// The media server that the key is bound to. It then reports, and gets relays, for this
        /// one only.
        #[arg(long)]
        node_id: Option<String>,
        /// Create the key although there is one with the scope `operator:write`: when all of
        /// those are lost.
        #[arg(long)]
        break_glass: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
    /// End the sessions of one user or of all users, and print their number.
    #[command(group = clap::ArgGroup::new("whose").required(true))]
    EndSessions {
        /// The e-mail address of the user's account, case-insensitive.
        #[arg(long, group = "whose")]
        email: Option<String>,
        /// End the sessions of all users.
        #[arg(long, group = "whose")]
        all: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
    /// Remove the second factors of a user who has lost all authenticators, passkeys and recovery
    /// codes, and print their number. Make sure that it is the owner of the account who asks.
    RemoveSecondFactors {
        /// The e-mail address of the user's account, case-insensitive.
        #[arg(long)]
        email: String,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
    /// Rotate the key that signs access tokens, without a restart.
    ///
    /// Needs the settings of the servers. Tokens signed with earlier keys remain valid until they
    /// expire.
    RotateSigningKey {
        /// Refuse all tokens signed with other keys as soon as the new key is active: for a leaked
        /// key.
        #[arg(long)]
        revoke_old: bool,
        /// The delay before the new key signs. By then every server must know it.
        #[arg(long, default_value = "10s", value_parser = duration("5s", "1h"))]
        activate_after: Duration,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
    /// Rotate the key that encrypts secrets at rest, and encrypt all of them again, without a
    /// restart.
    ///
    /// Needs the settings of the servers. After an interruption, run it again to continue.
    RotateSealingKey {
        /// The delay before the new key encrypts. By then every server must know it.
        #[arg(long, default_value = "10s", value_parser = duration("5s", "1h"))]
        activate_after: Duration,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
    /// Copy all data into an empty database of the other engine, and print the number of rows of
    /// each table.
    ///
    /// Neither database may be used during the copy. After an interruption, run it again.
    Copy {
        #[command(flatten)]
        target: Settings<CopyTarget>,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: Settings<Config, DataSettings>,
    },
}

/// Runs a command for operators.
pub(super) fn run(command: Admin) -> Result<(), CommandError> {
    match command {
        Admin::Operator(command) => operator::run(command),
        Admin::CreateApiKey {
            scopes,
            name,
            node_id,
            break_glass,
            output,
            settings,
        } => {
            let key = FirstKey::parse(&scopes, &name, node_id.as_deref());
            let settings = resolve(settings)?;
            create_operator_key(&settings, key?, break_glass, output)
        }
        Admin::EndSessions {
            email,
            output,
            settings,
            ..
        } => end_sessions(&resolve(settings)?, email.as_deref(), output),
        Admin::RemoveSecondFactors {
            email,
            output,
            settings,
        } => remove_second_factors(&resolve(settings)?, &email, output),
        Admin::RotateSigningKey {
            revoke_old,
            activate_after,
            output,
            settings,
        } => rotate::signing_key(&resolve(settings)?, activate_after, revoke_old, output),
        Admin::RotateSealingKey {
            activate_after,
            output,
            settings,
        } => rotate::sealing_key(&resolve(settings)?, activate_after, output),
        Admin::Copy {
            target,
            output,
            settings,
        } => {
            let (target, settings) = resolve_both(target, settings)?;
            copy(&settings, target.config.to, output)
        }
    }
}

/// The arguments of an operator key.
struct FirstKey {
    scopes: Scopes,
    name: Name,
    node_id: Option<NodeId>,
}

impl FirstKey {
    fn parse(scopes: &[String], name: &str, node_id: Option<&str>) -> Result<Self, CommandError> {
        let scopes = scopes.iter().map(String::as_str);
        let scopes = argument("--scope", Scopes::parse(scopes, &Scope::OPERATOR_SCOPES))?;
        let name = argument("--name", Name::parse(name))?;
        let node_id = argument("--node-id", node_id.map(NodeId::parse).transpose())?;
        let is_of_node = scopes.iter().all(|one| Scope::NODE_SCOPES.contains(&one));
        if node_id.is_some() && !is_of_node {
            let sentence = "--node-id needs a key whose scopes are streams:publish or relays:work";
            return Err(CommandError::Usage(sentence.to_owned()));
        }
        Ok(Self {
            scopes,
            name,
            node_id,
        })
    }
}

/// Creates a key at the database, unless an operator could create it at a server.
fn create_operator_key(
    settings: &Resolved<Config>,
    key: FirstKey,
    break_glass: bool,
    output: Output,
) -> Result<(), CommandError> {
    prepare(settings)?;

    let id = ApiKeyId::generate();
    let secret = ApiKeySecret::generate(id);
    let origin = RequestOrigin::default();
    let audit = AuditContext::for_user("CreateOperatorKey", None, origin).with_resource(id);
    let key = NewOperatorKey {
        id,
        display_name: key.name,
        scopes: key.scopes,
        node_id: key.node_id,
        expire_time: None,
        secret: NewSecret {
            hash: secret.hash(),
            repeatable: None,
        },
    };

    let created = with_database(&settings.config, async |database| {
        let keys = OperatorKeys::new(database.clone());
        if !break_glass && keys.has_active(Scope::OperatorWrite, now()).await? {
            return Err(CommandError::Client(ClientError::new(
                ExitClass::Conflict,
                "an operator key with the scope operator:write exists: use it with `sluice admin \
                 create-operator-key`, or if it is lost, repeat this command with --break-glass",
            )));
        }
        Ok(keys.create(&key, &audit, now()).await?)
    })?;

    let (Created::New(created) | Created::Existing(created)) = created;
    let created = pb::CreateOperatorKeyResponse {
        operator_key: Some(key_message(created, now())),
        secret: secret.expose().to_owned(),
    };
    let printed = output.output.print_text(&created, &created.secret);
    printed.map_err(CommandError::Client)
}

/// The value of an argument. The error names the argument.
fn argument<T>(flag: &str, value: Result<T, Invalid>) -> Result<T, CommandError> {
    value.map_err(|invalid| CommandError::Usage(format!("{flag} {}", invalid.0)))
}

/// Ends the sessions of one account, or of all without an address.
fn end_sessions(
    settings: &Resolved<Config>,
    email: Option<&str>,
    output: Output,
) -> Result<(), CommandError> {
    let email = argument("--email", email.map(Email::parse).transpose())?;
    prepare(settings)?;

    let audit_of = |user| AuditContext::for_user("EndSessions", user, RequestOrigin::default());
    let ended = with_database(&settings.config, async |database| {
        let sessions = Sessions::new(database.clone());
        let Some(email) = email else {
            return Ok(sessions.revoke_all_users(&audit_of(None), now()).await?);
        };
        let user = user_of(database, &email).await?;
        let audit = audit_of(Some(user.id));
        let ended = sessions.revoke_all(user.id, None, &audit, now()).await?;
        Ok(ended.len())
    })?;

    let line = format!("{ended} sessions ended");
    output.print(&[line], &json!({ "endedSessions": ended }));
    Ok(())
}

/// The account of an address.
async fn user_of(database: &Database, email: &Email) -> Result<User, CommandError> {
    let found = Users::new(database.clone()).find_by_email(email).await?;
    let unknown = || ClientError::new(ExitClass::NotFound, "no account has this address");
    let (user, _) = found.ok_or_else(unknown).map_err(CommandError::Client)?;
    Ok(user)
}

/// Removes the second factors of the account of an address.
fn remove_second_factors(
    settings: &Resolved<Config>,
    email: &str,
    output: Output,
) -> Result<(), CommandError> {
    let email = argument("--email", Email::parse(email))?;
    prepare(settings)?;

    let removed = with_database(&settings.config, async |database| {
        let user = user_of(database, &email).await?;
        let origin = RequestOrigin::default();
        let audit = AuditContext::for_user("RemoveSecondFactors", Some(user.id), origin);
        let factors = SecondFactors::new(database.clone());
        Ok(factors.remove_all(user.id, &audit, now()).await?)
    })?;

    let line = format!("{removed} second factors removed");
    output.print(&[line], &json!({ "removedSecondFactors": removed }));
    Ok(())
}

/// Copies the configured database to another one.
fn copy(settings: &Resolved<Config>, to: Target, output: Output) -> Result<(), CommandError> {
    let config = &settings.config;
    prepare(settings)?;
    require_database(config)?;
    let from = config.database();
    let to = to.with_pooler(config.db_pooler);
    let to = DatabaseOptions {
        target: to.with_settings(SettingNames::url("SLUICE_COPY_TO")),
        ..from.clone()
    };

    let bar = counter("copying");
    let progress = |table: &str, rows: u64| {
        bar.set_message(format!("copying {table}"));
        bar.set_position(rows);
    };
    let copied = tokio::runtime::Runtime::new()?.block_on(database::copy(&from, &to, progress));
    bar.finish_and_clear();
    let copied = copied.map_err(|error| match error {
        CopyError::SameEngine(_) | CopyError::Pooled => CommandError::Usage(error.to_string()),
        other => other.into(),
    })?;
    output.print(&copied_lines(&copied), &copied_document(&copied));
    Ok(())
}

fn copied_lines(copied: &[CopiedTable]) -> Vec<String> {
    let tables = copied.iter();
    let mut lines: Vec<_> = tables
        .map(|table| format!("{:<20} {:>12}", table.name, table.rows))
        .collect();
    lines.push(format!("{:<20} {:>12}", "all rows", all_rows(copied)));
    lines.push("the target has the same contents as the source".to_owned());
    lines.push(
        "keys are not in the database: configure the servers of the target with the same \
         SLUICE_JWT_SECRET or SLUICE_JWT_KEY_FILES, and SLUICE_SEALING_KEYS, or the files \
         jwt.secret and sealing.key of the data directory"
            .to_owned(),
    );
    lines
}

fn copied_document(copied: &[CopiedTable]) -> Value {
    let tables = copied.iter();
    let tables = tables.map(|table| json!({ "name": table.name, "rows": table.rows }));
    json!({ "tables": tables.collect::<Vec<_>>(), "rows": all_rows(copied) })
}

fn all_rows(copied: &[CopiedTable]) -> u64 {
    copied.iter().map(|table| table.rows).sum()
}
