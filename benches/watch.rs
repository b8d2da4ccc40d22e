//! The delivery time of changes to watches, and the cost of idle watches.
//!
//! `tests/run bench --bench watch` runs the real server on a new database of the
//! PostgreSQL server that `SLUICE_TEST_POSTGRES_URL` names, with 1,000 watchers over
//! 10 connections: first all of one project, then each of a project of its own. Then one
//! call of WatchProjects watches the 1,000 projects.
//! It prints the time from the call to the event at each watcher, the memory of an idle
//! watcher, and the statements per second that idle watchers cause.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
    watch_project_response::Event, watch_projects_response::Event as ProjectsEvent,
};
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tokio::{sync::mpsc, time::sleep};
use tonic::{Request, Streaming, metadata::MetadataValue, transport::Channel};

/// The number of concurrent watchers.
const WATCHERS: usize = 1000;

/// Watchers per connection; the server allows 100.
const WATCHERS_PER_CONNECTION: usize = 100;

/// Changes while all watch one project.
const CHANGES: usize = 100;

/// The time for which statements are counted.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How the projects are watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// One WatchProject call each.
    OneEach,
    /// One WatchProjects call for all.
    One,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = env::var("SLUICE_TEST_POSTGRES_URL")
        .context("SLUICE_TEST_POSTGRES_URL names a PostgreSQL server")?;
    let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
    let name = format!("sluice_bench_{}", std::process::id());
    let mut admin = PgConnection::connect(&url).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut admin)
        .await?;

    let directory = tempfile::tempdir()?;
    let state = ServerState {
        directory: directory.path().display().to_string(),
        database: format!("{server}/{name}"),
    };
    let measured = measure(&state, &mut admin, &name).await;
    let drop = format!("drop database {name} with (force)");
    sqlx::raw_sql(AssertSqlSafe(drop))
        .execute(&mut admin)
        .await?;
    measured
}

async fn measure(
    state: &ServerState,
    admin: &mut PgConnection,
    database: &str,
) -> anyhow::Result<()> {
    let server = Server::start(state)?;
    let mut owner = Owner::sign_up(&server.address).await?;
    let mut projects = Vec::new();
    for _ in 0..WATCHERS {
        projects.push(owner.create_project().await?);
    }
    drop(server);

    let one = &projects[0];
    for (title, changed, watched, calls) in [
        (
            "one project",
            vec![one.clone(); CHANGES],
            vec![one.clone(); WATCHERS],
            Calls::OneEach,
        ),
        (
            "1000 projects",
            projects.clone(),
            projects.clone(),
            Calls::OneEach,
        ),
        (
            "1000 projects in one call",
            projects.clone(),
            projects.clone(),
            Calls::One,
        ),
    ] {
        // A new server each time, whose memory is not grown yet.
        let server = Server::start(state)?;
        owner.connect_to(&server.address).await?;
        owner.rename(one).await?;
        let quiet = statements(admin, database).await?;
        let before = server.resident()?;
        let (sender, mut arrivals) = mpsc::unbounded_channel();
        let watchers = match calls {
            Calls::OneEach => owner.watch_all(&watched, &sender).await?,
            Calls::One => owner.watch_in_one_call(&watched, &sender).await?,
        };
        let held = (server.resident()? - before) as f64 / WATCHERS as f64;
        let idle = statements(admin, database).await?;

        let mut delays = Vec::new();
        for project in &changed {
            let of_project = watched.iter().filter(|id| *id == project).count();
            let begun = Instant::now();
            owner.rename(project).await?;
            delays.extend(delays_of(&mut arrivals, of_project, begun).await?);
        }
        drop(watchers);
        println!("{WATCHERS} watchers of {title}");
        println!("  memory of an idle watcher      {held:.1} KiB");
        println!("  statements a second while idle {idle:.1}, without them {quiet:.1}");
        print(&mut delays);
    }
    Ok(())
}

/// The times of the next events since the call that changed their project.
async fn delays_of(
    arrivals: &mut mpsc::UnboundedReceiver<Instant>,
    count: usize,
    begun: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut delays = Vec::with_capacity(count);
    while delays.len() < count {
        let came = arrivals.recv().await.context("an event")?;
        delays.push(came - begun);
    }
    Ok(delays)
}

