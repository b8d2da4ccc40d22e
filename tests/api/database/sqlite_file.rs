//! The file of SQLite, which somebody deletes, replaces or empties.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Process, Sqlite, TestDatabase, TestServer, refused};

fn file(database: &TestDatabase, suffix: &str) -> PathBuf {
    let name = format!("sluice.db{suffix}");
    database.directory.path().join(name)
}

fn new_project() -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    }
}

#[rstest]
#[case::deleted(false)]
#[case::replaced(true)]
#[tokio::test]
async fn no_write_is_acknowledged_after_the_file_was_moved_away_until_it_is_back(
    #[case] replaced: bool,
) {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    ada.project().await;
    let (path, elsewhere) = (
        file(&server.database, ""),
        file(&server.database, ".elsewhere"),
    );

    fs::rename(&path, &elsewhere).unwrap();
    if replaced {
        fs::copy(&elsewhere, &path).unwrap();
    }

    let mut client = ada.client.project.clone();
    // What is refused may have been executed: its repetition makes no second project.
    let request = pb::CreateProjectRequest {
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        ..new_project()
    };
    let refusal = refused(client.create_project(request.clone()).await);
    assert_eq!(refusal.class(), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    server.wait_for_health(ServingStatus::NotServing).await;
    // No new database takes its place.
    assert_eq!(path.exists(), replaced);

    fs::rename(&elsewhere, &path).unwrap();

    server.wait_for_health(ServingStatus::Serving).await;
    client.create_project(request).await.unwrap();
    let server = server.restart().await;
    let projects = server
        .database
        .number("select count(*) from projects")
        .await;
    assert_eq!(projects, 2);
}

/// Runs `sluice migrate`; returns its exit code and its last line.
async fn migrate(database: &TestDatabase) -> (Option<i32>, String) {
    let settings = [
        ("DATABASE_URL", &*database.url),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
    ];
    let output = Process::run(Process::command(&["migrate"], &settings)).await;
    let last = output.stderr.lines().last().unwrap_or_default();
    (output.exit_code, last.to_owned())
}

#[tokio::test]
async fn a_new_database_and_the_files_beside_it_can_be_read_only_by_their_owner() {
    let database = TestDatabase::empty(Sqlite).await;

    let server = TestServer::start_on(database, &[]).await;
    server.user().await;

    for suffix in ["", "-wal", "-shm"] {
        let metadata = fs::metadata(file(&server.database, suffix)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{suffix}");
    }
    let names = fs::read_dir(server.database.directory.path()).unwrap();
    let drafts = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy().contains(".new")
    });
    assert_eq!(drafts.count(), 0);
}

#[tokio::test]
async fn an_emptied_database_is_not_taken_for_a_new_one() {
    let database = TestDatabase::empty(Sqlite).await;
    assert_eq!(migrate(&database).await.0, Some(0));
    fs::write(file(&database, ""), "").unwrap();

    let (code, error) = migrate(&database).await;

    assert_eq!(code, Some(1), "{error}");
    let path = file(&database, "").display().to_string();
    assert!(
        error.contains(&path) && error.contains("is empty"),
        "{error}"
    );
    assert_eq!(fs::metadata(file(&database, "")).unwrap().len(), 0);
}

#[tokio::test]
async fn a_log_without_its_database_is_not_taken_for_a_new_database() {
    let database = TestDatabase::empty(Sqlite).await;
    fs::write(file(&database, "-wal"), "some changes").unwrap();

    let (code, error) = migrate(&database).await;

    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("is missing") && error.contains("-wal"),
        "{error}"
    );
    assert!(!file(&database, "").exists());
}

/// Some make it in advance, to choose its owner.
#[tokio::test]
async fn an_empty_file_that_no_server_has_used_becomes_a_database() {
    let database = TestDatabase::empty(Sqlite).await;
    fs::write(file(&database, ""), "").unwrap();

    let (code, error) = migrate(&database).await;

    assert_eq!(code, Some(0), "{error}");
}
