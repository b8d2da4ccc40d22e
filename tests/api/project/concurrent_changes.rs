use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::given::{destination, destination_now, project_now, update_of, youtube};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn no_change_of_a_destination_is_lost(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let before = destination(&user, youtube(&project)).await;

    for round in 0..10 {
        let name = format!("Round {round}");
        let enabled = round % 2 == 1;
        let rename = pb::UpdateDestinationRequest {
            name: Some(name.clone()),
            ..update_of(&before)
        };
        let switch = pb::UpdateDestinationRequest {
            enabled: Some(enabled),
            ..update_of(&before)
        };
        let (mut one, mut other) = (user.client.project.clone(), user.client.project.clone());

        let (renamed, switched) = tokio::join!(
            one.update_destination(rename),
            other.update_destination(switch)
        );

        let after = destination_now(&user, &before).await;
        for (answer, there) in [
            (renamed, after.name == name),
            (switched, after.enabled == enabled),
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
async fn every_change_of_a_project_gets_a_revision_of_its_own(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (before, _) = user.project().await;
    let rename = |number| {
        let mut projects = user.client.project.clone();
        let request = pb::UpdateProjectRequest {
            project_id: before.id.clone(),
            name: Some(format!("Name {number}")),
            ..Default::default()
        };
        async move { projects.update_project(request).await }
    };
    let add = || {
        let mut projects = user.client.project.clone();
        let request = youtube(&before);
        async move { projects.create_destination(request).await }
    };

    let (one, two, three, four) = tokio::join!(rename(1), add(), rename(2), add());

    let revision = |answer: pb::UpdateProjectResponse| answer.project.unwrap().revision;
    let one = revision(one.unwrap().into_inner());
    let three = revision(three.unwrap().into_inner());
    assert_ne!(one, three);
    two.unwrap();
    four.unwrap();
    let after = project_now(&user, &before).await;
    assert_eq!(after.revision, before.revision + 4);
    let last = if one > three { "Name 1" } else { "Name 2" };
    assert_eq!(after.name, last);
}
