use crate::{
    database::Transaction,
    domain::{ProjectId, StreamId},
    error::{Error, Result},
};

/// Locks the project of a stream and takes its next revision; returns both.
pub(super) async fn lock_project_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<(ProjectId, i64)> {
    fetch_optional!(
        tx,
        "update projects
         set revision = revision + 1
         where id = (select project_id from streams where id = $1)
         returning id, revision",
        [id]
    )?
    .ok_or_else(|| Error::not_found("stream", id))
}

/// The same, unless another transaction has locked the project.
pub(super) async fn try_lock_project_of(
    tx: &mut Transaction,
    id: StreamId,
) -> Result<Option<(ProjectId, i64)>> {
    // SQLite has one writer: no other transaction can have locked the project.
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
    fetch_optional!(tx, sql, [id])
}
