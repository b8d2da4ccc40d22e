//! Writes on SQLite, through the server.
//!
//! `cargo bench --bench sqlite_writes` creates projects with one caller, so that each commit has
//! its own sync, and with 64 callers, whose transactions share commits. It also begins and ends
//! publishing with 64 callers. Each kind runs three times; the medians are printed.
//! `SLUICE_BENCH_BASELINE` names another `sluice` to compare with: its rounds alternate with
//! those of this one.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::{Request, transport::Channel};

/// The number of concurrent callers.
const CALLERS: usize = 64;

/// The duration of a round.
const ROUND_TIME: Duration = Duration::from_secs(3);

/// Rounds of each kind.
const ROUNDS: usize = 3;

/// A running server, and what its callers need.
struct Server {
    process: Child,
    directory: TempDir,
    program: PathBuf,
    address: String,
    owner: String,
    media: String,
    stream_keys: Vec<String>,
}

/// What callers do.
#[derive(Clone, Copy)]
enum Work {
    CreateProject,
    BeginAndEndPublish,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut programs = vec![PathBuf::from(env!("CARGO_BIN_EXE_sluice"))];
    programs.extend(env::var_os("SLUICE_BENCH_BASELINE").map(PathBuf::from));
    let mut servers = Vec::new();
    for program in programs {
        servers.push(Server::start(program).await?);
    }
    for (what, work, callers) in [
        ("projects created, 1 caller", Work::CreateProject, 1),
        ("projects created, 64 callers", Work::CreateProject, CALLERS),
        (
            "publishes begun and ended, 64 callers",
            Work::BeginAndEndPublish,
            CALLERS,
        ),
    ] {
        let mut rates = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for (server, rates) in servers.iter().zip(&mut rates) {
                rates.push(server.rate(work, callers).await?);
            }
        }
        let medians: Vec<_> = rates.into_iter().map(median).collect();
        match medians[..] {
            [rate, baseline] => println!(
                "{what:<40}{rate:>8.0} /s, baseline {baseline:>8.0} /s, ratio {:.2}",
                rate / baseline
            ),
            _ => println!("{what:<40}{:>8.0} /s", medians[0]),
        }
    }
    Ok(())
}

impl Server {
    async fn start(program: PathBuf) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir_in(env::current_dir()?.join("target"))?;
        let (process, address) = spawn(&program, directory.path())?;
        let mut server = Self {
            process,
            directory,
            program,
            address,
            owner: String::new(),
            media: String::new(),
            stream_keys: Vec::new(),
        };
        server.sign_up().await?;
        Ok(server)
    }

    async fn connect(&self) -> anyhow::Result<Channel> {
        Ok(Channel::from_shared(self.address.clone())?
            .connect()
            .await?)
    }

    /// Creates the account, the key of a media server, and a project for each caller.
    async fn sign_up(&mut self) -> anyhow::Result<()> {
        let channel = self.connect().await?;
        let mut auth = AuthServiceClient::new(channel.clone());
        let request = pb::SignUpRequest {
            email: "ada@example.com".to_owned(),
            password: "correct horse battery staple".to_owned(),
            display_name: "Ada".to_owned(),
            request_id: String::new(),
        };
        let answer = auth.sign_up(request).await?.into_inner();
        self.owner = answer.tokens.context("tokens")?.access_token;
        let arguments = [
            "admin",
            "create-api-key",
            "--name=m",
            "--scope=streams:publish",
        ];
        let output = command(&self.program, self.directory.path())
            .args(arguments)
            .output()?;
        let secret = String::from_utf8(output.stdout)?.trim().to_owned();
        let answer = auth
            .exchange_api_key(pb::ExchangeApiKeyRequest { secret })
            .await?;
        self.media = answer.into_inner().access_token;
        for _ in 0..CALLERS {
            self.stream_keys
                .push(create_project(channel.clone(), &self.owner).await?);
        }
        Ok(())
    }

    /// The work that this number of callers does in a second.
    async fn rate(&self, work: Work, callers: usize) -> anyhow::Result<f64> {
        let mut calling = JoinSet::new();
        for stream_key in self.stream_keys.iter().take(callers) {
            let channel = self.connect().await?;
            let (owner, media) = (self.owner.clone(), self.media.clone());
            let stream_key = stream_key.clone();
            calling.spawn(async move {
                let (begun, mut count) = (Instant::now(), 0_u32);
                while begun.elapsed() < ROUND_TIME {
                    match work {
                        Work::CreateProject => {
                            create_project(channel.clone(), &owner).await?;
                        }
                        Work::BeginAndEndPublish => {
                            publish(channel.clone(), &media, &stream_key).await?;
                        }
                    }
                    count += 1;
                }
                anyhow::Ok(f64::from(count) / begun.elapsed().as_secs_f64())
            });
        }
        calling.join_all().await.into_iter().sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Creates a project; returns its stream key.
async fn create_project(channel: Channel, token: &str) -> anyhow::Result<String> {
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let request = authorized(request, token)?;
    let created = ProjectServiceClient::new(channel)
        .create_project(request)
        .await?;
    Ok(created.into_inner().stream_key)
}

/// Begins a stream with a new connection, and ends it.
async fn publish(channel: Channel, token: &str, stream_key: &str) -> anyhow::Result<()> {
    let mut streams = StreamServiceClient::new(channel);
    let publisher = Some(pb::Publisher {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connection_id: uuid::Uuid::now_v7().to_string(),
        peer_address: "203.0.113.5".to_owned(),
        protocol: pb::IngestProtocol::Rtmp.into(),
    });
    let begin = pb::BeginPublishRequest {
        stream_key: stream_key.to_owned(),
        publisher: publisher.clone(),
        ..Default::default()
    };
    let begun = streams.begin_publish(authorized(begin, token)?).await?;
    let stream = begun.into_inner().stream.context("a stream")?;
    let end = pb::EndPublishRequest {
        stream_id: stream.id,
        epoch: stream.epoch,
        publisher,
    };
    streams.end_publish(authorized(end, token)?).await?;
    Ok(())
}

fn authorized<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

/// A command of a program on the database in a directory.
fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("SLUICE_ENV_FILE", "off")
        .env("SLUICE_DATA_DIR", directory)
        .env("SLUICE_CALLER_RATE", "0")
        .env("SLUICE_ADDRESS_RATE", "0")
        .env("SLUICE_MAX_ADDRESS_CONNECTIONS", "10000")
        .env("SLUICE_OPERATIONS_LISTEN", "off")
        .env("SLUICE_ACCESS_TOKEN_LIFETIME", "2h")
        .env("SLUICE_LOG_FORMAT", "json");
    command
}

/// Starts a server; returns it and its address.
fn spawn(program: &Path, directory: &Path) -> anyhow::Result<(Child, String)> {
    let mut process = command(program, directory)
        .arg("serve")
        .env("SLUICE_LISTEN", "127.0.0.1:0")
        .stderr(Stdio::piped())
        .spawn()?;
    let log = process.stderr.take().context("a log")?;
    let mut lines = BufReader::new(log).lines();
    let mut address = None;
    for line in &mut lines {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        if line["message"] == "serving" {
            address = line["address"].as_str().map(|it| format!("http://{it}"));
        }
        let status = line["status"].as_str().unwrap_or_default();
        if status.eq_ignore_ascii_case("serving") {
            break;
        }
    }
    // The log must be read, or the server would block on the full pipe.
    thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Ok((process, address.context("the server did not start")?))
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
