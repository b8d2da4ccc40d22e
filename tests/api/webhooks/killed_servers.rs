use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
    time::{interval, sleep},
};
use uuid::Uuid;

use super::{
    endpoint::{Answer, Arrival, Endpoint},
    verifier::Verifier,
};
use crate::{
    harness::{Cluster, Engine, Postgres, Sqlite, TestDatabase, eventually},
    kills::{
        caller::{Caller, Callers},
        counts::Counts,
    },
};

/// Fast hashes, no rate limits, and endpoints on this machine. Webhooks have their default settings.
const SETTINGS: [(&str, &str); 7] = [
    ("SLUICE_BCRYPT_COST", "4"),
    ("SLUICE_CALLER_RATE", "0"),
    ("SLUICE_ADDRESS_RATE", "0"),
    ("SLUICE_MAIL", "off"),
    ("SLUICE_ACCESS_TOKEN_LIFETIME", "1day"),
    ("SLUICE_MAX_WEBHOOKS", "100"),
    ("SLUICE_ALLOW_PRIVATE_WEBHOOKS", "true"),
];

/// The time from one event to the next one.
const EVENT_INTERVAL: Duration = Duration::from_millis(40);

/// The variable with the number of events.
const EVENTS: &str = "SLUICE_TEST_WEBHOOK_EVENTS";
const DEFAULT_EVENTS: usize = 1000;

/// How much happens.
#[derive(Debug, Clone, Copy)]
struct Scale {
    events: usize,
    projects: usize,
    kills: usize,
    working: usize,
    failing: usize,
    hanging: usize,
    redirecting: usize,
}

impl Scale {
    /// With 10,000 events, 100 projects and 50 endpoints; with fewer, a part of that.
    fn from_environment() -> Self {
        let events = env::var(EVENTS).map_or(DEFAULT_EVENTS, |text| {
            let events = text.parse();
            events.expect("SLUICE_TEST_WEBHOOK_EVENTS is a number")
        });
        let endpoints = if events < 10_000 { 20 } else { 50 };
        Self {
            events,
            projects: (events / 100).clamp(10, 100),
            kills: (events / 200).max(6),
            working: endpoints * 6 / 10,
            failing: endpoints / 5,
            hanging: endpoints / 10,
            redirecting: endpoints / 10,
        }
    }
}

#[rstest]
#[case(Postgres, 2)]
#[case(Sqlite, 1)]
#[tokio::test]
async fn each_working_endpoint_receives_every_event_in_order_although_servers_are_killed(
    #[case] engine: Engine,
    #[case] replicas: usize,
) {
    let scale = Scale::from_environment();
    let database = TestDatabase::create(engine).await;
    let mut cluster = Cluster::start(database, replicas, &SETTINGS).await;
    let callers = Callers::sign_in(&cluster, Arc::<Counts>::default()).await;
    let owner = callers.owner;
    let endpoints = Endpoints::create(&owner, scale).await;
    let projects = create_projects(&owner, scale.projects).await;

    let written = AtomicUsize::new(0);
    tokio::join!(
        write(&owner, &projects, scale.events, &written),
        kill(&mut cluster, scale, &written),
    );
    let heads = heads(&owner, &projects).await;
    endpoints.wait_for_all(&heads).await;

    println!("{engine:?}: {scale:?}");
    println!("{}", endpoints.ledger.lock().unwrap().summary());
    endpoints.check().await;
}

async fn create_projects(owner: &Caller, count: usize) -> Vec<String> {
    let mut projects = Vec::new();
    for number in 0..count {
        let created = owner.create_project(&format!("Project {number}")).await;
        projects.push(created.project.unwrap().id);
    }
    projects
}

