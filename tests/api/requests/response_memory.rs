use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use crate::harness::{
    Engine, Postgres, RawConnection, Sqlite, TestServer, User, eventually, message_frame, refused,
};

const LIST: &str = "sluice.v1.ProjectService/ListProjects";

/// Eight MiB: one of each connection, two of each user and each address. Nothing ends a
/// response before, because it is not read.
const MEMORY: [&str; 3] = [
    "--call-memory-mib=8",
    "--response-read-timeout=1min",
    "--trusted-proxies=127.0.0.1",
];
const CONNECTION_MEMORY: usize = 1024 * 1024;

/// The projects of a user, with long names. Returns the size of the list.
async fn create_projects(user: &User) -> usize {
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let mut projects = user.client.project.clone();
        calls.spawn(async move {
            let request = pb::CreateProjectRequest {
                display_name: "\u{1f3a5}".repeat(100),
                ..Default::default()
            };
            projects.create_project(request).await.unwrap();
        });
    }
    calls.join_all().await;
    let request = pb::ListProjectsRequest {
        page_size: 100,
        ..Default::default()
    };
    let list = user.client.project.clone().list_projects(request).await;
    prost::Message::encoded_len(&list.unwrap().into_inner())
}

/// Lists the projects and never reads the list. Returns the stream, or why it is refused.
async fn list_unread(
    raw: &mut RawConnection,
    user: &User,
    address: &str,
) -> Result<h2::RecvStream, Status> {
    let bearer = format!("Bearer {}", user.tokens.access_token);
    let headers = [("authorization", &*bearer), ("x-forwarded-for", address)];
    let mut call = raw.begin(LIST, &headers).await;
    let request = pb::ListProjectsRequest {
        page_size: 100,
        ..Default::default()
    };
    call.send(&message_frame(&request), true);
    let response = call.response().await;
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(response.into_body()),
    }
}

/// Makes calls and reads no response. Returns those that the server holds; the others are
/// refused.
async fn hold(
    server: &TestServer,
    user: &User,
    address: &str,
) -> (RawConnection, Vec<h2::RecvStream>) {
    let mut raw = RawConnection::with_window(server.address, 0).await;
    let mut held = Vec::new();
    for _ in 0..90 {
        match list_unread(&mut raw, user, address).await {
            Ok(stream) => held.push(stream),
            Err(status) => {
                let refusal = refused(Err::<Response<()>, _>(status));
                assert_eq!(refusal.class(), (Code::ResourceExhausted, "OVERLOADED"));
                let retry = refusal.details.retry_info().unwrap().retry_delay.unwrap();
                assert!(!retry.is_zero());
            }
        }
    }
    (raw, held)
}

#[rstest]
#[tokio::test]
async fn responses_that_are_not_read_use_at_most_the_memory_of_their_user(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &MEMORY).await;
    let (ada, bob) = (server.user().await, server.user().await);
    let size = create_projects(&ada).await;
    create_projects(&bob).await;

    let mut connections = Vec::new();
    for address in ["198.51.100.1", "198.51.100.2"] {
        connections.push(hold(&server, &ada, address).await);
    }

    let held: usize = connections.iter().map(|(_, held)| held.len()).sum();
    let share = 2 * CONNECTION_MEMORY;
    assert!((1..=share / size).contains(&held), "{held} of {size} bytes");
    let list = || bob.client.project.clone();
    list()
        .list_projects(pb::ListProjectsRequest::default())
        .await
        .unwrap();
    drop(connections);
    let ada = ada.client.project.clone();
    eventually("the memory is free again", async || {
        let request = pb::ListProjectsRequest::default();
        ada.clone().list_projects(request).await.ok()
    })
    .await;
}

#[tokio::test]
async fn responses_that_are_not_read_use_at_most_the_memory_of_their_connection() {
    let server = TestServer::start_with(Sqlite, &MEMORY[..2]).await;
    let ada = server.user().await;
    let size = create_projects(&ada).await;

    let mut raw = RawConnection::with_window(server.address, 0).await;
    let mut held = Vec::new();
    while let Ok(stream) = list_unread(&mut raw, &ada, "").await {
        held.push(stream);
    }

    let most = CONNECTION_MEMORY / size;
    assert!(
        (most / 2..=most).contains(&held.len()),
        "{} of {most}",
        held.len()
    );
    // Another connection of the same user.
    let request = pb::ListProjectsRequest::default();
    ada.client
        .project
        .clone()
        .list_projects(request)
        .await
        .unwrap();
}
