use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixtures::{
    create_destination, get_destination, get_project, update_request, youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn concurrent_updates_of_a_destination_are_not_lost(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let before = create_destination(&user, youtube_destination(&project)).await;

    for round in 0..10 {
        let name = format!("Round {round}");
        let enabled = round % 2 == 1;
        let rename = pb::UpdateDestinationRequest {
            display_name: Some(name.clone()),
            ..update_request(&before)
        };
        let switch = pb::UpdateDestinationRequest {
            disabled: Some(!enabled),
            ..update_request(&before)
        };
        let (mut one, mut other) = (user.client.project.clone(), user.client.project.clone());

        let (renamed, switched) = tokio::join!(
            one.update_destination(rename),
            other.update_destination(switch)
        );

        let after = get_destination(&user, &before).await;
        for (answer, there) in [
            (renamed, after.display_name == name),
            (switched, after.disabled != enabled),
        ] {
            match answer {
                Ok(_) => assert!(there, "{after:?}"),
                lost => assert_eq!(refused(lost).class(), (Code::Aborted, "CONCURRENT_CHANGE")),
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn every_concurrent_change_of_a_project_gets_its_own_revision(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (before, _) = user.project().await;
    let rename = |number| {
        let mut projects = user.client.project.clone();
        let request = pb::UpdateProjectRequest {
            project_id: before.id.clone(),
            display_name: Some(format!("Name {number}")),
            ..Default::default()
        };
        async move { projects.update_project(request).await }
    };
    let add = || {
        let mut projects = user.client.project.clone();
        let request = youtube_destination(&before);
        async move { projects.create_destination(request).await }
    };

    let (one, two, three, four) = tokio::join!(rename(1), add(), rename(2), add());

    let revision = |answer: pb::UpdateProjectResponse| answer.project.unwrap().revision;
    let one = revision(one.unwrap().into_inner());
    let three = revision(three.unwrap().into_inner());
    assert_ne!(one, three);
    two.unwrap();
    four.unwrap();
    let after = get_project(&user, &before).await;
    assert_eq!(after.revision, before.revision + 4);
    let last = if one > three { "Name 1" } else { "Name 2" };
    assert_eq!(after.display_name, last);
}
