use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    load_balancers::{LoadBalancer, command_of},
    retrying_client::{CallStats, get, rename, watch_until, work},
};
use crate::harness::{Client, Postgres, Process, Signal, TestDatabase, Watcher, eventually};

/// Number of clients that call, and of clients that watch.
const CLIENTS: usize = 16;

/// Interval of the reads and writes of a client.
const PACE: Duration = Duration::from_millis(50);

/// A task that watches a project, and the sender for its last revision.
struct WatchTask {
    client: Client,
    project_id: String,
    goal: watch::Sender<Option<i64>>,
    task: JoinHandle<u64>,
}

/// Signs up a user with a project through the load balancer, on a channel of its own.
async fn user(balancer: &LoadBalancer, number: usize) -> (Client, pb::Project) {
    let channel = balancer.channel_from("127.0.0.1");
    let request = pb::SignUpRequest {
        email: format!("rolling{number}@example.com"),
        password: "correct horse battery staple".to_owned(),
        display_name: "Rolling".to_owned(),
        request_id: String::new(),
    };
    let answer = Client::anonymous(&channel)
        .auth
        .sign_up(request)
        .await
        .unwrap();
    let token = answer.into_inner().tokens.unwrap().access_token;
    let mut client = Client::with_token(&channel, &token);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let project = client.project.create_project(request).await.unwrap();
    (client, project.into_inner().project.unwrap())
}

fn watch_task(client: &Client, project: &pb::Project) -> WatchTask {
    let (goal, receiver) = watch::channel(None);
    WatchTask {
        task: tokio::spawn(watch_until(client.clone(), project.id.clone(), receiver)),
        client: client.clone(),
        project_id: project.id.clone(),
        goal,
    }
}

impl WatchTask {
    /// Waits until all events were seen; returns the number of resumed watches.
    async fn finish(self) -> u64 {
        let project = get(&self.client, &self.project_id).await.unwrap();
        let last = project.into_inner().project.unwrap().revision;
        self.goal.send(Some(last)).unwrap();
        self.task.await.unwrap()
    }
}

/// Stops a replica with SIGTERM, and starts it again.
async fn restart(
    balancer: &LoadBalancer,
    replicas: &mut [Process; 2],
    number: usize,
    database: &TestDatabase,
) {
    replicas[number].signal(Signal::TERM);
    assert_eq!(replicas[number].wait_for_exit().await, Some(0));
    replicas[number] = balancer.replica(number, database);
    replicas[number].channel().await;
    wait_until_up(balancer, ["a", "b"][number]).await;
}

/// Waits until the load balancer considers a replica up.
async fn wait_until_up(balancer: &LoadBalancer, name: &str) {
    let server = format!("Server replicas/{name} is");
    eventually("the load balancer finds the replica", async || {
        let lost = balancer.count_log_lines(&format!("{server} DOWN"));
        (balancer.count_log_lines(&format!("{server} UP")) >= lost).then_some(())
    })
    .await;
}

