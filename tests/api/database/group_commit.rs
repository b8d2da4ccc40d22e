use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, transport::Endpoint};
use uuid::Uuid;

use crate::{
    auth::calls::sign_up,
    harness::{Client, Process, Signal, Sqlite, TestDatabase, TestServer, eventually, refused},
};

fn show() -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

type Created = (pb::CreateProjectRequest, Result<pb::Project, Status>);

/// Starts `count` concurrent creates.
fn create(client: &Client, count: usize) -> JoinSet<Created> {
    let mut creating = JoinSet::new();
    for _ in 0..count {
        let mut client = client.clone();
        creating.spawn(async move {
            let request = show();
            let created = client.project.create_project(request.clone()).await;
            (
                request,
                created.map(|made| made.into_inner().project.unwrap()),
            )
        });
    }
    creating
}

/// Checks that acknowledged writes exist, and that repeating the others creates each once.
async fn verify_writes(client: &Client, created: Vec<Created>) {
    for (request, outcome) in created {
        let mut client = client.project.clone();
        let again = client.create_project(request.clone()).await.unwrap();
        let again = again.into_inner().project;
        match outcome {
            Ok(project) => assert_eq!(again, Some(project)),
            Err(_) => {
                let third = client.create_project(request).await.unwrap();
                assert_eq!(again, third.into_inner().project);
            }
        }
    }
}

async fn count(database: &TestDatabase) -> i64 {
    database.number("select count(*) from projects").await
}

#[tokio::test]
async fn a_kill_during_two_hundred_concurrent_writes_loses_no_acknowledged_write() {
    for killed_after in [1, 70, 150] {
        let database = TestDatabase::create(Sqlite).await;
        // No write times out while it waits for the writer connection.
        let settings = [("SLUICE_DB_ACQUIRE_TIMEOUT", "30s")];
        let mut program = Process::serve(&database, &settings);
        let client = sign_up(&program.channel().await).await;

        let mut creating = create(&client, 200);
        let mut created = Vec::new();
        while created.len() < killed_after {
            created.push(creating.join_next().await.unwrap().unwrap());
        }
        program.signal(Signal::KILL);
        created.extend(creating.join_all().await);
        program.wait_for_exit().await;

        let acknowledged = created.iter().filter(|(_, made)| made.is_ok()).count();
        assert!(acknowledged >= killed_after);
        let there = usize::try_from(count(&database).await).unwrap();
        assert!(there >= acknowledged, "{there} of {acknowledged}");
        let server = TestServer::start_on(database, &[]).await;
        let request = pb::SignInRequest {
            email: "ada@example.com".to_owned(),
            password: "correct horse battery staple".to_owned(),
            ..Default::default()
        };
        let tokens = server.anonymous().auth.sign_in(request).await.unwrap();
        let tokens = tokens.into_inner().tokens.unwrap();
        let client = Client::with_token(&server.channel, &tokens.access_token);
        verify_writes(&client, created).await;
        assert_eq!(count(&server.database).await, 200);
    }
}

#[tokio::test]
async fn a_refused_write_does_not_affect_others_of_the_same_commit() {
    let server = TestServer::start_with(Sqlite, &["--db-acquire-timeout=30s"]).await;
    let ada = server.user().await.client;
    let mut refusals = JoinSet::new();
    for _ in 0..50 {
        let mut ada = ada.clone();
        refusals.spawn(async move {
            let request = pb::UpdateProjectRequest {
                project_id: Uuid::now_v7().to_string(),
                display_name: Some("Another show".to_owned()),
                ..Default::default()
            };
            refused(ada.project.update_project(request).await).code
        });
    }

    let created = create(&ada, 100).join_all().await;

    let failed = created.iter().find(|(_, made)| made.is_err());
    assert!(failed.is_none(), "{failed:?}");
    let refusals = refusals.join_all().await;
    assert!(refusals.iter().all(|code| *code == Code::NotFound));
    verify_writes(&ada, created).await;
    assert_eq!(count(&server.database).await, 100);
}

