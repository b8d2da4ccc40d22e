//! pgbench with the statements of the server.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tempfile::TempDir;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    media_servers::MediaServer,
    servers::{Bench, Side, Storage},
    users::Account,
};

/// The clients of pgbench.
const CLIENTS: usize = 16;

/// The node of the publishes of pgbench.
const NODE_ID: &str = "pgbench";

/// The id of the stream that a client of pgbench begins.
const STREAM_ID: &str = "lpad(to_hex(:connection::bigint), 32, '0')::uuid";

/// A script of pgbench with the statements of BeginPublish and EndPublish.
pub struct PublishScript {
    directory: TempDir,
    url: String,
}

impl PublishScript {
    /// Reads the statements from the log of a server that publishes, and makes a project for each
    /// client.
    pub async fn read(bench: &Bench, user: &Account) -> anyhow::Result<Self> {
        let statements = logged_statements(bench.ours(), &user.stream_keys[1]).await?;
        let [read_begin, write_begin, read_end, write_end] = &statements[..] else {
            anyhow::bail!("4 statements of BeginPublish and EndPublish: {statements:?}");
        };
        let script = [
            r"\set connection random(1, 9000000000000000000)".to_owned(),
            format!(r"{} \gset b_", bound(read_begin, &begin_arguments())?),
            format!("{};", bound(write_begin, &write_arguments(true))?),
            format!(r"{} \gset e_", bound(read_end, &end_arguments())?),
            format!("{};", bound(write_end, &write_arguments(false))?),
        ];
        let directory = TempDir::new()?;
        fs::write(directory.path().join("publish.sql"), script.join("\n"))?;
        let url = bench.ours().url.clone();
        create_projects(&url, &user.user_id).await?;
        Ok(Self { directory, url })
    }

    /// The cycles per second of pgbench.
    pub async fn rate(&self, time: Duration) -> anyhow::Result<f64> {
        let (url, script) = (self.url.clone(), self.directory.path().join("publish.sql"));
        spawn_blocking(move || pgbench(&url, &script, &[], time)).await?
    }
}

/// The statements of one BeginPublish and EndPublish.
async fn logged_statements(side: &Side, stream_key: &str) -> anyhow::Result<Vec<String>> {
    let statements = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&statements);
    let settings = [("SLUICE_LOG", "info,sqlx::query=debug")];
    let server = side.serve_and_read(Storage::Postgres, &settings, move |line| {
        let of_publish = statement_in(line).filter(|sql| {
            sql.contains("found_project_id") || sql.contains("for no key update skip locked")
        });
        seen.lock().expect("no thread panicked").extend(of_publish);
    })?;
    let media = MediaServer::register(NODE_ID, side, Storage::Postgres, &server).await?;
    media.publish_once(&server, stream_key).await?;
    for _ in 0..100 {
        if statements.lock().expect("no thread panicked").len() >= 4 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let statements = statements.lock().expect("no thread panicked");
    Ok(statements.clone())
}

/// The statement that a line of a log in JSON tells.
fn statement_in(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let statement = line
        .get("db.statement")
        .or_else(|| line.get("fields")?.get("db.statement"))?;
    Some(statement.as_str()?.trim().to_owned())
}

/// The projects of the clients of pgbench, and the boot of its node.
async fn create_projects(url: &str, owner: &str) -> anyhow::Result<()> {
    let insert = format!(
        "insert into projects
             (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
              stream_key_hash, stream_key_sealed, stream_key_hint, revision,
              create_time, update_time)
         select gen_random_uuid(), '{owner}', 'pgbench', false, 0, 'reject_new',
                sha256(('pgbench ' || client)::bytea), '', 'abcd', 1, now(), now()
         from generate_series(0, {CLIENTS}) client"
    );
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(insert))
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// A statement with expressions of pgbench as its parameters.
fn bound(sql: &str, arguments: &[String]) -> anyhow::Result<String> {
    let mut parts = sql.split('$');
    let mut bound = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let argument = arguments.get(number.parse::<usize>()? - 1);
        bound.push_str(argument.context("an argument for each parameter")?);
        bound.push_str(rest);
    }
    Ok(bound)
}

fn begin_arguments() -> Vec<String> {
    let key_hash = "sha256(('pgbench ' || :client_id)::bytea)";
    owned([key_hash, "'pgbench'", "'b1'", ":connection::text", "false"])
}

fn end_arguments() -> Vec<String> {
    owned([STREAM_ID, "false", "'pgbench'", "'b1'", ":connection::text"])
}

/// The arguments of the statement that writes a stream that begins, or ends: see
/// `publish_statements`.
fn write_arguments(begins: bool) -> Vec<String> {
    let (status, end_time, end_reason) = match begins {
        true => ("connecting", "null", "null"),
        false => ("ended", r#""2026-01-01T00:00:00Z""#, r#""publisher_ended""#),
    };
    // A colon before a word would be a variable of pgbench.
    let stream = format!(
        r#"replace('{{"id":"ID","status":"{status}","epoch": 1,"publisher":{{"node_id":"pgbench","boot_id":"b1","connection_id":"1","peer_address":"203.0.113.5","protocol":"rtmp"}},"connected": {begins},"create_time":"2026-01-01T00:00:00Z","live_time": null,"last_seen_time":"2026-01-01T00:00:00Z","deadline": null,"key_expire_time": null,"end_time": {end_time},"end_reason": {end_reason},"stats": null,"issues": []}}', 'ID', {STREAM_ID}::text)"#,
    );
    let read = if begins { "b" } else { "e" };
    let revision = format!(":{read}_revision::bigint");
    let only = |is_used: bool, argument: &str| match is_used {
        true => argument.to_owned(),
        false => "null".to_owned(),
    };
    vec![
        format!(":{read}_found_project_id::uuid"),
        revision.clone(),
        format!("{revision} + 1"),
        only(!begins, STREAM_ID),
        only(!begins, ":e_stored_seen_time::timestamptz"),
        "'pgbench'".to_owned(),
        "'b1'".to_owned(),
        ":connection::text".to_owned(),
        begins.to_string(),
        begins.to_string(),
        (!begins).to_string(),
        "now()".to_owned(),
        format!("{}::text", only(!begins, &stream)),
        format!("{}::text", only(begins, &stream)),
        "true".to_owned(),
        "null::uuid".to_owned(),
        "null::bytea".to_owned(),
        format!("array[{revision} + 1]"),
        format!("array[{stream}]"),
        "null::text".to_owned(),
        "null::text".to_owned(),
        "false".to_owned(),
        "null::bigint".to_owned(),
    ]
}

fn owned<const N: usize>(arguments: [&str; N]) -> Vec<String> {
    arguments.map(str::to_owned).to_vec()
}

/// The transactions per second of pgbench with a script and these variables.
pub fn pgbench(
    url: &str,
    script: &Path,
    variables: &[(&str, &str)],
    time: Duration,
) -> anyhow::Result<f64> {
    let output = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-j", "2"])
        .args(["-c", &CLIENTS.to_string()])
        .arg("-f")
        .arg(script)
        .args(["-T", &time.as_secs().max(1).to_string()])
        .args(
            variables
                .iter()
                .map(|(name, value)| format!("-D{name}={value}")),
        )
        .arg(url)
        .output()
        .context("pgbench, which comes with PostgreSQL")?;
    let failure = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "pgbench: {failure}");
    let said = String::from_utf8(output.stdout)?;
    let line = said.lines().find(|line| line.starts_with("tps = "));
    let number = line.and_then(|line| line.split(' ').nth(2)?.parse().ok());
    number.context(failure)
}
