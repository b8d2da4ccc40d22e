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
    balancers::{Balancer, program},
    patient::{Lived, follow, get, rename, work},
};
use crate::harness::{Client, Postgres, Process, Signal, TestDatabase, Watcher, eventually};

/// How many clients call, and as many watch.
const CLIENTS: usize = 16;

/// How often a client reads and writes.
const PACE: Duration = Duration::from_millis(50);

/// Someone who watches a project, and where to tell the last revision.
struct Follower {
    client: Client,
    project_id: String,
    goal: watch::Sender<Option<i64>>,
    following: JoinHandle<u64>,
}

/// A new user with a project, through a load balancer, on connections of its own.
async fn user(balancer: &Balancer, number: usize) -> (Client, pb::Project) {
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
        name: "Show".to_owned(),
        ..Default::default()
    };
    let project = client.project.create_project(request).await.unwrap();
    (client, project.into_inner().project.unwrap())
}

fn follower(client: &Client, project: &pb::Project) -> Follower {
    let (goal, told) = watch::channel(None);
    Follower {
        following: tokio::spawn(follow(client.clone(), project.id.clone(), told)),
        client: client.clone(),
        project_id: project.id.clone(),
        goal,
    }
}

impl Follower {
    /// How often it went on, once it has seen everything.
    async fn done(self) -> u64 {
        let project = get(&self.client, &self.project_id).await.unwrap();
        let last = project.into_inner().project.unwrap().revision;
        self.goal.send(Some(last)).unwrap();
        self.following.await.unwrap()
    }
}

/// Stops a replica as an operator does, and starts it again.
async fn restart(
    balancer: &Balancer,
    replicas: &mut [Process; 2],
    number: usize,
    database: &TestDatabase,
) {
    replicas[number].signal(Signal::TERM);
    assert_eq!(replicas[number].ended().await, Some(0));
    replicas[number] = balancer.replica(number, database);
    replicas[number].channel().await;
    found(balancer, ["a", "b"][number]).await;
}

/// Waits until the load balancer has found a replica as often as it has lost it.
async fn found(balancer: &Balancer, name: &str) {
    let server = format!("Server replicas/{name} is");
    eventually("the load balancer finds the replica", async || {
        let lost = balancer.said(&format!("{server} DOWN"));
        (balancer.said(&format!("{server} UP")) >= lost).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_replicas_restart_one_after_the_other_no_call_fails_and_no_event_is_lost() {
    let database = TestDatabase::create(Postgres).await;
    let balancer = Balancer::haproxy().await;
    eventually(
        "the load balancer has looked for the replicas",
        async || (balancer.said("has no server available") > 0).then_some(()),
    )
    .await;
    let mut replicas = [0, 1].map(|number| balancer.replica(number, &database));
    for name in ["a", "b"] {
        found(&balancer, name).await;
    }
    let (stop, mut working) = (CancellationToken::new(), JoinSet::new());
    let mut followers = Vec::new();
    for number in 0..CLIENTS {
        let (client, project) = user(&balancer, number).await;
        followers.push(follower(&client, &project));
        working.spawn(work(client, project.id, interval(PACE), stop.clone()));
    }

    for _ in 0..3 {
        for number in [0, 1] {
            restart(&balancer, &mut replicas, number, &database).await;
        }
    }
    sleep(Duration::from_millis(500)).await;
    stop.cancel();

    let (mut calls, mut repetitions) = (0, 0);
    while let Some(worked) = working.join_next().await {
        let lived = worked.unwrap().expect("no call fails");
        calls += lived.calls;
        repetitions += lived.repetitions;
    }
    let mut resumed = 0;
    for follower in followers {
        let times = follower.done().await;
        assert!(times > 0, "each watch was on a replica that stopped");
        resumed += times;
    }
    println!("{calls} calls, {repetitions} repetitions, {resumed} watches resumed");
    assert!(calls > 2000, "{calls} calls");
    assert!(
        repetitions * 100 < calls,
        "{repetitions} repetitions of {calls} calls"
    );
}

#[tokio::test]
async fn through_nginx_calls_and_watches_pass_and_the_callers_address_is_known() {
    let database = TestDatabase::create(Postgres).await;
    let balancer = Balancer::nginx().await;
    let mut replicas = [0, 1].map(|number| balancer.replica(number, &database));
    for replica in &replicas {
        replica.channel().await;
    }
    let (client, project) = user(&balancer, 0).await;
    let follower = follower(&client, &project);
    sessions_of(&balancer).await;

    replicas[0].signal(Signal::TERM);
    assert_eq!(replicas[0].ended().await, Some(0));
    for name in ["One", "Two", "Three", "Four"] {
        let renamed = Lived::default()
            .call(|| rename(&client, &project.id, name))
            .await;
        renamed.unwrap();
    }
    follower.done().await;
}

/// Signs in from another address, which the server is to know.
async fn sessions_of(balancer: &Balancer) {
    let source = "127.0.0.99";
    let channel = balancer.channel_from(source);
    let request = pb::SignInRequest {
        email: "rolling0@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
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
async fn where_no_replica_is_left_a_load_balancer_says_unavailable_in_words_of_grpc() {
    for balancer in [Balancer::haproxy().await, Balancer::nginx().await] {
        let channel = balancer.channel_from("127.0.0.1");
        let mut anonymous = Client::anonymous(&channel).auth;
        let refused = anonymous.sign_in(pb::SignInRequest::default()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);

        let watch = Watcher::after(&Client::anonymous(&channel), "", 0).await;
        assert_eq!(watch.err().unwrap().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn haproxy_has_nothing_to_say_against_its_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy/haproxy.cfg");
    let checked = program("haproxy")
        .args(["-c", "-f", file])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
}
