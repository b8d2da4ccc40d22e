use std::{sync::Arc, time::Duration};

use sluice::proto::v1 as pb;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Endpoint};
use uuid::Uuid;

use crate::harness::{Client, TestServer};

/// How many clients there are.
const CLIENTS: usize = 32;

/// In which time every call must end. The server's limits are far shorter: one second to
/// wait for a connection and two for a statement, and the first that is not kept ends a call.
const LIMIT: Duration = Duration::from_secs(8);

/// Clients that read and write all the time, and keep account of it.
pub struct Calls {
    stop: CancellationToken,
    clients: JoinSet<Account>,
}

/// What calls came to.
#[derive(Default)]
pub struct Account {
    client: Option<Client>,
    /// Projects that were acknowledged.
    made: Vec<(pb::CreateProjectRequest, pb::Project)>,
    /// Those of which nobody knows.
    in_doubt: Vec<pb::CreateProjectRequest>,
    /// When a call failed.
    pub failures: Vec<(Instant, Status)>,
}

impl Calls {
    /// Begins to call.
    pub async fn start(server: &TestServer) -> Self {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        let user = server.user().await;
        let token = Arc::new(user.tokens.access_token);
        for _ in 0..CLIENTS {
            let address = format!("http://{}", server.address);
            let own = Endpoint::from_shared(address).unwrap().connect_lazy();
            let client = Client::with_token(&own, &token);
            clients.spawn(run(client, stop.clone()));
        }
        Self { stop, clients }
    }

    /// Ends the calls; each must have ended in time, and failed only as it may.
    pub async fn stop(mut self) -> Vec<Account> {
        self.stop.cancel();
        let mut accounts = Vec::new();
        while let Some(account) = self.clients.join_next().await {
            accounts.push(account.unwrap());
        }
        for (_, status) in accounts.iter().flat_map(|account| &account.failures) {
            let code = status.code();
            // The test itself holds a lock for a while, which some cannot have in time.
            let allowed = [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted];
            let allowed = allowed.contains(&code);
            assert!(allowed, "{status:?}");
        }
        accounts
    }
}

impl Account {
    /// How many writes were acknowledged.
    pub fn made(&self) -> usize {
        self.made.len()
    }

    /// Whatever was acknowledged is there, and repeating what was not, or was, makes
    /// it once. Gives how many projects there must be.
    pub async fn settle(self) -> usize {
        let Some(mut client) = self.client else {
            return 0;
        };
        let count = self.made.len() + self.in_doubt.len();
        for (request, project) in self.made {
            let again = client.project.create_project(request).await.unwrap();
            assert_eq!(again.into_inner().project.unwrap(), project);
        }
        for request in self.in_doubt {
            let first = client
                .project
                .create_project(request.clone())
                .await
                .unwrap();
            let second = client.project.create_project(request).await.unwrap();
            assert_eq!(first.into_inner().project, second.into_inner().project);
        }
        count
    }
}

async fn run(mut client: Client, stop: CancellationToken) -> Account {
    let mut account = Account::default();
    while !stop.is_cancelled() {
        let request = pb::CreateProjectRequest {
            name: "Show".to_owned(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let created = client.project.create_project(request.clone());
        match in_time(created).await {
            Ok(created) => {
                let project = created.into_inner().project.unwrap();
                account.made.push((request, project));
            }
            Err(failure) => {
                account.in_doubt.push(request);
                account.fail(failure).await;
            }
        }
        let Some((_, project)) = account.made.last() else {
            continue;
        };
        let project_id = project.id.clone();
        for _ in 0..4 {
            let request = pb::GetProjectRequest {
                project_id: project_id.clone(),
            };
            if let Err(failure) = in_time(client.project.get_project(request)).await {
                account.fail(failure).await;
            }
        }
    }
    account.client = Some(client);
    account
}

impl Account {
    async fn fail(&mut self, failure: Status) {
        self.failures.push((Instant::now(), failure));
        // As clients do.
        sleep(Duration::from_millis(100)).await;
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(LIMIT, call).await.expect("every call ends in time")
}
