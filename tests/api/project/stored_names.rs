//! What replicas of an earlier version read keeps its names in the database: events and columns.

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};

use super::fixtures::{create_destination, youtube_destination};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, Watcher};

/// How many stored events contain a text.
async fn count(server: &TestServer, text: &str) -> i64 {
    let query = format!("select count(*) from events where change like '%{text}%'");
    server.database.number(&query).await
}

#[rstest]
#[tokio::test]
async fn events_have_the_names_that_earlier_versions_read_and_wrote(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, stream_key) = user.project().await;
    let disabled = pb::CreateDestinationRequest {
        disabled: true,
        ..youtube_destination(&project)
    };
    let destination = create_destination(&user, disabled).await;
    media.live(&stream_key, "c1").await;

    assert_eq!(count(&server, "\"name\":\"Main channel\"").await, 1);
    assert_eq!(count(&server, "\"enabled\":false").await, 1);
    assert!(count(&server, "\"status\":\"").await > 0);
    for new in ["display_name", "disabled\":true", "\"state\":\"live"] {
        assert_eq!(count(&server, new).await, 0, "{new}");
    }
    let mut watcher = Watcher::resume(&user.client, &project.id, project.revision)
        .await
        .unwrap();
    let Event::DestinationChanged(changed) = watcher.event().await else {
        panic!("the first event is the new destination");
    };
    assert_eq!(changed.destination, Some(destination));
}
