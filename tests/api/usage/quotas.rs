use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::fixture::{FLAGS, HOURS, plant_record};
use crate::{
    harness::{Client, Engine, MediaServer, Postgres, Refusal, Sqlite, TestServer, User, refused},
    organization::fixture::{accept, create, invite, token, verified_user},
    project::fixtures::youtube_destination,
    relay::fixture::Fixture,
};

/// Sets the quota of the personal organization of a user.
async fn set_quota(server: &TestServer, user: &User, quota: pb::Quota) {
    set_quota_of(server, &user.user.id, quota).await;
}

/// Sets the quota of an organization.
async fn set_quota_of(server: &TestServer, organization_id: &str, quota: pb::Quota) {
    let operator = server.operator(&[Scope::OperatorWrite]).await;
    let request = pb::SetOrganizationQuotaRequest {
        organization_id: organization_id.to_owned(),
        quota: Some(quota),
    };
    let mut operator = operator.operator.clone();
    let set = operator.set_organization_quota(request).await;
    assert_eq!(set.unwrap().into_inner().quota, Some(quota));
}

async fn create_project(
    client: &Client,
) -> Result<tonic::Response<pb::CreateProjectResponse>, tonic::Status> {
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    client.project.clone().create_project(request).await
}

#[track_caller]
fn assert_exceeded(refusal: &Refusal, quota: &str, limit: &str) {
    assert_eq!(
        refusal.class(),
        (Code::FailedPrecondition, "QUOTA_EXCEEDED"),
        "{refusal:?}"
    );
    let metadata = &refusal.details.error_info().unwrap().metadata;
    assert_eq!((&*metadata["quota"], &*metadata["limit"]), (quota, limit));
    assert!(refusal.message.contains(limit), "{refusal:?}");
}

#[rstest]
#[tokio::test]
async fn parallel_calls_at_two_replicas_never_exceed_the_quota_of_projects(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    set_quota(
        &server,
        &user,
        pb::Quota {
            projects: Some(3),
            ..Default::default()
        },
    )
    .await;
    let replica = server.replica().await;
    let token = &user.tokens.access_token;
    let clients = [&server.channel, &replica].map(|channel| Client::with_token(channel, token));

    let calls = (0..20).map(|at| {
        let client = clients[at % 2].clone();
        tokio::spawn(async move { create_project(&client).await })
    });
    let mut created = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(_) => created += 1,
            Err(status) => assert_exceeded(&refused::<()>(Err(status)), "projects", "3"),
        }
    }

    assert_eq!(created, 3);
    let projects = "select count(*) from projects";
    assert_eq!(server.database.number(projects).await, 3);
}

