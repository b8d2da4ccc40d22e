use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::given::{destination, destination_now, project_now, update_of, youtube};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn a_deleted_destination_is_found_nowhere(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let kept = destination(&user, youtube(&project)).await;
    let gone = destination(&user, youtube(&project)).await;
    let revision = project_now(&user, &project).await.revision;
    let deletion = || pb::DeleteDestinationRequest {
        destination_id: gone.id.clone(),
    };
    let api = &mut user.client.project;

    api.delete_destination(deletion()).await.unwrap();

    let get = pb::GetDestinationRequest {
        destination_id: gone.id.clone(),
    };
    for refusal in [
        refused(api.get_destination(get).await),
        refused(api.update_destination(update_of(&gone)).await),
        refused(api.delete_destination(deletion()).await),
    ] {
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
    let list = pb::ListDestinationsRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let listed = api.list_destinations(list).await.unwrap().into_inner();
    assert_eq!(listed.destinations, std::slice::from_ref(&kept));
    assert_eq!(destination_now(&user, &kept).await, kept);
    let after = project_now(&user, &project).await.revision;
    assert_eq!(after, revision + 1);
}
