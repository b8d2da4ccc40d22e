use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixtures::{create_destination, get_project, youtube_destination};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, User, refused};

async fn page(client: &Client, size: i32, token: &str) -> (Vec<pb::Project>, String) {
    let request = pb::ListProjectsRequest {
        page_size: size,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let answer = client.project.clone().list_projects(request).await;
    let answer = answer.unwrap().into_inner();
    (answer.projects, answer.next_page_token)
}

/// Creates projects; returns their ids, newest first.
async fn projects(user: &User, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.insert(0, user.project().await.0.id);
    }
    ids
}

/// Copies the only project 200 times, much faster than 200 calls.
async fn multiply_by_201(server: &TestServer, engine: Engine) {
    let id = match engine {
        Sqlite => "randomblob(16)",
        Postgres | Pooled => "gen_random_uuid()",
    };
    let copies = format!(
        "with recursive numbers (number) as (
             select 1 union all select number + 1 from numbers where number < 200
         )
         insert into projects
             (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
              stream_key_hint, revision, create_time, update_time)
         select {id}, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
                stream_key_hint, revision, create_time, update_time
         from projects
         cross join numbers"
    );
    server.database.execute(&copies).await;
}

fn ids(projects: Vec<pb::Project>) -> Vec<String> {
    projects.into_iter().map(|project| project.id).collect()
}

#[rstest]
#[tokio::test]
async fn projects_are_listed_newest_first(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (user, other) = (server.user().await, server.user().await);
    assert_eq!(page(&user.client, 0, "").await, (vec![], String::new()));
    let (first, _) = user.project().await;
    other.project().await;
    let (second, _) = user.project().await;

    let listed = page(&user.client, 0, "").await;

    assert_eq!(listed, (vec![second, first], String::new()));
}

#[rstest]
#[tokio::test]
async fn paging_shows_each_project_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let wanted = projects(&user, 5).await;

    for size in [1, 2, 3, 4, 5] {
        let mut paged = Vec::new();
        let mut token = String::new();
        loop {
            let (some, next) = page(&user.client, size, &token).await;
            assert!(!some.is_empty() && some.len() <= usize::try_from(size).unwrap());
            paged.extend(ids(some));
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(paged, wanted, "page_size {size}");
    }
}

#[rstest]
#[tokio::test]
async fn paging_misses_nothing_while_projects_are_created_and_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let wanted = projects(&user, 6).await;

    let (first, token) = page(&user.client, 2, "").await;
    user.project().await;
    // The last one on the first page, and one of a later page.
    for gone in [&wanted[1], &wanted[3]] {
        let request = pb::DeleteProjectRequest {
            project_id: gone.clone(),
            force: false,
            ..Default::default()
        };
        user.client.project.delete_project(request).await.unwrap();
    }
    let (second, token) = page(&user.client, 2, &token).await;
    let (third, end) = page(&user.client, 2, &token).await;

    assert_eq!(ids(first), wanted[..2]);
    assert_eq!(ids(second), [wanted[2].clone(), wanted[4].clone()]);
    assert_eq!(ids(third), wanted[5..]);
    assert_eq!(end, "");
}

#[rstest]
#[tokio::test]
async fn a_page_has_50_projects_by_default_and_at_most_200(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    projects(&user, 1).await;
    multiply_by_201(&server, engine).await;
    let (mut wanted, rest) = page(&user.client, 200, "").await;
    wanted.extend(page(&user.client, 200, &rest).await.0);
    let wanted = ids(wanted);
    assert_eq!(wanted.len(), 201);
    assert!(wanted.is_sorted_by(|newer, older| newer > older));

    for (asked, given) in [(0, 50), (1, 1), (200, 200), (201, 200), (i32::MAX, 200)] {
        let (some, next) = page(&user.client, asked, "").await;
        assert_eq!(ids(some), wanted[..given], "page_size {asked}");
        let (rest, end) = page(&user.client, 200, &next).await;
        assert_eq!(ids(rest), wanted[given..], "page_size {asked}");
        assert_eq!(end, "");
    }
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;

    for (page_size, page_token, fields) in [
        (-1, "", &["page_size"][..]),
        (i32::MIN, "", &["page_size"]),
        (0, "x", &["page_token"]),
        (-1, "x", &["page_size", "page_token"]),
    ] {
        let request = pb::ListProjectsRequest {
            page_size,
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        let refusal = refused(user.client.project.list_projects(request).await);
        assert_eq!(refusal.fields(), fields);
    }
}

#[rstest]
#[tokio::test]
async fn forged_page_tokens_and_those_of_other_lists_are_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (mut user, other) = (server.user().await, server.user().await);
    let (project, _) = user.project().await;
    projects(&user, 1).await;
    projects(&other, 2).await;
    create_destination(&user, youtube_destination(&project)).await;
    create_destination(&user, youtube_destination(&project)).await;
    let own = page(&user.client, 1, "").await.1;
    let of_other = page(&other.client, 1, "").await.1;
    let request = pb::ListDestinationsRequest {
        project_id: project.id.clone(),
        page_size: 1,
        ..Default::default()
    };
    let of_destinations = user.client.project.list_destinations(request).await;
    let of_destinations = of_destinations.unwrap().into_inner().next_page_token;

    let changed = own.replace(char::is_alphabetic, "A");
    for token in [
        &of_other,
        &of_destinations,
        &changed,
        &own[1..],
        &format!("{own}="),
        &project.id,
        "☃",
    ] {
        let request = pb::ListProjectsRequest {
            page_size: 1,
            page_token: token.to_owned(),
            ..Default::default()
        };
        let refusal = refused(user.client.project.list_projects(request).await);
        assert_eq!(refusal.fields(), ["page_token"], "{token}");
    }
}

#[rstest]
#[tokio::test]
async fn a_page_token_survives_a_restart(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let wanted = projects(&user, 2).await;
    let token = page(&user.client, 1, "").await.1;

    let server = server.restart().await;

    let client = Client::with_token(&server.channel, &user.tokens.access_token);
    assert_eq!(ids(page(&client, 1, &token).await.0), wanted[1..]);
}

#[rstest]
#[tokio::test]
async fn a_list_shows_each_project_as_get_does(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, stream_key) = user.project().await;
    let stream = server.media_server().await.live(&stream_key, "c1").await;

    let (listed, _) = page(&user.client, 0, "").await;

    assert_eq!(listed, [get_project(&user, &project).await]);
    assert_eq!(listed[0].live_stream_id, stream.id);
}
