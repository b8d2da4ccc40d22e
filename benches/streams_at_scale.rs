//! The latency of lists and publishes with very many ended streams.
//!
//! `tests/run bench --bench streams_at_scale` runs two real servers on two
//! PostgreSQL databases, one with 1,000 ended streams and one with 2,000,000,
//! half of them of the measured project. It calls both alternately, and
//! prints the medians and their ratios.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

/// Ended streams in the two databases.
const FEW: u32 = 1_000;
const MANY: u32 = 2_000_000;

/// Measured calls of each kind in each database.
const SAMPLES: u32 = 1_000;

/// Unmeasured calls before these.
const WARM_UP_CALLS: u32 = 100;

/// A server with its database.
struct Side {
    process: Server,
    url: String,
    client: StreamServiceClient<Channel>,
    owner: MetadataValue<Ascii>,
    node: MetadataValue<Ascii>,
    project_id: String,
    stream_key: String,
    /// Publishes so far, each on a new connection.
    publishes: u32,
    _directory: tempfile::TempDir,
}

/// A measured call.
#[derive(Clone, Copy)]
enum Call {
    List,
    ListEnded,
    Publish,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut few = Side::start("few", FEW).await?;
    let mut many = Side::start("many", MANY).await?;

    println!("{:<28} {:>12} {:>12} {:>7}", "median", FEW, MANY, "ratio");
    for (name, call) in [
        ("ListStreams", Call::List),
        ("ListStreams in one state", Call::ListEnded),
        ("BeginPublish", Call::Publish),
    ] {
        let (mut with_few, mut with_many) = (Vec::new(), Vec::new());
        for at in 0..WARM_UP_CALLS + SAMPLES {
            let times = (few.time(call).await?, many.time(call).await?);
            if at >= WARM_UP_CALLS {
                with_few.push(times.0);
                with_many.push(times.1);
            }
        }
        let (with_few, with_many) = (median(with_few), median(with_many));
        println!(
            "{name:<28} {:>9.3} ms {:>9.3} ms {:>7.3}",
            millis(with_few),
            millis(with_many),
            with_many.as_secs_f64() / with_few.as_secs_f64(),
        );
    }
    few.stop().await?;
    many.stop().await
}

impl Side {
    async fn start(name: &str, streams: u32) -> anyhow::Result<Self> {
        let url = new_database(name).await?;
        let directory = tempfile::tempdir()?;
        let data = directory.path().to_str().context("a path in UTF-8")?;
        let settings = [("SLUICE_DATA_DIR", data), ("DATABASE_URL", &url)];
        let (process, address) = serve(&settings)?;
        let channel = Channel::from_shared(format!("http://{address}"))?;
        let channel = channel.connect().await?;

        let (owner, project_id, stream_key) = new_project(&channel).await?;
        let node = media_server(&channel, &settings).await?;
        fill(&url, &project_id, streams).await?;
        Ok(Self {
            process: Server(process),
            url,
            client: StreamServiceClient::new(channel),
            owner,
            node,
            project_id,
            stream_key,
            publishes: 0,
            _directory: directory,
        })
    }

    async fn time(&mut self, call: Call) -> anyhow::Result<Duration> {
        match call {
            Call::List => self.list(None).await,
            Call::ListEnded => self.list(Some(pb::StreamState::Ended)).await,
            Call::Publish => self.publish().await,
        }
    }

    async fn list(&mut self, state: Option<pb::StreamState>) -> anyhow::Result<Duration> {
        let request = pb::ListStreamsRequest {
            project_id: self.project_id.clone(),
            state: state.map(Into::into),
            ..Default::default()
        };
        let request = with_token(request, &self.owner);
        let begun = Instant::now();
        let answer = self.client.list_streams(request).await?;
        let elapsed = begun.elapsed();
        anyhow::ensure!(answer.get_ref().streams.len() == 50, "a full page");
        Ok(elapsed)
    }

    /// The time of BeginPublish; the stream ends again, unmeasured.
    async fn publish(&mut self) -> anyhow::Result<Duration> {
        self.publishes += 1;
        let publisher = pb::Publisher {
            node_id: "n1".to_owned(),
            boot_id: "b1".to_owned(),
            connection_id: format!("measured-{}", self.publishes),
            ..Default::default()
        };
        let request = pb::BeginPublishRequest {
            stream_key: self.stream_key.clone(),
            publisher: Some(publisher.clone()),
            media_flowing: true,
            play_url: String::new(),
        };
        let request = with_token(request, &self.node);
        let begun = Instant::now();
        let answer = self.client.begin_publish(request).await?;
        let elapsed = begun.elapsed();

        let stream = answer.into_inner().stream.context("a stream")?;
        let request = pb::EndPublishRequest {
            stream_id: stream.id,
            epoch: stream.epoch,
            publisher: Some(publisher),
        };
        let request = with_token(request, &self.node);
        self.client.end_publish(request).await?;
        Ok(elapsed)
    }