#[rstest]
#[tokio::test]
async fn parallel_acceptances_at_two_replicas_never_exceed_the_quota_of_members(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let quota = pb::Quota {
        members: Some(3),
        ..Default::default()
    };
    set_quota_of(&server, &id, quota).await;
    let replica = server.replica().await;
    let mut calls = Vec::new();
    for at in 0..6 {
        let user = verified_user(&server).await;
        let role = pb::OrganizationRole::Viewer;
        invite(&owner, &id, &user.email, role).await.unwrap();
        let token = token(&server.database, &user.email).await;
        let channel = [&server.channel, &replica][at % 2];
        let client = Client::with_token(channel, &user.tokens.access_token);
        calls.push((User { client, ..user }, token));
    }

    let calls = calls.into_iter().map(|(user, token)| {
        tokio::spawn(async move {
            accept(&user, &token)
                .await
                .map_err(|error| (error, user, token))
        })
    });
    let mut refusals = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        if let Err((status, user, token)) = call.await.unwrap() {
            assert_exceeded(&refused::<()>(Err(status)), "members", "3");
            refusals.push((user, token));
        }
    }

    assert_eq!(refusals.len(), 4);
    let members = "select count(*) from memberships m
        join organizations o on o.id = m.organization_id where not o.personal";
    assert_eq!(server.database.number(members).await, 3);
    // The invitation is still there when there is room.
    set_quota_of(&server, &id, pb::Quota::default()).await;
    let (user, token) = &refusals[0];
    accept(user, token).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_deleted_project_leaves_room_for_another(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    set_quota(
        &server,
        &user,
        pb::Quota {
            projects: Some(1),
            ..Default::default()
        },
    )
    .await;
    let refusal = refused(create_project(&user.client).await);
    assert_exceeded(&refusal, "projects", "1");

    let request = pb::DeleteProjectRequest {
        project_id: project.id,
        ..Default::default()
    };
    user.client
        .project
        .clone()
        .delete_project(request)
        .await
        .unwrap();

    create_project(&user.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn the_destinations_of_all_projects_count_together(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (first, _) = user.project().await;
    let (second, _) = user.project().await;
    set_quota(
        &server,
        &user,
        pb::Quota {
            destinations: Some(2),
            ..Default::default()
        },
    )
    .await;
    let create = async |project: &pb::Project| {
        let request = youtube_destination(project);
        user.client
            .project
            .clone()
            .create_destination(request)
            .await
    };

    create(&first).await.unwrap();
    create(&second).await.unwrap();
    let refusal = refused(create(&first).await);

    assert_exceeded(&refusal, "destinations", "2");
}

#[rstest]
#[tokio::test]
async fn parallel_publishers_at_two_replicas_never_exceed_the_quota_of_streams(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let node = server.media_server().await;
    set_quota(
        &server,
        &user,
        pb::Quota {
            live_streams: Some(2),
            ..Default::default()
        },
    )
    .await;
    let replica = server.replica().await;
    let token = server.operator_token(&[Scope::StreamsPublish]).await;
    let nodes = [node.client.clone(), Client::with_token(&replica, &token)]
        .map(|client| MediaServer { client });
    let mut keys = Vec::new();
    for _ in 0..8 {
        keys.push(user.project().await.1);
    }

    let mut calls = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let (client, key) = (nodes[at % 2].client.clone(), key.clone());
        calls.push(tokio::spawn(async move {
            MediaServer { client }.begin(&key, &format!("c{at}")).await
        }));
    }
    let mut begun = Vec::new();
    for (at, call) in calls.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(answer) => begun.push((at, answer.into_inner().stream.unwrap())),
            Err(status) => assert_exceeded(&refused::<()>(Err(status)), "live_streams", "2"),
        }
    }
    assert_eq!(begun.len(), 2, "{begun:?}");

    // An accepted connection stays accepted, and the end of a stream leaves room for another.
    let (at, stream) = begun.remove(0);
    let again = nodes[0].begin(&keys[at], &format!("c{at}")).await.unwrap();
    assert_eq!(again.into_inner().stream.unwrap().id, stream.id);
    nodes[0].end(&stream, &format!("c{at}")).await;
    nodes[0].begin(&keys[at], "next").await.unwrap();
}

