//! The next revision of a stream's project.

use crate::{
    database::Transaction,
    domain::{ProjectId, StreamId},
    error::{Error, Result},
};

/// Locks a stream's project and takes its next revision; tells both.
pub(crate) async fn take_revision_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<(ProjectId, i64)> {
    on_engine!(tx, tx => sqlx::query_as::<_, (ProjectId, i64)>(
        "update projects
         set revision = revision + 1
         where id = (select project_id from streams where id = $1)
         returning id, revision",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or_else(|| Error::not_found("stream", id))
}

/// The same for a job, which leaves a project alone where somebody else is at work.
pub(crate) async fn take_free_revision_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<Option<(ProjectId, i64)>> {
    // SQLite has one writer: nobody else can be at work.
    let sql = match tx {
        Transaction::Postgres(_) => {
            "update projects
             set revision = revision + 1
             where id = (
                 select p.id
                 from streams s
                 join projects p on p.id = s.project_id
                 where s.id = $1
                 for update of p skip locked)
             returning id, revision"
        }
        Transaction::Sqlite(_) => {
            "update projects
             set revision = revision + 1
             where id = (select project_id from streams where id = $1)
             returning id, revision"
        }
    };
    Ok(
        on_engine!(tx, tx => sqlx::query_as::<_, (ProjectId, i64)>(sql)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await)?,
    )
}
