use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice::proto::v1 as pb;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Endpoint};
use uuid::Uuid;

use crate::harness::{Client, TestServer, eventually, until_available};

/// Number of clients.
const CLIENTS: usize = 32;

/// Time limit of every call. The server's limits are shorter: six seconds for a connection and six
/// for a statement; exceeding either ends the call.
const LIMIT: Duration = Duration::from_secs(40);

/// Clients that read and write continuously, and record the results.
pub struct Workload {
    stop: CancellationToken,
    clients: JoinSet<ClientRecord>,
    /// The number of writes that were acknowledged to all clients.
    acknowledged: Arc<AtomicUsize>,
}

/// The results of the calls of one client.
#[derive(Default)]
pub struct ClientRecord {
    client: Option<Client>,
    /// Creates that were acknowledged.
    created: Vec<(pb::CreateProjectRequest, pb::Project)>,
    /// Creates that failed, and may or may not have been committed.
    unacknowledged: Vec<pb::CreateProjectRequest>,
    /// The failed calls and their times.
    pub failures: Vec<(Instant, Status)>,
}

impl Workload {
    /// Starts the clients.
    pub async fn start(server: &TestServer) -> Self {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        let acknowledged = Arc::<AtomicUsize>::default();
        let user = server.user().await;
        let token = Arc::new(user.tokens.access_token);
        for _ in 0..CLIENTS {
            let address = format!("http://{}", server.address);
            let own = Endpoint::from_shared(address).unwrap().connect_lazy();
            let client = Client::with_token(&own, &token);
            clients.spawn(run(client, stop.clone(), Arc::clone(&acknowledged)));
        }
        Self {
            stop,
            clients,
            acknowledged,
        }
    }

    /// Waits until as many more writes are acknowledged as there are clients.
    pub async fn writes(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("writes are acknowledged", async || {
            let count = self.acknowledged.load(Ordering::Relaxed) - before;
            (count >= CLIENTS).then_some(())
        })
        .await;
    }

    /// Stops the clients; checks that calls failed only with the allowed codes.
    pub async fn stop(mut self) -> Vec<ClientRecord> {
        self.stop.cancel();
        let mut records = Vec::new();
        while let Some(record) = self.clients.join_next().await {
            records.push(record.unwrap());
        }
        for (_, status) in records.iter().flat_map(|record| &record.failures) {
            let code = status.code();
            let allowed = [Code::Unavailable, Code::DeadlineExceeded].contains(&code);
            assert!(allowed, "{status:?}");
        }
        records
    }
}

impl ClientRecord {
    /// Checks that acknowledged creates exist, and that repeating any create applies it once.
    /// Returns the expected number of projects.
    pub async fn verify_writes(self) -> usize {
        let Some(client) = self.client else {
            return 0;
        };
        let count = self.created.len() + self.unacknowledged.len();
        for (request, project) in self.created {
            assert_eq!(create(&client, &request).await, project);
        }
        for request in self.unacknowledged {
            let first = create(&client, &request).await;
            assert_eq!(create(&client, &request).await, first);
        }
        count
    }
}

/// Creates a project, or gets the one that the same request created.
async fn create(client: &Client, request: &pb::CreateProjectRequest) -> pb::Project {
    let call = || {
        let (mut projects, request) = (client.project.clone(), request.clone());
        async move { projects.create_project(request).await }
    };
    let created = until_available(call).await.unwrap();
    created.into_inner().project.unwrap()
}

async fn run(
    mut client: Client,
    stop: CancellationToken,
    acknowledged: Arc<AtomicUsize>,
) -> ClientRecord {
    let mut record = ClientRecord::default();
    while !stop.is_cancelled() {
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let created = client.project.create_project(request.clone());
        match with_time_limit(created).await {
            Ok(created) => {
                let project = created.into_inner().project.unwrap();
                record.created.push((request, project));
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                record.unacknowledged.push(request);
                record.fail(failure).await;
            }
        }
        let Some((_, project)) = record.created.last() else {
            continue;
        };
        let project_id = project.id.clone();
        for _ in 0..4 {
            let request = pb::GetProjectRequest {
                project_id: project_id.clone(),
                ..Default::default()
            };
            if let Err(failure) = with_time_limit(client.project.get_project(request)).await {
                record.fail(failure).await;
            }
        }
    }
    record.client = Some(client);
    record
}

impl ClientRecord {
    async fn fail(&mut self, failure: Status) {
        self.failures.push((Instant::now(), failure));
        // Clients wait before they retry.
        sleep(Duration::from_millis(100)).await;
    }
}

async fn with_time_limit<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(LIMIT, call).await.expect("every call ends in time")
}
