use sluice::proto::v1 as pb;

use crate::harness::{Client, Process, Sqlite, TestDatabase, eventually};

#[tokio::test]
async fn the_log_filter_can_be_read_and_changed_at_run_time() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SLUICE_LOG", "info")]);
    let mut client = Client::anonymous(&program.channel().await);
    let filter = program.operations("GET", "/log", "").await;
    assert_eq!((filter.status, filter.body.as_str()), (200, "info\n"));
    client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();

    let changed = program
        .operations("PUT", "/log", "info,sluice::calls=debug")
        .await;

    assert_eq!(changed.status, 200, "{changed:?}");
    let filter = program.operations("GET", "/log", "").await;
    assert_eq!(filter.body, "info,sluice::calls=debug\n");
    client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
    let calls = || {
        let log = program.log();
        log.iter().filter(|line| line.contains("GetJwks")).count()
    };
    eventually("a call that went well is logged", async || {
        (calls() > 0).then_some(())
    })
    .await;
    assert_eq!(calls(), 1, "the first call was not logged");
}

#[tokio::test]
async fn an_invalid_log_filter_is_refused_and_changes_nothing() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SLUICE_LOG", "warn,sluice=info")]);
    program.channel().await;

    let wrong = program.operations("PUT", "/log", "sluice=loud").await;
    let long = program.operations("PUT", "/log", &"x".repeat(5000)).await;

    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("such as info"), "{wrong:?}");
    assert_eq!(long.status, 413);
    let filter = program.operations("GET", "/log", "").await;
    assert_eq!(filter.body, "warn,sluice=info\n");
}