#[rstest]
#[tokio::test]
async fn the_stream_of_a_restarted_media_server_does_not_count_against_the_next_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let quota = pb::Quota {
        live_streams: Some(1),
        ..Default::default()
    };
    set_quota(&fixture.server, &fixture.owner, quota).await;
    let lost = fixture.live("c1").await;

    let request = pb::BeginPublishRequest {
        stream_key: fixture.key.clone(),
        publisher: Some(pb::Publisher {
            boot_id: "b2".to_owned(),
            ..MediaServer::connection("c1")
        }),
        ..Default::default()
    };
    let mut streams = fixture.node.client.stream.clone();
    let begun = streams.begin_publish(request).await.unwrap();

    assert_ne!(begun.into_inner().stream.unwrap().id, lost.id);
    let live = "select count(*) from streams where end_time is null";
    assert_eq!(fixture.server.database.number(live).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_refused_publisher_is_shown_to_the_owner(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let quota = pb::Quota {
        live_streams: Some(0),
        ..Default::default()
    };
    set_quota(&fixture.server, &fixture.owner, quota).await;

    let refusal = refused(fixture.node.begin(&fixture.key, "c1").await);
    assert_exceeded(&refusal, "live_streams", "0");

    let request = pb::ListRefusalsRequest {
        project_id: fixture.project.id.clone(),
        ..Default::default()
    };
    let listed = fixture
        .owner
        .client
        .stream
        .clone()
        .list_refusals(request)
        .await;
    let refusals = listed.unwrap().into_inner().refusals;
    assert_eq!(refusals[0].reason(), pb::ErrorReason::QuotaExceeded);
}

#[rstest]
#[case(pb::Quota { stream_minutes: Some(1), ..Default::default() }, "stream_minutes")]
#[case(pb::Quota { delivered_bytes: Some(1), ..Default::default() }, "delivered_bytes")]
#[tokio::test]
async fn what_is_used_in_the_month_limits_new_streams_only(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] quota: pb::Quota,
    #[case] name: &str,
) {
    let fixture = Fixture::start_with(engine, &FLAGS, 60).await;
    let (server, owner) = (&fixture.server, &fixture.owner);
    set_quota(server, owner, quota).await;
    let stream = fixture.live("c1").await;

    // A time that lies in every later month too.
    plant_record(
        &server.database,
        &owner.user.id,
        &fixture.project.id,
        None,
        HOURS[0],
    )
    .await;
    server
        .database
        .execute("update usage_records set stream_us = 60000000")
        .await;

    assert_eq!(
        fixture.node.heartbeat(&stream, "c1").await.action(),
        pb::PublishAction::Continue
    );
    let (_, other_key) = owner.project().await;
    let refusal = refused(fixture.node.begin(&other_key, "c2").await);
    assert_exceeded(&refusal, name, "1");
    // The publisher of the running stream may come back.
    fixture.node.end(&stream, "c1").await;
    let resumed = fixture.node.begin(&fixture.key, "c3").await.unwrap();
    assert_eq!(resumed.into_inner().stream.unwrap().id, stream.id);
}

#[rstest]
#[tokio::test]
async fn an_owner_sees_the_quota_and_what_is_used(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    fixture.live("c1").await;
    let quota = pb::Quota {
        projects: Some(5),
        delivered_bytes: Some(1 << 40),
        ..Default::default()
    };
    set_quota(&fixture.server, &fixture.owner, quota).await;

    let mut usage = fixture.owner.client.usage.clone();
    let answer = usage
        .get_quota(pb::GetQuotaRequest::default())
        .await
        .unwrap();

    let used = pb::Quota {
        projects: Some(1),
        destinations: Some(1),
        live_streams: Some(1),
        stream_minutes: Some(0),
        delivered_bytes: Some(0),
        members: Some(1),
    };
    let expected = pb::GetQuotaResponse {
        quota: Some(quota),
        used: Some(used),
    };
    assert_eq!(answer.into_inner(), expected);
}

#[rstest]
#[tokio::test]
async fn a_quota_of_an_unknown_organization_or_with_a_negative_limit_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let operator = server.operator(&[Scope::OperatorWrite]).await;
    let set = async |organization_id: &str, quota| {
        let request = pb::SetOrganizationQuotaRequest {
            organization_id: organization_id.to_owned(),
            quota,
        };
        refused(
            operator
                .operator
                .clone()
                .set_organization_quota(request)
                .await,
        )
    };

    let unknown = set(
        "01890a5d-ac96-774b-bcce-b302099a8057",
        Some(pb::Quota::default()),
    )
    .await;
    assert_eq!(unknown.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    let negative = pb::Quota {
        projects: Some(-1),
        ..Default::default()
    };
    assert_eq!(
        set(&user.user.id, Some(negative)).await.fields(),
        ["quota.projects"]
    );
    assert_eq!(set(&user.user.id, None).await.fields(), ["quota"]);
}
