//! Projects that are created and changed, on PostgreSQL several at once if several are
//! at once: one transaction, and one wait for the disk.

use std::collections::HashSet;

use sqlx::{PgExecutor, Postgres};

use super::{
    Database, NewProject, audit_log,
    engine::{Callers, Grouped, Open, Pool, Pools, Transaction},
    events::{self, NewEvent},
    failure::of_commit,
    project_reads::get_each,
};
use crate::{
    domain::{Act, Change, Project, ProjectId, ProjectUpdate, Tenant, Time, UserId},
    error::Result,
};

/// Writes of projects that go together.
#[derive(Debug, Clone)]
pub(super) struct ProjectWrites {
    pub(super) creates: Grouped<Creation, Project>,
    pub(super) updates: Grouped<Alteration, Project>,
}

/// A project that somebody creates.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) owner: UserId,
    pub(super) project: NewProject,
    pub(super) act: Act,
    pub(super) now: Time,
}

/// A project that somebody changes, in a way that ends no stream.
#[derive(Debug)]
pub(super) struct Alteration {
    pub(super) tenant: Tenant,
    pub(super) id: ProjectId,
    pub(super) update: ProjectUpdate,
    pub(super) act: Act,
    pub(super) now: Time,
}

impl ProjectWrites {
    /// Writes to this database; `None` where each write goes alone.
    pub(super) fn new(database: &Database) -> Option<Self> {
        let Pools::Postgres(pool) = &database.pools else {
            return None;
        };
        let of_creates = pool.clone();
        let (of_updates, hints) = (pool.clone(), database.hints().clone());
        Some(Self {
            creates: Grouped::writes(move |creations, callers| {
                let pool = of_creates.clone();
                Box::pin(async move { create_each(&pool, &creations, &callers).await })
            }),
            updates: Grouped::writes(move |alterations, callers| {
                let (pool, hints) = (of_updates.clone(), hints.clone());
                Box::pin(async move {
                    let mut tx = Open::begin(&pool, "begin").await?;
                    let updated = update_each(&mut tx, &alterations, &callers).await?;
                    let changed: Vec<_> = updated.iter().flatten().map(|it| it.id).collect();
                    let tell = move || changed.into_iter().for_each(|id| hints.changed(id));
                    let committed = Transaction::Postgres(tx).commit_then(tell).await;
                    committed.map_err(of_commit)?;
                    Ok(updated)
                })
            }),
        })
    }
}

async fn create_each(
    pool: &Pool<Postgres>,
    creations: &[Creation],
    callers: &Callers<Project>,
) -> Result<Vec<Option<Project>>> {
    let mut tx = Open::begin(pool, "begin").await?;
    let owners = lock_owners(&mut *tx, creations).await?;
    let created: Vec<_> = creations
        .iter()
        .enumerate()
        .map(|(number, it)| {
            let goes = owners.contains(&it.owner) && callers.is_there(number);
            goes.then(|| it.project.created(it.now))
        })
        .collect();
    let changes = || {
        let changes = creations.iter().zip(&created);
        changes.filter_map(|(it, created)| Some((it, created.as_ref()?)))
    };
    let inserted: Vec<_> = changes().map(|(it, _)| it).collect();
    insert_each(&mut *tx, &inserted).await?;
    let recorded = changes().map(|(it, project)| (project, &it.act, it.now));
    record_each(&mut tx, recorded).await?;
    let committed = Transaction::Postgres(tx).commit().await;
    committed.map_err(of_commit)?;
    Ok(created)
}

/// Those of the owners who are there to stay: one who is being deleted holds up nobody.
async fn lock_owners(
    executor: impl PgExecutor<'_>,
    creations: &[Creation],
) -> Result<HashSet<UserId>> {
    let owners: Vec<_> = creations.iter().map(|it| it.owner.uuid()).collect();
    let locked = sqlx::query_scalar(
        "select u.id
         from users u
         where u.id = any($1)
         order by u.id
         for key share skip locked",
    )
    .bind(owners)
    .fetch_all(executor)
    .await?;
    Ok(locked.into_iter().collect())
}

async fn insert_each(executor: impl PgExecutor<'_>, creations: &[&Creation]) -> Result<()> {
    let ids: Vec<_> = creations.iter().map(|it| it.project.id.uuid()).collect();
    let owners: Vec<_> = creations.iter().map(|it| it.owner.uuid()).collect();
    let projects = || creations.iter().map(|it| &it.project);
    let names: Vec<_> = projects().map(|it| it.name.as_str()).collect();
    let windows = projects().map(|it| it.reconnect_window.as_millis());
    let policies = projects().map(|it| it.publish_conflict_policy.as_str());
    let hashes: Vec<_> = projects().map(|it| &it.stream_key.hash[..]).collect();
    let sealed: Vec<_> = projects().map(|it| &it.stream_key.sealed[..]).collect();
    let hints: Vec<_> = projects().map(|it| it.stream_key.hint.as_str()).collect();
    let times: Vec<_> = creations.iter().map(|it| it.now).collect();

    sqlx::query(
        "insert into projects
             (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
              stream_key_hash, stream_key_sealed, stream_key_hint, revision,
              create_time, update_time)
         select id, owner_id, name, false, reconnect_window_ms, publish_conflict_policy,
                stream_key_hash, stream_key_sealed, stream_key_hint, 1, now, now
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[],
                     $6::bytea[], $7::bytea[], $8::text[], $9::timestamptz[])
              as asked (id, owner_id, name, reconnect_window_ms, publish_conflict_policy,
                        stream_key_hash, stream_key_sealed, stream_key_hint, now)",
    )
    .bind(ids)
    .bind(owners)
    .bind(names)
    .bind(windows.collect::<Vec<_>>())
    .bind(policies.collect::<Vec<_>>())
    .bind(hashes)
    .bind(sealed)
    .bind(hints)
    .bind(times)
    .execute(executor)
    .await?;
    Ok(())
}

