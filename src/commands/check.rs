//! `sluice check`: what a start of the server would need. It changes nothing.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, absolute},
};

use anyhow::Context;
use rustix::fs::{Access, access};
use tokio::{runtime::Runtime, time::timeout};

use super::{error::CommandError, migrate::describe};
use crate::{
    auth::{BreachedPasswords, Keys},
    config::{Config, EffectiveSetting, Resolved},
    database::{Database, DatabaseOptions, SchemaState, ServerLock, Target},
    domain::now,
    error::with_causes,
    mail::MailSender,
    nats::CredentialsRefused,
    repositories::KeyRecords,
    transport::{BoundSocket, ListenAddress, check_unix_socket},
};

/// The result of one check: what is so, or what a start would fail for.
pub(super) type Outcome = Result<String, String>;

/// Prints the settings in effect and the result of each check.
pub(super) fn run(settings: &Resolved<Config>) -> Result<(), CommandError> {
    let config = &settings.config;
    print_settings(&settings.effective);
    print_outcomes(&checks(config)?, settings.unknown.clone())
}

/// Prints the result of each check; an error if one has failed, or if a variable is unknown.
pub(super) fn print_outcomes(
    outcomes: &[(&'static str, Outcome)],
    unknown: Vec<String>,
) -> Result<(), CommandError> {
    let mut all_passed = true;
    for (subject, outcome) in outcomes {
        let (verdict, text) = match outcome {
            Ok(text) => ("ok", text),
            Err(text) => ("FAILED", text),
        };
        println!("{verdict:<7} {subject:<16} {text}");
        all_passed &= outcome.is_ok();
    }
    match (unknown.is_empty(), all_passed) {
        (false, _) => Err(CommandError::Settings(unknown)),
        (true, false) => Err(CommandError::Reported),
        (true, true) => Ok(()),
    }
}

/// Prints the settings in effect with their sources.
pub(super) fn print_settings(effective: &[EffectiveSetting]) {
    for setting in effective {
        let assignment = format!("{}={}", setting.name, setting.value);
        println!("{assignment:<60} # {}", setting.source);
    }
    println!();
}

fn checks(config: &Config) -> Result<Vec<(&'static str, Outcome)>, CommandError> {
    let runtime = Runtime::new()?;
    let _context = runtime.enter();
    let operations = config.observability.operations_listen.0;
    Ok(vec![
        (
            "data directory",
            check_directory(&config.data_dir, "SLUICE_DATA_DIR"),
        ),
        ("keys", check_keys(config)),
        ("certificate", check_certificate(config)),
        ("API address", check_addresses(&config.listen)),
        (
            "operations port",
            match operations {
                Some(address) => {
                    check_address(&ListenAddress::Tcp(address), "SLUICE_OPERATIONS_LISTEN")
                }
                None => Ok("off".to_owned()),
            },
        ),
        ("breached passwords", check_breached_passwords(config)),
        ("mail", check_mail(config)),
        ("NATS", runtime.block_on(check_nats(config))),
        ("log file", check_log_file(config)),
        ("database", runtime.block_on(check_database(config))),
    ])
}

/// The directory of a setting, or the one in which it would be created, must be writable.
pub(super) fn check_directory(directory: &Path, variable: &str) -> Outcome {
    let shown = absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let mut ancestors = shown.ancestors();
    let Some(existing) = ancestors.find(|ancestor| ancestor.exists()) else {
        return Err(format!("{} does not exist ({variable})", shown.display()));
    };
    let metadata = fs::metadata(existing);
    let metadata = metadata.map_err(|error| format!("{}: {error}", existing.display()))?;
    let is_usable =
        metadata.is_dir() && access(existing, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match (is_usable, existing == shown) {
        (false, _) => Err(format!(
            "{} is not a writable directory ({variable})",
            existing.display()
        )),
        (true, true) => Ok(shown.display().to_string()),
        (true, false) => Ok(format!("{} would be created", shown.display())),
    }
}

/// Keys in the settings and in files must be usable; missing ones must be allowed to be generated.
fn check_keys(config: &Config) -> Outcome {
    let missing = config.keys().files_to_generate();
    if missing.is_empty() {
        let keys = Keys::load(&config.existing_keys()).map_err(sentence)?;
        return Ok(format!(
            "secrets are sealed with {}",
            keys.sealer.first_root_id()
        ));
    }
    let missing: Vec<_> = missing
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    Ok(format!("would be generated: {}", missing.join(", ")))
}

fn check_certificate(config: &Config) -> Outcome {
    let Some(files) = config.transport.tls() else {
        return Ok("no TLS".to_owned());
    };
    files.check().map_err(|error| with_causes(&*error))?;
    match files.expire_time() {
        Some(time) if time <= now() => Err(format!(
            "SLUICE_TLS_CERT has expired at {}",
            time.to_rfc3339()
        )),
        Some(time) => Ok(format!("valid until {}", time.to_rfc3339())),
        None => Err("SLUICE_TLS_CERT has no readable validity".to_owned()),
    }
}

/// All of the addresses must be free; the error is about the first that is not.
fn check_addresses(addresses: &[ListenAddress]) -> Outcome {
    let checks = addresses.iter();
    let checks = checks.map(|address| check_address(address, "SLUICE_LISTEN"));
    Ok(checks.collect::<Result<Vec<_>, _>>()?.join(", "))
}

fn check_address(address: &ListenAddress, variable: &str) -> Outcome {
    let checked = match address {
        // A port that was bound for a moment leaves nothing behind; a socket would leave a file.
        ListenAddress::Tcp(_) => BoundSocket::bind(address).map(drop),
        ListenAddress::Unix(path) => check_unix_socket(path),
    };
    let Err(error) = checked else {
        return Ok(address.to_string());
    };
    let cause = error.downcast_ref::<io::Error>();
    match cause.is_some_and(|cause| cause.kind() == ErrorKind::AddrInUse) {
        true => Err(format!(
            "{address} is in use, perhaps by a running server ({variable})"
        )),
        false => Err(format!(
            "cannot listen on {address} ({variable}): {}",
            with_causes(&*error)
        )),
    }
}

/// The file of breached passwords must have its format.
fn check_breached_passwords(config: &Config) -> Outcome {
    match &config.breached_passwords {
        None => Ok("not checked".to_owned()),
        Some(file) => match BreachedPasswords::open(file).context("SLUICE_BREACHED_PASSWORDS") {
            Ok(_) => Ok(file.display().to_string()),
            Err(error) => Err(sentence(error)),
        },
    }
}

/// The transport of mail must be usable. No message is sent.
fn check_mail(config: &Config) -> Outcome {
    match MailSender::open(config.mail()).context("SLUICE_MAIL") {
        Ok(Some(_)) => Ok("on".to_owned()),
        Ok(None) => Ok("off".to_owned()),
        Err(error) => Err(sentence(error)),
    }
}

/// The files of its settings must be usable, and a server that answers must accept the credentials.
/// A start does not need an answer.
async fn check_nats(config: &Config) -> Outcome {
    let Some(nats) = config.nats() else {
        return Ok("off".to_owned());
    };
    nats.check().map_err(sentence)?;
    let addresses = nats.servers.addresses();
    match nats.try_connect().await {
        Ok(()) => Ok(format!("{addresses} answers")),
        Err(error) if error.is::<CredentialsRefused>() => Err(format!("{addresses}: {error:#}")),
        Err(error) => Ok(format!(
            "{addresses} does not answer: a server starts without it ({error:#})"
        )),
    }
}

/// The log file must be writable, or the directory in which it would be created.
fn check_log_file(config: &Config) -> Outcome {
    let Some(file) = config.log().file else {
        return Ok("none, the log is written to standard error".to_owned());
    };
    match file.check().context("SLUICE_LOG_FILE cannot be opened") {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err(sentence(error)),
    }
}

/// The database must be reachable and not in use by another server on SQLite; its schema must be
/// one that this version can migrate; and the keys must be those of its secrets.
async fn check_database(config: &Config) -> Outcome {
    let options = config.database();
    if let Target::Sqlite(file) = &options.target {
        ServerLock::check(file).map_err(sentence)?;
    }
    let database = Database::open(&options);
    let shown = location(&options, config.database_variable());
    if database.needs_file().map_err(sentence)? {
        return Ok(format!("{shown} would be created"));
    }
    let limit = options.acquire_timeout + options.statement_timeout;
    let state = timeout(limit, database.schema_state()).await;
    let state = state.map_err(|_| format!("{shown}: no answer in time"))?;
    let state = state.map_err(sentence)?;
    let described = format!("{shown} {}", describe(state));
    match state {
        SchemaState::Missing => Ok(described),
        SchemaState::Outdated(_) => Ok(format!("{described}, or start the server, which migrates")),
        SchemaState::Current => {
            check_database_keys(config, &database).await?;
            Ok(described)
        }
    }
}

/// The keys of the settings must open what is sealed in the database.
async fn check_database_keys(config: &Config, database: &Database) -> Result<(), String> {
    let records = KeyRecords::new(database.clone()).list().await;
    let records = records.map_err(sentence)?;
    let missing = config.keys().files_to_generate();
    if let (Some(record), Some(file)) = (
        records.iter().find(|record| record.is_needed_root(now())),
        missing.iter().find(|file| file.ends_with("sealing.key")),
    ) {
        return Err(format!(
            "{} is missing, and the database needs the key {}: put the file back, or set \
             SLUICE_SEALING_KEYS",
            file.display(),
            record.id
        ));
    }
    if !missing.is_empty() {
        return Ok(());
    }
    let keys = Keys::load(&config.existing_keys()).map_err(sentence)?;
    let checked = keys.check_roots(&records, now());
    let usable = checked.and_then(|()| keys.update(&records));
    usable.map_err(sentence)
}

/// The place of the database, without a password.
fn location(options: &DatabaseOptions, variable: &str) -> String {
    match &options.target {
        Target::Sqlite(file) => {
            let file = absolute(file).unwrap_or_else(|_| file.clone());
            format!("{} ({variable})", file.display())
        }
        Target::Postgres(servers) => format!("{} ({variable})", servers.addresses()),
    }
}

/// The sentence with which a command would fail.
fn sentence(error: impl Into<CommandError>) -> String {
    error.into().to_string()
}
