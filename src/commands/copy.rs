use super::{failure::Failure, serve::prepare};
use crate::{
    config::Config,
    database::{CopiedTable, CopyFailure, DatabaseOptions, Target, copy},
};

/// Copies the database of the settings to another one.
pub(super) fn run(config: &Config, to: Target) -> Result<(), Failure> {
    prepare(config)?;
    let from = config.database();
    let to = DatabaseOptions {
        target: to,
        ..from.clone()
    };

    let copied = tokio::runtime::Runtime::new()?.block_on(copy(&from, &to));
    let copied = copied.map_err(|failure| match failure {
        CopyFailure::SameEngine(_) => Failure::Usage(failure.to_string()),
        other => other.into(),
    })?;
    show(&copied);
    Ok(())
}

fn show(copied: &[CopiedTable]) {
    for table in copied {
        println!("{:<20} {:>12}", table.name, table.rows);
    }
    let all: u64 = copied.iter().map(|table| table.rows).sum();
    println!("{:<20} {all:>12}", "all rows");
    println!("the target holds the same as the source");
    println!(
        "keys are not in a database: give the servers of the target the same \
         SLUICE_JWT_SECRET or SLUICE_JWT_KEY_FILES, and SLUICE_SEALING_KEYS, or the files \
         jwt.secret and sealing.key of the data directory"
    );
}