/// Changes those that are theirs and that nobody else is changing; the others go alone.
async fn update_each(
    tx: &mut Open<Postgres>,
    alterations: &[Alteration],
    callers: &Callers<Project>,
) -> Result<Vec<Option<Project>>> {
    let locked = lock_each(&mut **tx, alterations).await?;
    // What stands there once they are locked: not before, as a stream may have begun.
    let asked: Vec<_> = alterations.iter().map(|it| (it.id, it.tenant)).collect();
    let found = get_each(&mut **tx, &asked).await?;

    let mut free: HashSet<_> = locked.into_iter().collect();
    let changed: Vec<Option<Project>> = alterations
        .iter()
        .zip(found)
        .enumerate()
        // Each once: a second change of the same project is not made from the same state.
        .map(|(number, (it, found))| {
            let found = found.filter(|_| callers.is_there(number));
            let found = found.filter(|project| free.remove(&project.id));
            found.map(|project| changed(project, &it.update, it.now))
        })
        .collect();

    write_each(&mut **tx, changed.iter().flatten()).await?;
    let changes = alterations.iter().zip(&changed);
    let changes = changes.filter_map(|(it, changed)| Some((changed.as_ref()?, &it.act, it.now)));
    record_each(tx, changes).await?;
    Ok(changed)
}

/// Locks those of these projects that may be theirs and that nobody has locked.
async fn lock_each(
    executor: impl PgExecutor<'_>,
    alterations: &[Alteration],
) -> Result<Vec<ProjectId>> {
    let ids: Vec<_> = alterations.iter().map(|it| it.id.uuid()).collect();
    let owners = alterations.iter().map(|it| it.tenant.user.uuid());
    Ok(sqlx::query_scalar(
        "select p.id
         from projects p
         where p.id = any($1) and p.owner_id = any($2)
         order by p.id
         for no key update skip locked",
    )
    .bind(ids)
    .bind(owners.collect::<Vec<_>>())
    .fetch_all(executor)
    .await?)
}

fn changed(project: Project, update: &ProjectUpdate, now: Time) -> Project {
    let ProjectUpdate {
        name,
        disabled,
        reconnect_window,
        publish_conflict_policy,
    } = update;
    let name = name.as_ref().map(|name| name.as_str().to_owned());
    Project {
        name: name.unwrap_or(project.name),
        disabled: disabled.unwrap_or(project.disabled),
        reconnect_window: reconnect_window.unwrap_or(project.reconnect_window),
        publish_conflict_policy: publish_conflict_policy.unwrap_or(project.publish_conflict_policy),
        revision: project.revision + 1,
        update_time: now,
        ..project
    }
}

async fn write_each(
    executor: impl PgExecutor<'_>,
    projects: impl Iterator<Item = &Project> + Clone,
) -> Result<()> {
    let ids = projects.clone().map(|it| it.id.uuid());
    let names = projects.clone().map(|it| it.name.as_str());
    let disabled = projects.clone().map(|it| it.disabled);
    let windows = projects.clone().map(|it| it.reconnect_window.as_millis());
    let policies = projects
        .clone()
        .map(|it| it.publish_conflict_policy.as_str());
    let revisions = projects.clone().map(|it| it.revision);
    let times = projects.map(|it| it.update_time);

    sqlx::query(
        "update projects as p
         set name = changed.name,
             disabled = changed.disabled,
             reconnect_window_ms = changed.reconnect_window_ms,
             publish_conflict_policy = changed.publish_conflict_policy,
             revision = changed.revision,
             update_time = changed.update_time
         from unnest($1::uuid[], $2::text[], $3::boolean[], $4::bigint[], $5::text[],
                     $6::bigint[], $7::timestamptz[])
              as changed (id, name, disabled, reconnect_window_ms, publish_conflict_policy,
                          revision, update_time)
         where p.id = changed.id",
    )
    .bind(ids.collect::<Vec<_>>())
    .bind(names.collect::<Vec<_>>())
    .bind(disabled.collect::<Vec<_>>())
    .bind(windows.collect::<Vec<_>>())
    .bind(policies.collect::<Vec<_>>())
    .bind(revisions.collect::<Vec<_>>())
    .bind(times.collect::<Vec<_>>())
    .execute(executor)
    .await?;
    Ok(())
}

/// The event of each change, and who made it.
async fn record_each<'a>(
    tx: &mut Open<Postgres>,
    changes: impl Iterator<Item = (&'a Project, &'a Act, Time)>,
) -> Result<()> {
    let (mut happened, mut done) = (Vec::new(), Vec::new());
    for (project, act, now) in changes {
        happened.push(NewEvent {
            project_id: project.id,
            revision: project.revision,
            change: Change::Project(project.clone()),
            now,
        });
        done.push((act, now));
    }
    events::record_each(&mut **tx, &happened).await?;
    audit_log::record_each(&mut **tx, &done).await
}