    /// Ends the server and drops its database.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        let (server, name) = self.url.rsplit_once('/').context("a URL with a database")?;
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("drop database {name} with (force)")))
            .execute(&mut connection)
            .await?;
        Ok(())
    }
}

/// A server process that ends with the benchmark, also after a panic.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
    }
}

/// A new database on the server that `SLUICE_TEST_POSTGRES_URL` names.
async fn new_database(name: &str) -> anyhow::Result<String> {
    let url = env::var("SLUICE_TEST_POSTGRES_URL").context(
        "SLUICE_TEST_POSTGRES_URL names a PostgreSQL server: run `tests/run bench --bench \
         streams_at_scale`",
    )?;
    let name = format!("sluice_bench_{name}_{}", std::process::id());
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut connection)
        .await?;
    let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
    Ok(format!("{server}/{name}"))
}

/// Starts the real server. Returns its address.
fn serve(settings: &[(&str, &str)]) -> anyhow::Result<(Child, String)> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .env("SLUICE_ENV_FILE", "off")
        .arg("serve")
        .env("SLUICE_LISTEN", "127.0.0.1:0")
        .env("SLUICE_OPERATIONS_LISTEN", "off")
        .env("SLUICE_LOG_FORMAT", "json")
        .env("SLUICE_CALLER_RATE", "0")
        .env("SLUICE_BCRYPT_COST", "4")
        .envs(settings.iter().copied())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = server.stderr.take().map(BufReader::new);
    let mut lines = log.into_iter().flat_map(BufRead::lines);

    let mut address = None;
    for line in lines.by_ref() {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        if let Some(listening) = line["address"].as_str() {
            address = Some(listening.to_owned());
        }
        if line["status"] == "SERVING" || line["status"] == "Serving" {
            break;
        }
    }
    // The log must not fill its pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((server, address.context("the logged address")?))
}

/// Creates a user and a project without a reconnect window. Returns the user's token, and
/// the project's id and stream key.
async fn new_project(channel: &Channel) -> anyhow::Result<(MetadataValue<Ascii>, String, String)> {
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let mut auth = AuthServiceClient::new(channel.clone());
    let tokens = auth.sign_up(request).await?.into_inner().tokens;
    let owner = format!("Bearer {}", tokens.context("tokens")?.access_token).parse()?;
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        reconnect_window: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let mut projects = ProjectServiceClient::new(channel.clone());
    let request = with_token(request, &owner);
    let made = projects.create_project(request).await?.into_inner();
    Ok((
        owner,
        made.project.context("a project")?.id,
        made.stream_key,
    ))
}

/// The token of a media server.
async fn media_server(
    channel: &Channel,
    settings: &[(&str, &str)],
) -> anyhow::Result<MetadataValue<Ascii>> {
    let arguments = ["--scope", "streams:publish", "--name", "bench"];
    let made = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .env("SLUICE_ENV_FILE", "off")
        .args(["admin", "create-api-key"])
        .args(arguments)
        .envs(settings.iter().copied())
        .output()?;
    let secret = String::from_utf8(made.stdout)?.trim().to_owned();
    let mut auth = AuthServiceClient::new(channel.clone());
    let request = pb::ExchangeApiKeyRequest { secret };
    let answer = auth.exchange_api_key(request).await?.into_inner();
    Ok(format!("Bearer {}", answer.access_token).parse()?)
}

/// Inserts ended streams with their publishes: half of them of the measured project, the
/// others of a hundred more projects.
async fn fill(url: &str, project_id: &str, streams: u32) -> anyhow::Result<()> {
    let statements = format!(
        "insert into projects
             (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
              stream_key_hint, revision, create_time, update_time)
         select gen_random_uuid(), owner_id, 'Other', false, 0, 'reject_new', '', 1,
                create_time, update_time
         from projects, generate_series(1, 100);
         create temporary table others as
             select id, row_number() over (order by id) as at
             from projects
             where id <> '{project_id}';
         insert into streams
             (id, project_id, status, epoch, node_id, boot_id, connection_id, peer_address,
              protocol, connected, create_time, live_time, last_seen_time, end_time, end_reason)
         select (lpad(to_hex(1600000000000 + n), 12, '0') || '7'
                    || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                case when n % 2 = 0 then '{project_id}' else o.id end,
                'ended', 1, 'n1', 'b0', 'c' || n, '203.0.113.5', 'rtmp', false, t, t, t, t,
                'publisher_ended'
         from (select n, timestamptz '2020-01-01' + n * interval '1 second' as t
               from generate_series(1, {streams}) n) as numbers
         join others o on o.at = 1 + n % 100;
         insert into publishes (node_id, boot_id, connection_id, project_id, create_time)
         select node_id, boot_id, connection_id, project_id, create_time from streams;
         vacuum analyze"
    );
    let mut connection = PgConnection::connect(url).await?;
    // One by one: the last one cannot run in a transaction.
    for statement in statements.split(';') {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await?;
    }
    Ok(())
}

fn with_token<T>(message: T, token: &MetadataValue<Ascii>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", token.clone());
    request
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