/// HAProxy with two replicas that it considers up.
async fn haproxy_with_replicas(database: &TestDatabase) -> (LoadBalancer, [Process; 2]) {
    let balancer = LoadBalancer::haproxy().await;
    eventually(
        "the load balancer has looked for the replicas",
        async || (balancer.count_log_lines("has no server available") > 0).then_some(()),
    )
    .await;
    let replicas = [0, 1].map(|number| balancer.replica(number, database));
    for name in ["a", "b"] {
        wait_until_up(&balancer, name).await;
    }
    (balancer, replicas)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_and_loses_no_event() {
    let database = TestDatabase::create(Postgres).await;
    let (balancer, mut replicas) = haproxy_with_replicas(&database).await;
    let (stop, mut working) = (CancellationToken::new(), JoinSet::new());
    let mut watch_tasks = Vec::new();
    for number in 0..CLIENTS {
        let (client, project) = user(&balancer, number).await;
        watch_tasks.push(watch_task(&client, &project));
        working.spawn(work(client, project.id, interval(PACE), stop.clone()));
    }

    for _ in 0..3 {
        for number in [0, 1] {
            restart(&balancer, &mut replicas, number, &database).await;
        }
    }
    sleep(Duration::from_millis(500)).await;
    stop.cancel();

    let (mut calls, mut retries) = (0, 0);
    while let Some(worked) = working.join_next().await {
        let stats = worked.unwrap().expect("no call fails");
        calls += stats.calls;
        retries += stats.retries;
    }
    let mut resumed = 0;
    for watch_task in watch_tasks {
        let times = watch_task.finish().await;
        assert!(times > 0, "each watch was on a replica that stopped");
        resumed += times;
    }
    println!("{calls} calls, {retries} repetitions, {resumed} watches resumed");
    assert!(calls > 2000, "{calls} calls");
    assert!(
        retries * 100 < calls,
        "{retries} repetitions of {calls} calls"
    );
}

#[tokio::test]
async fn a_load_balancer_removes_a_replica_that_hangs_until_it_answers_again() {
    let database = TestDatabase::create(Postgres).await;
    let (balancer, replicas) = haproxy_with_replicas(&database).await;
    let down = "Server replicas/a is DOWN";
    let before = balancer.count_log_lines(down);

    replicas[0].signal(Signal::STOP);
    eventually("its health check times out", async || {
        (balancer.count_log_lines(down) > before).then_some(())
    })
    .await;
    let (client, project) = user(&balancer, 0).await;
    for _ in 0..10 {
        get(&client, &project.id).await.unwrap();
    }

    replicas[0].signal(Signal::CONT);
    wait_until_up(&balancer, "a").await;
}

#[tokio::test]
async fn nginx_forwards_calls_and_watches_with_the_address_of_the_caller() {
    let database = TestDatabase::create(Postgres).await;
    let balancer = LoadBalancer::nginx().await;
    let mut replicas = [0, 1].map(|number| balancer.replica(number, &database));
    for replica in &replicas {
        replica.channel().await;
    }
    let (client, project) = user(&balancer, 0).await;
    let watch_task = watch_task(&client, &project);
    sessions_of(&balancer).await;

    replicas[0].signal(Signal::TERM);
    assert_eq!(replicas[0].wait_for_exit().await, Some(0));
    for name in ["One", "Two", "Three", "Four"] {
        let renamed = CallStats::default()
            .call(|| rename(&client, &project.id, name))
            .await;
        renamed.unwrap();
    }
    watch_task.finish().await;
}

/// Signs in from another address, which the session must show.
async fn sessions_of(balancer: &LoadBalancer) {
    let source = "127.0.0.99";
    let channel = balancer.channel_from(source);
    let request = pb::SignInRequest {
        email: "rolling0@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        ..Default::default()
    };
    let answer = Client::anonymous(&channel)
        .auth
        .sign_in(request)
        .await
        .unwrap();
    let token = answer.into_inner().tokens.unwrap().access_token;
    let mut auth = Client::with_token(&channel, &token).auth;
    let list = auth
        .list_sessions(pb::ListSessionsRequest::default())
        .await
        .unwrap();
    assert_eq!(list.into_inner().sessions[0].peer_address, source);
}

#[tokio::test]
async fn without_replicas_a_load_balancer_answers_with_grpc_status_unavailable() {
    for balancer in [LoadBalancer::haproxy().await, LoadBalancer::nginx().await] {
        let channel = balancer.channel_from("127.0.0.1");
        let mut anonymous = Client::anonymous(&channel).auth;
        let refused = anonymous.sign_in(pb::SignInRequest::default()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);

        let watch = Watcher::resume(&Client::anonymous(&channel), "", 0).await;
        assert_eq!(watch.err().unwrap().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn haproxy_accepts_its_configuration_without_warnings() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy/haproxy.cfg");
    let checked = command_of("haproxy")
        .args(["-c", "-f", file])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
}
