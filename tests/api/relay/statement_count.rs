//! Number of SQL statements of a report.

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Request;

use super::fixture::{Fixture, broadcasting_report};
use crate::harness::{Client, Engine, Postgres, Process, Sqlite, TestServer, eventually};

const RELAYS: usize = 500;

const SETTINGS: [(&str, &str); 5] = [
    ("SLUICE_LOG", "info,sluice::calls=debug,sqlx=debug"),
    ("SLUICE_LOG_FORMAT", "json"),
    ("SLUICE_BCRYPT_COST", "4"),
    ("SLUICE_DB_TIMEOUT", "2min"),
    ("SLUICE_CALL_TIMEOUT", "2min"),
];

/// Counts the statements on relays, projects and events of a report in which all of these relays
/// have sent more bytes.
async fn count_statements(
    program: &Process,
    client: &Client,
    of: &[pb::RelayAssignment],
    bytes: i64,
) -> usize {
    let name = format!("report-of-{}-with-{bytes}-bytes", of.len());
    let mut request = Request::new(pb::ReportRelaysRequest {
        worker_id: "w1".to_owned(),
        reports: of
            .iter()
            .map(|one| broadcasting_report(one, bytes))
            .collect(),
        ..Default::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", name.parse().unwrap());
    let answer = client.stream.clone().report_relays(request).await.unwrap();
    assert_eq!(answer.into_inner().lost_lease_ids, [""; 0]);
    let of_call = eventually("the report is logged", async || {
        let log = program.log();
        let of_call = log.iter().filter(|line| line.contains(&name));
        let of_call: Vec<_> = of_call.cloned().collect();
        let is_over = of_call
            .iter()
            .any(|line| line.contains(r#""message":"call""#));
        is_over.then_some(of_call)
    })
    .await;
    let of_relays = |line: &&String| {
        line.contains("sqlx::query") && line.contains(" relays")
            || line.contains("update projects")
            || line.contains("insert into events")
    };
    of_call.iter().filter(of_relays).count()
}

#[rstest]
#[tokio::test]
async fn reporting_500_relays_takes_as_many_statements_as_reporting_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = [
        "--caller-rate=0",
        "--relay-lease=1h",
        "--relay-stall-timeout=1h",
        "--max-destinations=500",
        "--db-timeout=2min",
        "--call-timeout=2min",
    ];
    let fixture = Fixture::start_with(engine, &flags, 0).await;
    for number in 0..RELAYS {
        fixture.destination(&number.to_string()).await;
    }
    fixture.live("c1").await;
    let mut worker = fixture.worker("w1").await;
    let assigned = worker.next_assignments(RELAYS).await;
    let started = assigned
        .iter()
        .map(|one| broadcasting_report(one, 1))
        .collect();
    worker.report(started).await;
    drop(worker);

    let database = fixture.server.stop().await;
    let program = Process::serve(&database, &SETTINGS);
    let channel = program.channel().await;
    let server = TestServer::start_on(database, &[]).await;
    let token = server.operator_token(&[Scope::RelaysWork]).await;
    let client = Client::with_token(&channel, &token);

    let one = count_statements(&program, &client, &assigned[..1], 2).await;
    let all = count_statements(&program, &client, &assigned, 3).await;
    let again = count_statements(&program, &client, &assigned, 4).await;

    // The lease of the worker and the read of its relays; before the first report of all of them,
    // the relays are written too.
    assert_eq!((one, all, again), (3, 3, 2));
}
