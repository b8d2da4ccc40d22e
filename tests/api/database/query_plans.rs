//! The plans of the statements that the program runs: none reads a whole table that grows, with
//! or without the statistics of the planner.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Row};
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;

use crate::{
    contract::canary::recorder::Recorder,
    harness::{
        Client, Engine, Pooled, Postgres, Process, Signal, Sqlite, TestDatabase, TestServer,
        eventually, exchange,
    },
    relay::fixture::{Fixture, Worker},
};

/// Scopes of all RPCs for operators, media servers and workers.
const SCOPES: [&str; 4] = [
    "streams:publish",
    "relays:work",
    "operator:read",
    "operator:write",
];

/// Rows of what grows with users. Most projects have neither a previous nor a replaced stream key.
/// `ID` and `HASH` are random, and `USERS` and `PROJECTS` have a row for each of them.
const GROWTH: &str = "
    insert into users (id, email, email_key, email_verified, display_name, create_time,
                       update_time)
    select ID, 'u' || i, 'u' || i, true, 'Ada', '2026-01-01T00:00:00+00:00',
           '2026-01-01T00:00:00+00:00'
    from USERS;
    insert into projects (id, owner_id, name, disabled, reconnect_window_ms,
                          publish_conflict_policy, stream_key_hash, stream_key_hint, revision,
                          create_time, update_time)
    select ID, u.id, 'Show', false, 0, 'reject_new', HASH, '0000', 1, u.create_time, u.create_time
    from users u cross join PROJECTS;
    insert into streams (id, project_id, status, epoch, node_id, boot_id, connection_id,
                         peer_address, protocol, connected, create_time, last_seen_time)
    select ID, p.id, 'live', 1, 'n1', 'b1', 'c1', '', 'rtmp', true, p.create_time, p.create_time
    from projects p where p.stream_key_hint = '0000';
    insert into streams (id, project_id, status, epoch, node_id, boot_id, connection_id,
                         peer_address, protocol, connected, create_time, last_seen_time, end_time,
                         end_reason)
    select ID, p.id, 'ended', 1, 'n1', 'b1', 'c1', '', 'rtmp', false, p.create_time,
           p.create_time, p.create_time, 'publisher_ended'
    from projects p cross join PROJECTS;
    insert into destinations (id, project_id, platform, name, url, stream_key_sealed,
                              stream_key_hint, enabled, create_time, update_time)
    select ID, p.id, 'custom', 'Grown', 'rtmp://live.example.com/app', HASH, '', true,
           p.create_time, p.create_time
    from projects p;
    insert into relays (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
                        bytes_sent, bitrate_bps, update_time)
    select s.id, d.id, d.project_id, true, 'idle', 0, d.create_time, 0, 0, d.create_time
    from destinations d join streams s on s.project_id = d.project_id and s.end_time is null
    where d.name = 'Grown';
    insert into stream_samples (stream_id, sample_time, bytes_received, bitrate_bps, width, height,
                                fps, video_codec, audio_codec)
    select s.id, s.create_time, 1, 1, 1, 1, 1, '', ''
    from streams s;
    insert into destination_checks (id, user_id, node_id, server_url, create_time, expire_time,
                                    worker_id)
    select ID, p.owner_id, '', '', p.create_time, p.create_time, 'w1'
    from projects p;
    insert into events (project_id, revision, create_time, change)
    select p.id, 1000000 + i, p.create_time, '\"project_deleted\"'
    from projects p cross join PROJECTS;
    insert into audit_events (id, user_id, create_time, action, result, peer_address, user_agent)
    select ID, p.owner_id, p.create_time, 'CreateProject', 'OK', '', ''
    from projects p;
    insert into publishes (node_id, boot_id, connection_id, project_id, create_time)
    select 'grown' || i, 'b1', 'c1', p.id, p.create_time
    from projects p cross join PROJECTS;
    insert into passkeys (id, user_id, display_name, credential_id, public_key, user_handle,
                          transports, sign_count, backup_eligible, backed_up, create_time)
    select ID, u.id, 'Laptop', HASH, HASH, HASH, '', 0, false, false, u.create_time
    from users u;
    insert into passkey_challenges (challenge_hash, subject_hash, expire_time)
    select HASH, HASH, u.create_time
    from users u;
    insert into email_changes (user_id, new_email, new_email_key, create_time, expire_time)
    select u.id, u.email, u.email_key, u.create_time, u.create_time
    from users u;
    insert into invitations (id, token_hash, organization_id, email, email_key, role, inviter_id,
                             create_time, expire_time)
    select ID, HASH, u.id, u.email, u.email_key, 'viewer', u.id, u.create_time, u.create_time
    from users u cross join PROJECTS;
    insert into mail_tokens (token_hash, user_id, kind, email_key, create_time, expire_time)
    select HASH, u.id, 'new_email', u.email_key, u.create_time, u.create_time
    from users u cross join PROJECTS;
    insert into sessions (id, user_id, refresh_seed, refresh_counter, peer_address, user_agent,
                          create_time, last_used_time, expire_time)
    select ID, u.id, HASH, 1, '', '', u.create_time, u.create_time, u.create_time
    from users u cross join PROJECTS;";

