use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixtures::{
    ROWS_WITH_OWNERS_DATA, create_destination, get_destination, get_project, update_request,
    youtube_destination,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn a_deleted_destination_is_not_found_by_any_rpc(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, _) = user.project().await;
    let kept = create_destination(&user, youtube_destination(&project)).await;
    let gone = create_destination(&user, youtube_destination(&project)).await;
    let revision = get_project(&user, &project).await.revision;
    let deletion = || pb::DeleteDestinationRequest {
        destination_id: gone.id.clone(),
        ..Default::default()
    };
    let api = &mut user.client.project;

    api.delete_destination(deletion()).await.unwrap();

    let get = pb::GetDestinationRequest {
        destination_id: gone.id.clone(),
    };
    for refusal in [
        refused(api.get_destination(get).await),
        refused(api.update_destination(update_request(&gone)).await),
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
    assert_eq!(get_destination(&user, &kept).await, kept);
    let after = get_project(&user, &project).await.revision;
    assert_eq!(after, revision + 1);
}

/// Its row is deleted later.
#[rstest]
#[tokio::test]
async fn the_name_address_and_key_of_a_deleted_destination_are_erased_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (user, database) = (server.user().await, &server.database);
    let (project, _) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;
    database
        .keep_rows("destinations", "id", &destination.id)
        .await;
    assert_eq!(database.number(ROWS_WITH_OWNERS_DATA).await, 2);

    let request = pb::DeleteDestinationRequest {
        destination_id: destination.id,
        ..Default::default()
    };
    let mut projects = user.client.project.clone();
    projects.delete_destination(request).await.unwrap();

    // The project is not deleted.
    assert_eq!(database.number(ROWS_WITH_OWNERS_DATA).await, 1);
    let rows = "select count(*) from destinations";
    assert_eq!(database.number(rows).await, 1);
}
