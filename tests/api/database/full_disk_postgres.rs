//! A full disk below PostgreSQL: tables that cannot grow, and a log that cannot.

use std::collections::BTreeSet;

use sluice::proto::v1 as pb;
use tonic::Code;

use crate::harness::{
    FullDisk, PostgresServer, Refusal, TestServer, User, eventually, refused, until_available,
};

/// Calls fail soon while the database is away.
const FLAGS: [&str; 2] = ["--caller-rate=0", "--db-acquire-timeout=3s"];

/// A server, and a user whose writes need space.
struct Fixture {
    postgres: PostgresServer,
    server: TestServer,
    user: User,
    /// The ids of the projects whose creation was acknowledged.
    acknowledged: BTreeSet<String>,
}

impl Fixture {
    async fn start() -> Self {
        let disk = FullDisk::for_postgres().await;
        let postgres = PostgresServer::start_on(disk).await;
        let server = TestServer::start_on(postgres.database(), &FLAGS).await;
        let user = server.user().await;
        let mut fixture = Self {
            postgres,
            server,
            user,
            acknowledged: BTreeSet::new(),
        };
        // A new file of the log, with room for thousands of writes.
        fixture.postgres.switch_log().await;
        fixture.create().await.unwrap();
        fixture
    }

    /// Creates a project.
    async fn create(&mut self) -> Result<(), Refusal> {
        let mut projects = self.user.client.project.clone();
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            ..Default::default()
        };
        let created = match projects.create_project(request).await {
            Ok(created) => created.into_inner().project.unwrap(),
            failed => return Err(refused(failed)),
        };
        self.acknowledged.insert(created.id);
        Ok(())
    }

    /// The ids of all projects.
    async fn stored(&self) -> BTreeSet<String> {
        let list = async || {
            let mut projects = self.user.client.project.clone();
            let request = pb::ListProjectsRequest {
                page_size: 200,
                ..Default::default()
            };
            projects.list_projects(request).await
        };
        let answer = until_available(list).await.unwrap().into_inner();
        assert_eq!(answer.next_page_token, "");
        answer.projects.into_iter().map(|one| one.id).collect()
    }
}

#[tokio::test]
async fn on_a_full_disk_of_postgres_writes_are_refused_and_reads_work_until_there_is_space_again() {
    let mut fixture = Fixture::start().await;

    fixture.postgres.disk().fill();
    // There is room in the blocks that the tables have.
    let refusal = eventually("a table cannot grow", async || fixture.create().await.err()).await;
    assert_eq!(refusal.class(), (Code::ResourceExhausted, "STORAGE_FULL"));
    assert_eq!(fixture.stored().await, fixture.acknowledged);

    fixture.postgres.disk().free();
    fixture.create().await.unwrap();
    assert_eq!(fixture.stored().await, fixture.acknowledged);
    fixture.postgres.crash().await;
    assert_eq!(fixture.stored().await, fixture.acknowledged);
}

/// PostgreSQL ends all sessions if it cannot write its log, and then itself.
#[tokio::test]
async fn a_log_of_postgres_that_cannot_grow_makes_calls_unavailable_and_loses_no_write() {
    let mut fixture = Fixture::start().await;

    fixture.postgres.disk().fill();
    let refusal = eventually("the log cannot grow", async || {
        let created = fixture.create().await;
        fixture.postgres.switch_log().await;
        let refusal = created.err()?;
        (refusal.class() != (Code::ResourceExhausted, "STORAGE_FULL")).then_some(refusal)
    })
    .await;
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));

    fixture.postgres.disk().free();
    fixture.postgres.start_if_stopped().await;
    eventually("writes succeed again", async || fixture.create().await.ok()).await;
    let stored = fixture.stored().await;
    let lost: Vec<_> = fixture.acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // With the same server, and the same connections to it.
    fixture.server.stop().await;
}