/// The types of parameters that a statement only compares with null.
const PARAMETER_TYPES: [&str; 5] = ["uuid", "text", "boolean", "bigint", "timestamptz"];

/// The tables that `GROWTH` fills. All of a table may be read that has only a few rows.
const GROWN: [&str; 18] = [
    "audit_events",
    "destination_checks",
    "destinations",
    "email_changes",
    "events",
    "invitations",
    "mail_tokens",
    "memberships",
    "organizations",
    "passkey_challenges",
    "passkeys",
    "projects",
    "publishes",
    "relays",
    "sessions",
    "stream_samples",
    "streams",
    "users",
];

/// Statements that may read a whole table or index, by a part of their text, each with
/// the reason.
const ALLOWED: [(&str, &str); 6] = [
    (
        "from outbox where create_time",
        "it has the messages that wait",
    ),
    (
        "u.suspend_time is not null",
        "indexes have the suspended accounts and organizations only",
    ),
    ("from keys", "a ring has a few keys"),
    (
        "with unmatched as",
        "PostgreSQL expects 200 streams of the few thousand here, and reads them in order",
    ),
    ("as project_name", "an index has the live streams only"),
    (
        "insert into stream_samples",
        "an index has the live streams only",
    ),
];

/// The statements that the program runs while every RPC is called.
async fn statements(database: &TestDatabase) -> BTreeSet<String> {
    let settings = [
        ("SLUICE_LOG", "info,sqlx=debug"),
        ("SLUICE_BCRYPT_COST", "4"),
        ("SLUICE_WEBAUTHN_RP_ID", "example.com"),
        ("SLUICE_WEBAUTHN_ORIGINS", "https://app.example.com"),
    ];
    let operators_key = Process::create_operator_key_with(database, &SCOPES).await;
    let mut program = Process::serve(database, &settings);
    let mut recorder = Recorder::new(program.channel().await);
    let left = recorder.all_but_deletions(database, operators_key).await;
    recorder.deletions(left).await;
    program.signal(Signal::TERM);
    program.wait_for_exit().await;
    logged_statements(&program)
}

/// The statements that a program has logged.
fn logged_statements(program: &Process) -> BTreeSet<String> {
    let log = program.log().into_iter();
    let lines = log.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines
        .filter(|line| line["target"] == "sqlx::query")
        .flat_map(|line| {
            let whole = line["db.statement"].as_str().unwrap_or_default().trim();
            let whole = match whole {
                "" => line["summary"].as_str().unwrap_or_default(),
                whole => whole,
            };
            let parts = whole.split(';').map(normalized);
            parts.collect::<Vec<_>>()
        })
        .filter(|statement| {
            let verb = statement.split(' ').next().unwrap_or_default();
            ["select", "insert", "update", "delete", "with"].contains(&verb)
        })
        .collect()
}

