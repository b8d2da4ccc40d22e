//! Number of SQL statements of a usual report, and the rows that it writes.

use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tonic::Request;

use super::{
    fixture::stats_with_bytes,
    node_reports::{assert_no_action, minimal_connection, sync_request},
};
use crate::harness::{Client, Engine, Pooled, Postgres, Process, Sqlite, TestDatabase, eventually};

const STREAMS: usize = 1000;

/// Inserts projects, each with a live stream whose connection id is the number of the project.
async fn streams(database: &TestDatabase, engine: Engine) {
    let (numbers, id, hash) = match engine {
        Postgres | Pooled => (
            format!("generate_series(1, {STREAMS}) as numbers(n)"),
            "lpad(to_hex(n), 32, '0')::uuid",
            "sha256(n::text::bytea)",
        ),
        Sqlite => (
            format!(
                "(with recursive numbers(n) as (
                      select 1 union all select n + 1 from numbers where n < {STREAMS})
                  select n from numbers) as numbers"
            ),
            "unhex(printf('%032x', n))",
            "unhex(printf('%064x', n))",
        ),
    };
    let projects = format!(
        "insert into projects (id, owner_id, name, disabled, reconnect_window_ms,
                               publish_conflict_policy, stream_key_hash, stream_key_hint,
                               revision, create_time, update_time)
         select {id}, u.id, 'Show', false, 0, 'reject_new', {hash}, '0000', 1,
                u.create_time, u.create_time
         from users u, {numbers}"
    );
    let streams = format!(
        "insert into streams (id, project_id, status, epoch, node_id, boot_id, connection_id,
                              peer_address, protocol, connected, create_time, live_time,
                              last_seen_time)
         select {id}, {id}, 'live', 1, 'n1', 'b1', cast(n as text), '', 'rtmp', true,
                u.create_time, u.create_time, u.create_time
         from users u, {numbers}"
    );
    database.execute(&projects).await;
    database.execute(&streams).await;
}

/// A connection with its stream and statistics.
fn connection(number: usize, bytes: usize) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_id: uuid::Uuid::from_u128(number as u128).to_string(),
        epoch: 1,
        stats: stats_with_bytes((bytes + number) as i64),
        ..minimal_connection(&number.to_string())
    }
}

/// Calls SyncNode; returns the statements that it ran, from the log of the program.
async fn statements_of(
    program: &Process,
    client: &Client,
    connections: &[pb::NodeConnection],
) -> Vec<String> {
    let name = format!("sync-of-{}", connections.len());
    let mut request = Request::new(sync_request("b1", connections));
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", name.parse().unwrap());
    let answer = client.stream.clone().sync_node(request).await;
    assert_no_action(&answer.unwrap().into_inner());

    eventually("the call is logged", async || {
        let log = program.log();
        let lines = log
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_call: Vec<_> = lines
            .filter(|line| line["span"]["request_id"] == name.as_str())
            .collect();
        let over = of_call.iter().any(|line| line["message"] == "call");
        over.then(|| {
            let statements = of_call
                .iter()
                .filter(|line| line["target"] == "sqlx::query");
            statements.map(first_words).collect()
        })
    })
    .await
}

/// What a statement does, and to which table. On SQLite, a savepoint is made together with a
/// statement while others write too.
fn first_words(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    // The summary has all of a short statement.
    let statement = match text("db.statement").trim() {
        "" => text("summary"),
        statement => statement,
    };
    let statement = statement.rsplit(';').next().unwrap();
    let words: Vec<_> = statement.split_whitespace().take(3).collect();
    assert_eq!(words.len(), 3, "{line}");
    words.join(" ")
}

#[rstest]
#[tokio::test]
async fn reporting_a_thousand_streams_takes_as_many_statements_as_reporting_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let settings = [
        ("SLUICE_LOG", "info,sluice::calls=debug,sqlx=debug"),
        ("SLUICE_BCRYPT_COST", "4"),
        ("SLUICE_DB_ACQUIRE_TIMEOUT", "30s"),
        ("SLUICE_DB_TIMEOUT", "2min"),
        ("SLUICE_CALL_TIMEOUT", "2min"),
        // No stream ends while the others are being inserted.
        ("SLUICE_HEARTBEAT_TIMEOUT", "10min"),
    ];
    let program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    let mut anonymous = Client::anonymous(&channel);
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    anonymous.auth.sign_up(request).await.unwrap();
    let secret = Process::create_operator_key(&database).await;
    let request = pb::ExchangeApiKeyRequest { secret };
    let token = anonymous.auth.exchange_api_key(request).await.unwrap();
    let client = Client::with_token(&channel, &token.into_inner().access_token);
    streams(&database, engine).await;
    let report = |bytes| -> Vec<_> {
        let numbers = 1..=STREAMS;
        numbers.map(|number| connection(number, bytes)).collect()
    };
    client
        .stream
        .clone()
        .sync_node(sync_request("b1", &report(1)))
        .await
        .unwrap();
    let measured = "select count(*) from streams where bytes_received > 1";
    assert_eq!(database.number(measured).await, STREAMS as i64);

    let mut thousand = statements_of(&program, &client, &report(2)).await;
    database
        .execute("update streams set end_time = create_time where connection_id <> '1'")
        .await;
    let mut one = statements_of(&program, &client, &report(3)[..1]).await;
    // One of them, when 30 seconds have passed.
    for statements in [&mut thousand, &mut one] {
        statements.retain(|statement| !statement.contains("insert into nodes"));
    }

    assert_eq!(thousand, one);
    assert!((1..=4).contains(&one.len()), "{one:?}");
}