/// Renames the projects in turn, until there are so many events with those of their creation.
async fn write(owner: &Caller, projects: &[String], events: usize, written: &AtomicUsize) {
    let mut ticks = interval(EVENT_INTERVAL);
    for number in projects.len()..events {
        ticks.tick().await;
        let request = pb::UpdateProjectRequest {
            project_id: projects[number % projects.len()].clone(),
            display_name: Some(format!("Name {number}")),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        owner
            .write("UpdateProject", async |mut client| {
                client.project.update_project(request.clone()).await
            })
            .await;
        written.store(number, Relaxed);
    }
}

/// Kills the servers in turn while events are written.
async fn kill(cluster: &mut Cluster, scale: Scale, written: &AtomicUsize) {
    for kill in 0..scale.kills {
        let due = scale.projects
            + (scale.events - scale.projects) * (2 * kill + 1) / (2 * scale.kills)
            - 1;
        while written.load(Relaxed) < due {
            sleep(EVENT_INTERVAL / 4).await;
        }
        cluster.kill(kill).await;
    }
}

/// The revision of each project.
async fn heads(owner: &Caller, projects: &[String]) -> HashMap<String, i64> {
    let mut heads = HashMap::new();
    for id in projects {
        let request = pb::GetProjectRequest {
            project_id: id.clone(),
            ..Default::default()
        };
        let answer = owner
            .read("GetProject", async |mut client| {
                client.project.get_project(request.clone()).await
            })
            .await;
        heads.insert(id.clone(), answer.project.unwrap().revision);
    }
    heads
}

/// The endpoints, each with a webhook for all projects.
struct Endpoints {
    /// Those that answer.
    working: Vec<Endpoint>,
    /// Those that fail, hang and redirect.
    others: Vec<Endpoint>,
    /// Where the last ones redirect to.
    target: Endpoint,
    ledger: Arc<Mutex<Ledger>>,
    checking: JoinHandle<()>,
}

impl Endpoints {
    async fn create(owner: &Caller, scale: Scale) -> Self {
        let (sender, arrivals) = unbounded_channel();
        let mut secrets = HashMap::new();
        let mut working = Vec::new();
        for _ in 0..scale.working {
            let endpoint = Endpoint::start().await;
            endpoint.pass_to(sender.clone());
            secrets.insert(endpoint.address, create_webhook(owner, &endpoint).await);
            working.push(endpoint);
        }
        let target = Endpoint::start().await;
        let redirect = Answer::Status(302, format!("location: {}\r\n", target.url()));
        let mut others = Vec::new();
        for (count, answer) in [
            (scale.failing, Answer::status(500)),
            (scale.hanging, Answer::Hang),
            (scale.redirecting, redirect),
        ] {
            for _ in 0..count {
                let endpoint = Endpoint::answering(answer.clone()).await;
                create_webhook(owner, &endpoint).await;
                others.push(endpoint);
            }
        }
        let ledger = Arc::<Mutex<Ledger>>::default();
        let checking = tokio::spawn(check(arrivals, secrets, Arc::clone(&ledger)));
        Self {
            working,
            others,
            target,
            ledger,
            checking,
        }
    }

    /// Waits until each working endpoint has received all events, as long as any arrive.
    async fn wait_for_all(&self, heads: &HashMap<String, i64>) {
        let expected = heads.values().sum::<i64>() * self.working.len() as i64;
        let received = || {
            assert!(
                !self.checking.is_finished(),
                "each message is as it must be"
            );
            self.ledger.lock().unwrap().events()
        };
        loop {
            let before = received();
            if before == expected {
                return;
            }
            eventually("events arrive", async || {
                (received() > before).then_some(())
            })
            .await;
        }
    }

    /// Ends the endpoints; asserts that all signatures were valid, and that nothing went to those
    /// that do not work before they have taken what came before, nor to where others redirect.
    async fn check(self) {
        assert_eq!(self.target.connections(), 0);
        for endpoint in &self.others {
            let received = endpoint.received();
            assert!(!received.is_empty());
            assert!(received.iter().all(|message| message.revision() == 1));
        }
        drop(self.working);
        self.checking.await.unwrap();
    }
}

/// Creates a webhook for all projects; returns its secret.
async fn create_webhook(owner: &Caller, endpoint: &Endpoint) -> String {
    let request = pb::CreateWebhookRequest {
        url: endpoint.url(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let created = owner
        .write("CreateWebhook", async |mut client| {
            client.webhook.create_webhook(request.clone()).await
        })
        .await;
    created.secret
}

/// What has arrived at the working endpoints.
#[derive(Default)]
struct Ledger {
    /// The highest revision by endpoint and project.
    revisions: HashMap<(SocketAddr, String), i64>,
    /// From an event to its first delivery.
    ages: Vec<TimeDelta>,
    repeated: usize,
}

impl Ledger {
    fn note(&mut self, arrival: &Arrival) {
        let message = arrival.message.json();
        let data = &message["data"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let revision: i64 = text(&data["revision"]).parse().unwrap();
        let key = (arrival.endpoint, text(&data["projectId"]));
        let highest = self.revisions.entry(key).or_default();
        assert!(revision <= *highest + 1, "{revision} came after {highest}");
        if revision <= *highest {
            self.repeated += 1;
            return;
        }
        *highest = revision;
        let time: DateTime<Utc> = text(&message["timestamp"]).parse().unwrap();
        self.ages.push(arrival.time - time);
    }

    /// The number of events, each counted once for each endpoint.
    fn events(&self) -> i64 {
        self.revisions.values().sum()
    }

    fn summary(&self) -> String {
        let mut ages = self.ages.clone();
        ages.sort_unstable();
        let at = |share: f64| {
            let index = (ages.len() as f64 * share) as usize;
            ages[index.min(ages.len() - 1)].num_milliseconds()
        };
        let (median, p99, last) = (at(0.5), at(0.99), at(1.0));
        format!(
            "{} deliveries to working endpoints, {} of them repeated; from the event to its \
             delivery: p50 {median} ms, p99 {p99} ms, at most {last} ms",
            ages.len() + self.repeated,
            self.repeated,
        )
    }
}

/// Notes what arrives at the working endpoints, and verifies it, until they end.
async fn check(
    mut arrivals: UnboundedReceiver<Arrival>,
    secrets: HashMap<SocketAddr, String>,
    ledger: Arc<Mutex<Ledger>>,
) {
    let mut verifier = Verifier::start();
    while let Some(arrival) = arrivals.recv().await {
        let secret = &secrets[&arrival.endpoint];
        verifier.verify(secret, &arrival.message).await;
        ledger.lock().unwrap().note(&arrival);
    }
    verifier.finish().await;
}
