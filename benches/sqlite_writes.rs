//! The gain of group commit on SQLite.
//!
//! `cargo bench --bench sqlite_writes` creates projects in a new SQLite database: by one
//! writer, so that each commit has its own sync, and by 64 concurrent writers. It does so
//! three times, and prints the medians and their ratio.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sluice::{
    database::{Database, DatabaseOptions, Target},
    domain::{
        AuditContext, Email, Name, ProjectId, PublishConflictPolicy, ReconnectWindow,
        RequestOrigin, SealedStreamKey, Tenant, UserId, now,
    },
    repositories::{NewProject, NewUser, Projects, Users},
};
use tokio::task::JoinSet;

/// The number of concurrent writers.
const WRITERS: usize = 64;

/// The duration of a round.
const ROUND_TIME: Duration = Duration::from_secs(3);

/// Rounds of each kind.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
    let database = open(&directory.path().join("sluice.db"));
    database.migrate().await?;
    let user = user(&database).await?;
    let (mut ones, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ones.push(rate(&database, user, 1).await?);
        many.push(rate(&database, user, WRITERS).await?);
    }
    let (one, many) = (median(ones), median(many));
    println!("one writer         {one:>8.0} projects a second");
    println!("{WRITERS} writers         {many:>8.0} projects a second");
    println!("ratio              {:>8.1}", many / one);
    database.close().await;
    Ok(())
}

fn open(file: &Path) -> Database {
    Database::open(&DatabaseOptions {
        target: Target::Sqlite(file.to_owned()),
        pool_size: 4,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(6),
        slow_query: Duration::from_secs(1),
    })
}

async fn user(database: &Database) -> anyhow::Result<UserId> {
    let user = NewUser {
        id: UserId::generate(),
        email: Email::parse("ada@example.com").map_err(|fault| anyhow::anyhow!(fault.0))?,
        display_name: Name::parse("Ada").map_err(|fault| anyhow::anyhow!(fault.0))?,
        password_hash: String::new(),
        idempotency: None,
        verify: false,
    };
    let users = Users::new(database.clone());
    Ok(users.create(&user, &act(user.id), now()).await?.id)
}

fn act(user: UserId) -> AuditContext {
    AuditContext::for_user("CreateProject", Some(user), RequestOrigin::default())
}

/// The projects per second of this number of writers.
async fn rate(database: &Database, user: UserId, writers: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut writing = JoinSet::new();
    for _ in 0..writers {
        let projects = Projects::new(database.clone());
        writing.spawn(async move {
            let mut count = 0_u32;
            while begun.elapsed() < ROUND_TIME {
                create(&projects, user).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(written) = writing.join_next().await {
        count += written??;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

async fn create(projects: &Projects, user: UserId) -> anyhow::Result<()> {
    let id = ProjectId::generate();
    let tenant = Tenant {
        user,
        restricted_to: None,
    };
    let project = NewProject {
        id,
        display_name: Name::parse("Show").map_err(|fault| anyhow::anyhow!(fault.0))?,
        reconnect_window: ReconnectWindow::default(),
        publish_conflict_policy: PublishConflictPolicy::RejectNew,
        stream_key: SealedStreamKey {
            hash: id.uuid().as_bytes().to_vec(),
            sealed: vec![0; 80],
            hint: "abcd".to_owned(),
        },
        idempotency: None,
    };
    projects.create(tenant, &project, &act(user), now()).await?;
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