#[tokio::test]
async fn one_request_sent_many_times_concurrently_creates_one_project() {
    let server = TestServer::start_with(Sqlite, &["--db-acquire-timeout=30s"]).await;
    let ada = server.user().await.client;
    let request = show();
    let mut creating = JoinSet::new();
    for _ in 0..50 {
        let (mut ada, request) = (ada.clone(), request.clone());
        creating.spawn(async move { ada.project.create_project(request).await });
    }

    let made = creating.join_all().await;

    let mut made = made.into_iter().map(|made| made.unwrap().into_inner());
    let first = made.next().unwrap();
    assert!(made.all(|other| other == first));
    assert_eq!(count(&server.database).await, 1);
}

#[tokio::test]
async fn cancelled_calls_do_not_block_other_writes() {
    let server = TestServer::start_with(Sqlite, &["--db-acquire-timeout=30s"]).await;
    let ada = server.user().await;
    let (ada, token) = (ada.client, ada.tokens.access_token);
    let mut gone = Vec::new();
    for number in 0..100 {
        // An HTTP/2 connection allows only a limited number of cancelled calls.
        let address = format!("http://{}", server.address);
        let own = Endpoint::from_shared(address).unwrap().connect_lazy();
        let mut ada = Client::with_token(&own, &token);
        gone.push(tokio::spawn(async move {
            let wait = std::time::Duration::from_micros(number * 150);
            let call = ada.project.create_project(show());
            tokio::time::timeout(wait, call).await.is_ok()
        }));
    }

    let created = create(&ada, 100).join_all().await;

    let failed = created.iter().find(|(_, made)| made.is_err());
    assert!(failed.is_none(), "{failed:?}");
    let mut answered = 0;
    for gone in gone {
        answered += i64::from(gone.await.unwrap());
    }
    verify_writes(&ada, created).await;
    let there = count(&server.database).await;
    assert!((100 + answered..=200).contains(&there), "{there}");
    verify_writes(&ada, create(&ada, 1).join_all().await).await;
}

#[tokio::test]
async fn a_failed_commit_fails_every_write_that_shares_it() {
    let database = TestDatabase::create(Sqlite).await;
    // Limits the file size, so that SQLite's WAL cannot grow further.
    let mut program = Process::serve_with_max_file_size(&database, 3000);
    let client = sign_up(&program.channel().await).await;

    let mut created = Vec::new();
    eventually("there is no room left", async || {
        created.extend(create(&client, 64).join_all().await);
        created.iter().any(|(_, made)| made.is_err()).then_some(())
    })
    .await;
    program.signal(Signal::KILL);
    program.wait_for_exit().await;

    let mut made = 0;
    for (_, outcome) in &created {
        match outcome {
            Ok(_) => made += 1,
            Err(status) => {
                let allowed = [Code::Unavailable, Code::ResourceExhausted];
                assert!(allowed.contains(&status.code()), "{status:?}");
            }
        }
    }
    assert_eq!(count(&database).await, made, "those, and no other");
}

#[tokio::test]
async fn all_statements_of_a_create_are_one_trip_to_the_thread_of_the_connection() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_LOG", "info,sluice::calls=debug,sqlx=debug"),
        ("SLUICE_BCRYPT_COST", "4"),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = sign_up(&program.channel().await).await;

    let mut request = Request::new(pb::CreateProjectRequest {
        request_id: String::new(),
        ..show()
    });
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", "one-trip".parse().unwrap());
    client.project.create_project(request).await.unwrap();

    let trips = eventually("the call is logged", async || {
        let mut of_call = program.log();
        of_call.retain(|line| line.contains("one-trip"));
        let is_over = of_call.iter().any(|line| line.contains("\"call\""));
        of_call.retain(|line| line.contains("sqlx::query"));
        is_over.then_some(of_call)
    })
    .await;
    assert_eq!(trips.len(), 1, "{trips:?}");
    for table in ["projects", "audit_events", "events"] {
        let insert = format!("insert into {table}");
        assert!(trips[0].contains(&insert), "{trips:?}");
    }
}
