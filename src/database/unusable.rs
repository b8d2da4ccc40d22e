//! Why a start fails, as sentences for operators.

use std::{fmt, path::PathBuf};

use sqlx::migrate::MigrateError;

use super::{
    connect_error::ConnectError,
    errors::{is_lost_statement, sqlite_code},
    options::SettingNames,
};
use crate::error::Error;

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`.
const DAMAGED_SQLITE_CODES: [i32; 2] = [11, 26];

/// SQLSTATEs of a user who may not create tables: `insufficient_privilege`, and
/// `invalid_schema_name` if the search path contains no schema that he may use.
const MISSING_PRIVILEGE_SQLSTATES: [&str; 2] = ["42501", "3F000"];

/// The database cannot be used until an operator changes something. The text is one sentence
/// that names the file or the setting, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableDatabase(String);

/// A database in a sentence.
#[derive(Debug)]
pub(super) enum Place {
    Postgres {
        database: String,
        settings: SettingNames,
    },
    Sqlite(PathBuf),
}

impl UnusableDatabase {
    /// The error with this sentence.
    pub(super) fn error(sentence: impl Into<String>) -> Error {
        Error::internal(Self(sentence.into()))
    }
}

impl Place {
    /// The error of a migration. `newest` is the newest one that this program has.
    pub fn explain_migration(&self, error: MigrateError, newest: i64) -> Error {
        match error {
            MigrateError::Execute(cause) => {
                self.explain_statement(cause, &format!("{self} cannot be used"))
            }
            MigrateError::ExecuteMigration(cause, version) => {
                self.explain_statement(cause, &format!("migration {version} of {self} failed"))
            }
            MigrateError::VersionMissing(version) => UnusableDatabase::error(format!(
                "{self} was migrated by a later version of Sluice: it has migration {version}, and \
                 the newest one of this version is {newest}; run the later version, or restore a \
                 backup from before the upgrade"
            )),
            MigrateError::VersionMismatch(version) => UnusableDatabase::error(format!(
                "{self} has another migration {version} than this program: a build that was never \
                 released has made it; run that build, or use a new database"
            )),
            MigrateError::Dirty(version) => UnusableDatabase::error(format!(
                "migration {version} of {self} was interrupted: restore a backup"
            )),
            other => UnusableDatabase::error(format!("{self} cannot be migrated: {other}")),
        }
    }

    /// The error of a step of the start after the migration.
    pub fn explain(&self, error: Error) -> Error {
        match error {
            Error::Internal(cause) => match cause.downcast() {
                Ok(cause) => self.explain_statement(cause, &format!("{self} cannot be used")),
                Err(cause) => Error::Internal(cause),
            },
            other => other,
        }
    }

    fn explain_statement(&self, cause: sqlx::Error, otherwise: &str) -> Error {
        if let Some(failure) = ConnectError::of(&cause) {
            return match failure.is_permanent {
                true => UnusableDatabase::error(failure.to_string()),
                false => cause.into(),
            };
        }
        if let Some(sentence) = self.remedy(&cause) {
            return UnusableDatabase::error(sentence);
        }
        let text = cause.to_string();
        match (Error::from(cause), self) {
            (Error::Internal(_), _) => UnusableDatabase::error(format!("{otherwise}: {text}")),
            (Error::DatabaseUnavailable(_), Self::Sqlite(_)) => {
                let failure = ConnectError::transient(format!("cannot open {self}: {text}"));
                Error::DatabaseUnavailable(failure.into())
            }
            (error, _) => error,
        }
    }

    /// The sentence for an error whose remedy is known.
    fn remedy(&self, cause: &sqlx::Error) -> Option<String> {
        let cause = cause.as_database_error()?;
        match self {
            Self::Sqlite(_) => {
                let code = sqlite_code(cause)?;
                DAMAGED_SQLITE_CODES.contains(&code).then(|| {
                    format!(
                        "{self} is damaged or not an SQLite database: restore it from a backup, \
                         or name another file (DATABASE_URL or SLUICE_DATA_DIR)"
                    )
                })
            }
            Self::Postgres { settings, .. } if is_lost_statement(cause) => {
                Some(undeclared_pooler(settings))
            }
            Self::Postgres { settings, .. } => {
                let code = cause.code()?;
                MISSING_PRIVILEGE_SQLSTATES.contains(&&*code).then(|| {
                    format!(
                        "the user of {} may not create or use tables in {self}: make it the owner \
                         of the database: {}",
                        settings.credentials,
                        cause.message()
                    )
                })
            }
        }
    }
}

/// The sentence for a pooler in transaction mode that no setting declares.
pub(super) fn undeclared_pooler(settings: &SettingNames) -> String {
    format!(
        "{} leads to a connection pooler in transaction mode: set SLUICE_DB_POOLER=transaction",
        settings.host
    )
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { database, settings } => {
                write!(
                    formatter,
                    "the database {database:?} ({})",
                    settings.database
                )
            }
            Self::Sqlite(file) => write!(formatter, "the database file {}", file.display()),
        }
    }
}
