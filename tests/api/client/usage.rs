use rstest::rstest;

use super::fixture::Cli;
use crate::{
    harness::{Engine, Postgres, Sqlite, TestServer},
    usage::fixture::{HOURS, plant_record},
};

#[rstest]
#[tokio::test]
async fn usage_is_printed_as_a_sum_and_by_hour(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, _) = user.project().await;
    for hour in HOURS {
        plant_record(&server.database, &user.user.id, &project.id, None, hour).await;
    }

    let sum = cli.json(&["usage", "--project", "Show"]).await;
    assert_eq!(sum["usage"]["bytesDelivered"], "2");
    let table = cli.output(&["usage"]).await;
    assert!(table.contains("delivered"), "{table}");
    assert!(table.contains("stream time"), "{table}");

    let second = ["usage", "--hours", "--since", "2100-01-01T01:00:00Z"];
    let listed = cli.json(&second).await;
    let records = listed["records"].as_array().unwrap();
    assert_eq!(records.len(), 1, "{listed}");
    assert_eq!(records[0]["projectId"], project.id);
    assert_eq!(records[0]["hourTime"], "2100-01-01T01:00:00Z");
    let table = cli.output(&["usage", "--hours"]).await;
    assert_eq!(table.lines().count(), 3, "{table}");
}