fn normalized(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn growth(database: &TestDatabase) -> String {
    let (id, hash) = match database.url.starts_with("sqlite:") {
        true => ("randomblob(16)", "randomblob(32)"),
        false => ("gen_random_uuid()", "sha256(random()::text::bytea)"),
    };
    let rows = |count: usize| {
        format!(
            "(with recursive n (i) as (
                  select 1 union all select i + 1 from n where i < {count})
              select i from n) numbers"
        )
    };
    GROWTH
        .replace("USERS", &rows(300))
        .replace("PROJECTS", &rows(10))
        .replace("ID,", &format!("{id},"))
        .replace("HASH", hash)
}

/// The parts of a plan of SQLite that read a whole table or index.
async fn scans_of_sqlite(connection: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let explain = format!("explain query plan {statement}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain))
        .fetch_all(connection)
        .await;
    let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let details = rows.iter().map(|row| row.get::<String, _>("detail"));
    let scans = details.filter(|detail| {
        let is_small = ["VIRTUAL TABLE", "CONSTANT ROW", "SCAN (", "SUBQUERY"];
        let name = detail.strip_prefix("SCAN ");
        let name = name.and_then(|name| name.split(' ').next());
        name.is_some_and(|name| GROWN.contains(&table(statement, name)))
            && !is_small.iter().any(|part| detail.contains(part))
    });
    scans.collect()
}

/// The table that a name in a statement is an alias of, or the name.
fn table<'a>(statement: &'a str, name: &'a str) -> &'a str {
    let words: Vec<_> = statement.split([' ', ',', '(', ')']).collect();
    let aliased = words.windows(3).find(|words| {
        ["from", "join"].contains(&words[0]) && words[2] == name && !words[1].is_empty()
    });
    aliased.map_or(name, |words| words[1])
}

/// The parts of a plan of PostgreSQL that read a whole grown table or index although the planner
/// avoids that at any price. A partial index has the few rows that a job looks for.
async fn scans_of_postgres(
    connection: &mut PgConnection,
    statement: &str,
    partial: &BTreeSet<String>,
) -> Vec<String> {
    let parameters = prepare(connection, statement).await;
    let nulls = vec!["null"; parameters].join(", ");
    let call = match parameters {
        0 => String::new(),
        _ => format!("({nulls})"),
    };
    let explain = format!("explain (format json) execute checked{call}");
    let plan: Value = sqlx::raw_sql(AssertSqlSafe(explain))
        .fetch_one(&mut *connection)
        .await
        .map(|row| serde_json::from_str(row.get_unchecked(0)).unwrap())
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    let deallocate = sqlx::raw_sql("deallocate checked");
    deallocate.execute(connection).await.unwrap();
    let mut scans = Vec::new();
    collect_scans(&plan[0]["Plan"], partial, &mut scans);
    scans
}

/// Prepares a statement as `checked`; returns the number of its parameters. sqlx names the types
/// of parameters that nothing else tells; here they are tried.
async fn prepare(connection: &mut PgConnection, statement: &str) -> usize {
    let mut candidates = vec![statement.to_owned()];
    let mut failures = Vec::new();
    while let Some(candidate) = candidates.pop() {
        let prepare = format!("prepare checked{} as {candidate}", types(statement));
        let prepared = sqlx::raw_sql(AssertSqlSafe(prepare));
        match prepared.execute(&mut *connection).await {
            Ok(_) => {
                let count = "select coalesce(cardinality(parameter_types), 0)
                             from pg_prepared_statements where name = 'checked'";
                let count = sqlx::query_scalar::<_, i32>(count).fetch_one(connection);
                return usize::try_from(count.await.unwrap()).unwrap();
            }
            Err(error) => {
                let text = error.to_string();
                if let Some((_, number)) = text.rsplit_once("parameter $") {
                    let number = number.split(' ').next().unwrap_or_default();
                    let typed = |name| {
                        candidate.replacen(
                            &format!("${number} "),
                            &format!("${number}::{name} "),
                            1,
                        )
                    };
                    let typed = PARAMETER_TYPES.map(typed).into_iter();
                    candidates.extend(typed.filter(|typed| *typed != candidate));
                }
                failures.push(text);
            }
        }
    }
    panic!("{statement}: {failures:?}");
}

/// The types of the parameters: those that the statement does not contain need one.
fn types(statement: &str) -> String {
    let is_used = |number: &usize| {
        let parameter = format!("${number}");
        statement
            .split(&parameter)
            .skip(1)
            .any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let Some(last) = (1..=99).rev().find(is_used) else {
        return String::new();
    };
    let types = (1..=last).map(|number| if is_used(&number) { "unknown" } else { "text" });
    format!("({})", types.collect::<Vec<_>>().join(", "))
}

fn collect_scans(node: &Value, partial: &BTreeSet<String>, scans: &mut Vec<String>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    let (kind, table, index) = (text("Node Type"), text("Relation Name"), text("Index Name"));
    let is_whole = match kind {
        "Seq Scan" => true,
        "Index Scan" | "Index Only Scan" => {
            node["Index Cond"].is_null() && !partial.contains(index)
        }
        _ => false,
    };
    if is_whole && GROWN.contains(&table) {
        scans.push(format!("{kind} of {table} {index}"));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        collect_scans(below, partial, scans);
    }
}

/// The statements that read a whole table or index, with the parts of their plans that do.
async fn scanning(database: &TestDatabase, statements: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |statement: &String, scans: Vec<String>| {
        let is_allowed = ALLOWED.iter().any(|(part, _)| statement.contains(part));
        if !scans.is_empty() && !is_allowed {
            found.push(format!("{statement}\n    {}", scans.join("\n    ")));
        }
    };
    if database.url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(&database.url).await.unwrap();
        for statement in statements {
            add(statement, scans_of_sqlite(&mut connection, statement).await);
        }
        connection.close().await.unwrap();
    } else {
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        let plain = "set enable_seqscan = off; set plan_cache_mode = force_generic_plan";
        sqlx::raw_sql(plain).execute(&mut connection).await.unwrap();
        let partial = "select indexrelid::regclass::text from pg_index where indpred is not null";
        let partial: Vec<String> = sqlx::query_scalar(partial)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let partial = BTreeSet::from_iter(partial);
        for statement in statements {
            add(
                statement,
                scans_of_postgres(&mut connection, statement, &partial).await,
            );
        }
        connection.close().await.unwrap();
    }
    found
}

#[rstest]
#[tokio::test]
async fn no_statement_reads_a_whole_table_with_or_without_statistics(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let statements = statements(&database).await;
    assert!(statements.len() > 100, "{statements:#?}");
    database.execute(&growth(&database)).await;

    let without = scanning(&database, &statements).await;
    database.execute("analyze").await;
    let with = scanning(&database, &statements).await;

    assert!(
        without.is_empty(),
        "without statistics:\n{}",
        without.join("\n")
    );
    assert!(with.is_empty(), "with statistics:\n{}", with.join("\n"));
}

/// Makes the plans of claims matter: the streams of the grown database are at 300 media servers, and
/// each has a relay that waits.
fn spread_streams(engine: Engine) -> String {
    let number = match engine {
        Sqlite => "abs(random()) % 300",
        Postgres | Pooled => "floor(random() * 300)::bigint",
    };
    format!("update streams set node_id = 'n' || ({number})")
}

/// Waits until the program has run all statements with which relays are found that can be claimed
/// at a media server, and returns them.
async fn claims_of_node(program: &Process) -> BTreeSet<String> {
    eventually("relays are claimed", async || {
        let mut statements = logged_statements(program);
        statements.retain(|statement| {
            let of_node = [
                "s.node_id = $2",
                "s.node_id = n.",
                "from unnest($2::uuid[])",
            ];
            let of_node = of_node.iter().any(|part| statement.contains(part))
                || statement.contains("unhex(p.value)");
            of_node && statement.contains("r.lease_id is null")
        });
        // The polls of all media servers and of changed projects, the claim and its candidates.
        (statements.len() >= 4).then_some(statements)
    })
    .await
}

/// The indexes through which the statements read streams and relays, by their plans; the table for
/// a read of all of it.
async fn indexes(database: &TestDatabase, statements: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if database.url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(&database.url).await.unwrap();
        for statement in statements {
            let explain = format!("explain query plan {statement}");
            let rows = sqlx::raw_sql(AssertSqlSafe(explain))
                .fetch_all(&mut connection)
                .await;
            for row in rows.unwrap() {
                let detail = row.get::<String, _>("detail");
                let words: Vec<_> = detail.split(' ').collect();
                if let ["SEARCH" | "SCAN", name, ..] = words[..]
                    && ["s", "r"].contains(&name)
                {
                    let index = words.windows(2).find(|pair| pair[0] == "INDEX");
                    found.insert(index.map_or(name, |pair| pair[1]).to_owned());
                }
            }
        }
        connection.close().await.unwrap();
        return found;
    }
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let generic = "set plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(generic)
        .execute(&mut connection)
        .await
        .unwrap();
    for statement in statements {
        let parameters = prepare(&mut connection, statement).await;
        let nulls = vec!["null"; parameters].join(", ");
        let explain = format!("explain execute checked({nulls})");
        let plan = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_all(&mut connection)
            .await;
        for line in plan.unwrap().iter().map(|row| row.get::<String, _>(0)) {
            let is_of = |table| line.contains(table);
            let words: Vec<_> = line.split_whitespace().collect();
            let after = |word| words.windows(2).find(|pair| pair[0] == word);
            let read = match line.contains("Bitmap Index Scan") {
                true => after("on"),
                // Its index has a line of its own.
                false if line.contains("Bitmap Heap Scan") => None,
                false if is_of(" on streams s") || is_of(" on relays r") => {
                    after("using").or_else(|| after("on"))
                }
                false => None,
            };
            found.extend(read.map(|pair| pair[1].to_owned()));
        }
        let deallocate = sqlx::raw_sql("deallocate checked");
        deallocate.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    found
}

#[rstest]
#[tokio::test]
async fn a_claim_looks_up_the_unclaimed_relays_of_the_live_streams_of_its_media_server(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let key = Process::create_operator_key_with(&database, &SCOPES).await;
    let settings = [
        ("SLUICE_LOG", "info,sqlx=debug"),
        ("SLUICE_BCRYPT_COST", "4"),
    ];
    let mut program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    let operator = Client::with_token(&channel, &exchange(&channel, &key).await);
    let server = TestServer::start_on(database, &[]).await;
    let fixture = Fixture::over(server, 0).await;
    fixture.destination("a").await;
    let mut worker = Worker::claim(&operator, "w1", "n1", 10).await;
    fixture.live("c1").await;
    worker.next_assignments(1).await;
    let statements = claims_of_node(&program).await;
    drop(worker);
    program.signal(Signal::TERM);
    program.wait_for_exit().await;
    let database = fixture.server.stop().await;
    database.execute(&growth(&database)).await;
    database.execute(&spread_streams(engine)).await;

    let without = indexes(&database, &statements).await;
    database.execute("analyze").await;
    let with = indexes(&database, &statements).await;

    // A project has at most one live stream, and a stream few relays.
    let looked_up = [
        "relays_pkey",
        "relays_unclaimed_of_stream",
        "streams_of_project_by_status",
        "streams_one_unended",
        "streams_unended_of_node",
    ];
    for (indexes, when) in [(without, "without"), (with, "with")] {
        let others = indexes
            .iter()
            .find(|index| !looked_up.contains(&index.as_str()));
        assert_eq!(others, None, "{when} statistics: {statements:#?}");
        for used in [looked_up[1], looked_up[4]] {
            assert!(indexes.contains(used), "{when} statistics: {indexes:?}");
        }
    }
}