fn print(delays: &mut [Duration]) {
    delays.sort_unstable();
    let at = |part: f64| delays[(delays.len() as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("  delivery, samples              {}", delays.len());
    println!("  delivery, median               {:.2} ms", at(0.5));
    println!("  delivery, p99                  {:.2} ms", at(0.99));
    println!("  delivery, slowest              {:.2} ms", at(0.999_999));
}

/// A user of the server.
struct Owner {
    address: String,
    authorization: MetadataValue<tonic::metadata::Ascii>,
    channel: Channel,
}

impl Owner {
    async fn sign_up(address: &str) -> anyhow::Result<Self> {
        let address = format!("http://{address}");
        let channel = Channel::from_shared(address.clone())?.connect().await?;
        let request = pb::SignUpRequest {
            email: "ada@example.com".to_owned(),
            password: "correct horse battery staple".to_owned(),
            display_name: "Ada".to_owned(),
            request_id: String::new(),
        };
        let answer = AuthServiceClient::new(channel.clone())
            .sign_up(request)
            .await?;
        let tokens = answer.into_inner().tokens.context("tokens")?;
        Ok(Self {
            address,
            authorization: format!("Bearer {}", tokens.access_token).parse()?,
            channel,
        })
    }

    /// Connects to another server.
    async fn connect_to(&mut self, address: &str) -> anyhow::Result<()> {
        self.address = format!("http://{address}");
        self.channel = Channel::from_shared(self.address.clone())?
            .connect()
            .await?;
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let authorization = self.authorization.clone();
        request
            .metadata_mut()
            .insert("authorization", authorization);
        request
    }

    async fn create_project(&self) -> anyhow::Result<String> {
        let request = self.request(pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            ..Default::default()
        });
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        let project = projects.create_project(request).await?.into_inner().project;
        Ok(project.context("a project")?.id)
    }

    async fn rename(&self, project_id: &str) -> anyhow::Result<()> {
        let request = self.request(pb::UpdateProjectRequest {
            project_id: project_id.to_owned(),
            display_name: Some("Renamed".to_owned()),
            ..Default::default()
        });
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        projects.update_project(request).await?;
        Ok(())
    }

    /// Starts a watcher for each project. Returns once all are synced.
    async fn watch_all(
        &self,
        projects: &[String],
        arrivals: &mpsc::UnboundedSender<Instant>,
    ) -> anyhow::Result<tokio::task::JoinSet<()>> {
        let mut watchers = tokio::task::JoinSet::new();
        for projects in projects.chunks(WATCHERS_PER_CONNECTION) {
            let channel = Channel::from_shared(self.address.clone())?
                .connect()
                .await?;
            for project_id in projects {
                let request = self.request(pb::WatchProjectRequest {
                    project_id: project_id.clone(),
                    after_revision: 0,
                });
                let mut streams = StreamServiceClient::new(channel.clone());
                let mut answer = streams.watch_project(request).await?.into_inner();
                while !matches!(next(&mut answer).await?.event, Some(Event::Synced(_))) {}
                let arrivals = arrivals.clone();
                watchers.spawn(async move {
                    while let Ok(message) = next(&mut answer).await {
                        if matches!(message.event, Some(Event::ProjectUpdated(_))) {
                            let _ = arrivals.send(Instant::now());
                        }
                    }
                });
            }
        }
        Ok(watchers)
    }

    /// Starts one watch of all projects. Returns once they are synced.
    async fn watch_in_one_call(
        &self,
        projects: &[String],
        arrivals: &mpsc::UnboundedSender<Instant>,
    ) -> anyhow::Result<tokio::task::JoinSet<()>> {
        let named = projects.iter().map(|project_id| pb::WatchedProject {
            project_id: project_id.clone(),
            after_revision: 0,
        });
        let request = self.request(pb::WatchProjectsRequest {
            projects: named.collect(),
            ..Default::default()
        });
        let mut streams = StreamServiceClient::new(self.channel.clone());
        let mut answer = streams.watch_projects(request).await?.into_inner();
        loop {
            let message = next(&mut answer).await?;
            let is_synced = matches!(message.event, Some(ProjectsEvent::Synced(_)));
            if is_synced && message.project_id.is_empty() {
                break;
            }
        }
        let arrivals = arrivals.clone();
        let mut watchers = tokio::task::JoinSet::new();
        watchers.spawn(async move {
            while let Ok(message) = next(&mut answer).await {
                if matches!(message.event, Some(ProjectsEvent::ProjectUpdated(_))) {
                    let _ = arrivals.send(Instant::now());
                }
            }
        });
        Ok(watchers)
    }
}

async fn next<M>(answer: &mut Streaming<M>) -> anyhow::Result<M> {
    answer.message().await?.context("a watch does not end")
}

/// The transactions per second of an idle database. Every statement of an idle server is
/// one transaction.
async fn statements(admin: &mut PgConnection, database: &str) -> anyhow::Result<f64> {
    const COUNT: &str =
        "select xact_commit + xact_rollback from pg_stat_database where datname = $1";
    // PostgreSQL reports earlier statements with a delay of up to 10 s.
    sleep(IDLE_TIME).await;
    let before: i64 = sqlx::query_scalar(COUNT)
        .bind(database)
        .fetch_one(&mut *admin)
        .await?;
    sleep(IDLE_TIME).await;
    let after: i64 = sqlx::query_scalar(COUNT)
        .bind(database)
        .fetch_one(&mut *admin)
        .await?;
    Ok((after - before) as f64 / IDLE_TIME.as_secs_f64())
}

/// The data directory and the database of a server.
struct ServerState {
    directory: String,
    database: String,
}

/// The real server. It ends when this is dropped.
struct Server {
    program: Child,
    address: String,
}

impl Server {
    fn start(state: &ServerState) -> anyhow::Result<Self> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .env("SLUICE_ENV_FILE", "off")
            .arg("serve")
            .env("SLUICE_LISTEN", "127.0.0.1:0")
            .env("SLUICE_DATA_DIR", &state.directory)
            .env("DATABASE_URL", &state.database)
            .env("SLUICE_CALLER_RATE", "0")
            .env("SLUICE_MAX_USER_WATCHES", "1000")
            .env("SLUICE_MAX_CONNECTION_CALLS", "1001")
            .env("SLUICE_ACCESS_TOKEN_LIFETIME", "1h")
            .env("SLUICE_OPERATIONS_LISTEN", "off")
            .env("SLUICE_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()?;
        let log = program.stderr.take().map(BufReader::new);
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
        // The log must be read, or the server would block on the full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.context("the server did not start")?;
        Ok(Self { program, address })
    }

    /// The resident memory, in KiB.
    fn resident(&self) -> anyhow::Result<i64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.context("VmRSS")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
