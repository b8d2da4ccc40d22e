//! Programs are killed during writes and watches: acknowledged writes survive, and watchers resume
//! on another program.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    sync::{Arc, Mutex},
    time::Duration,
};

use rstest::rstest;
use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{
    Client, Cluster, Engine, MediaServer, Postgres, Process, Replicas, Sqlite, TestDatabase,
    Watcher, eventually,
};

const SETTINGS: [(&str, &str); 4] = [
    ("SLUICE_BCRYPT_COST", "4"),
    ("SLUICE_CALLER_RATE", "0"),
    ("SLUICE_ADDRESS_RATE", "0"),
    ("SLUICE_WATCH_POLL_INTERVAL", "100ms"),
];

/// Shared state of writers and watchers, with the acknowledged writes.
#[derive(Clone)]
struct Workload {
    replicas: Replicas,
    owner: String,
    media: String,
    project_id: String,
    stream_key: String,
    stop: CancellationToken,
    acknowledged: Arc<Acknowledged>,
}

#[derive(Default)]
struct Acknowledged {
    count: AtomicUsize,
    /// Names by revision.
    names: Mutex<BTreeMap<i64, String>>,
    /// Streams by connection, and whether they have ended.
    streams: Mutex<BTreeMap<String, (String, bool)>>,
}

/// Retries a call on alternating programs until one succeeds.
async fn retry_until_answered<A>(
    what: &'static str,
    mut call: impl AsyncFnMut(usize) -> Result<A, Status>,
) -> A {
    let mut tries = 0;
    eventually(what, async || {
        tries += 1;
        let answer = timeout(Duration::from_secs(5), call(tries)).await;
        match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(status)) => {
                assert!(is_caused_by_crash(&status), "{what}: {status:?}");
                None
            }
            Err(_) => None,
        }
    })
    .await
}

/// Whether a status can be caused by a killed program.
fn is_caused_by_crash(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    ) && status.details().is_empty()
        || [Code::Unavailable, Code::Aborted].contains(&status.code())
}

impl Workload {
    async fn begin(cluster: &Cluster) -> Self {
        let channel = cluster.replicas.channel(0);
        let request = pb::SignUpRequest {
            email: "ada@example.com".to_owned(),
            password: "correct horse battery".to_owned(),
            display_name: "Ada".to_owned(),
            request_id: String::new(),
        };
        let answer = Client::anonymous(&channel).auth.sign_up(request).await;
        let owner = answer.unwrap().into_inner().tokens.unwrap().access_token;
        let request = pb::CreateProjectRequest {
            name: "Show".to_owned(),
            reconnect_window: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let mut projects = Client::with_token(&channel, &owner).project;
        let made = projects.create_project(request).await.unwrap().into_inner();
        let secret = Process::create_operator_key(&cluster.database).await;
        let request = pb::ExchangeApiKeyRequest { secret };
        let answer = Client::anonymous(&channel)
            .auth
            .exchange_api_key(request)
            .await;
        Self {
            replicas: cluster.replicas.clone(),
            owner,
            media: answer.unwrap().into_inner().access_token,
            project_id: made.project.unwrap().id,
            stream_key: made.stream_key,
            stop: CancellationToken::new(),
            acknowledged: Arc::default(),
        }
    }

    fn owner(&self, replica: usize) -> Client {
        Client::with_token(&self.replicas.channel(replica), &self.owner)
    }

    fn media(&self, replica: usize) -> MediaServer {
        MediaServer {
            client: Client::with_token(&self.replicas.channel(replica), &self.media),
        }
    }

    /// Renames the project continuously; records the acknowledged names.
    async fn rename(self, writer: usize) {
        for number in 0.. {
            if self.stop.is_cancelled() {
                return;
            }
            let name = format!("Name {number} of {writer}");
            let revision = retry_until_answered("a rename succeeds", async |tries| {
                let request = pb::UpdateProjectRequest {
                    project_id: self.project_id.clone(),
                    name: Some(name.clone()),
                    ..Default::default()
                };
                let client = self.owner(writer + number + tries);
                let answer = client.project.clone().update_project(request).await?;
                Ok(answer.into_inner().project.unwrap().revision)
            })
            .await;
            let mut names = self.acknowledged.names.lock().unwrap();
            assert!(
                names.insert(revision, name).is_none(),
                "a revision is taken once"
            );
            self.acknowledged.count.fetch_add(1, Relaxed);
        }
    }

    /// Publishes continuously; records the acknowledged streams.
    async fn publish(self) {
        for number in 0.. {
            if self.stop.is_cancelled() {
                return;
            }
            let connection = format!("c{number}");
            let begun = retry_until_answered("a publish begins", async |tries| {
                let media = self.media(number + tries);
                let begun = media.begin(&self.stream_key, &connection).await?;
                Ok(begun.into_inner().stream.unwrap())
            })
            .await;
            self.record_stream(&connection, &begun.id, false);
            let end = pb::EndPublishRequest {
                stream_id: begun.id.clone(),
                epoch: begun.epoch,
                publisher: Some(MediaServer::connection(&connection)),
            };
            retry_until_answered("a publish ends", async |tries| {
                let media = self.media(number + tries).client;
                media.stream.clone().end_publish(end.clone()).await
            })
            .await;
            self.record_stream(&connection, &begun.id, true);
        }
    }

    fn record_stream(&self, connection: &str, stream_id: &str, ended: bool) {
        let mut streams = self.acknowledged.streams.lock().unwrap();
        streams.insert(connection.to_owned(), (stream_id.to_owned(), ended));
        self.acknowledged.count.fetch_add(1, Relaxed);
    }

    /// Watches on any available program, until a revision if one is set.
    async fn watch(self, first: i64, until: Arc<AtomicUsize>) -> (BTreeMap<i64, Event>, usize) {
        let (mut events, mut watches, mut revision) = (BTreeMap::new(), 0, first);
        while revision < until.load(Relaxed) as i64 {
            let mut watcher = retry_until_answered("a watch begins", async |tries| {
                Watcher::resume(&self.owner(watches + tries), &self.project_id, revision).await
            })
            .await;
            watches += 1;
            while revision < until.load(Relaxed) as i64 {
                let Ok(change) = timeout(Duration::from_secs(1), watcher.change()).await else {
                    // The connection was killed between two messages, or the watch has ended.
                    continue;
                };
                match change {
                    Ok(event) => {
                        revision += 1;
                        assert_eq!(watcher.revision, revision, "nothing is missed");
                        assert!(events.insert(revision, event).is_none());
                    }
                    Err(status) if is_caused_by_crash(&status) => break,
                    Err(status) => panic!("{status:?}"),
                }
            }
        }
        (events, watches)
    }

    /// Waits until more writes have been acknowledged.
    async fn wait_for_progress(&self) {
        let before = self.acknowledged.count.load(Relaxed);
        eventually("something is acknowledged", async || {
            (self.acknowledged.count.load(Relaxed) > before + 5).then_some(())
        })
        .await;
    }

    /// Checks that the watched events contain all acknowledged writes.
    fn assert_seen(&self, events: &BTreeMap<i64, Event>) {
        for (revision, name) in &*self.acknowledged.names.lock().unwrap() {
            let Event::ProjectUpdated(project) = &events[revision] else {
                panic!("{revision} gave a name");
            };
            assert_eq!(&project.name, name);
        }
        let streams = events.values().filter_map(|event| match event {
            Event::StreamChanged(stream) => Some(stream),
            _ => None,
        });
        let streams: Vec<_> = streams.collect();
        for (connection, (id, ended)) in &*self.acknowledged.streams.lock().unwrap() {
            let of_connection = |stream: &&&pb::Stream| {
                stream.publisher.as_ref().unwrap().connection_id == *connection
            };
            let seen: Vec<_> = streams.iter().filter(of_connection).collect();
            assert!(seen.iter().all(|stream| stream.id == *id), "{connection}");
            let statuses: Vec<_> = seen.iter().map(|stream| stream.status()).collect();
            let (begun, over) = (pb::StreamStatus::Connecting, pb::StreamStatus::Ended);
            match ended {
                true => assert_eq!(statuses, [begun, over], "{connection}"),
                false => assert_eq!(statuses[0], begun, "{connection}"),
            }
        }
    }
}

#[rstest]
#[case(Postgres, 2, 50)]
#[case(Sqlite, 1, 15)]
#[tokio::test]
async fn a_crash_loses_no_acknowledged_write_and_watchers_resume(
    #[case] engine: Engine,
    #[case] programs: usize,
    #[case] kills: usize,
) {
    let workload = kill_again_and_again(engine, programs, kills);
    LocalSet::new().run_until(workload).await;
}

async fn kill_again_and_again(engine: Engine, programs: usize, kills: usize) {
    let database = TestDatabase::create(engine).await;
    let mut cluster = Cluster::start(database, programs, &SETTINGS).await;
    let workload = Workload::begin(&cluster).await;
    let (snapshot, _) = Watcher::start_synced(&workload.owner(0), &workload.project_id).await;
    let first = snapshot.project.unwrap().revision;
    let until = Arc::new(AtomicUsize::new(usize::MAX >> 1));
    let mut watchers = JoinSet::new();
    for _ in 0..2 {
        watchers.spawn_local(workload.clone().watch(first, until.clone()));
    }
    let mut writers = JoinSet::new();
    for writer in 0..2 {
        writers.spawn_local(workload.clone().rename(writer));
    }
    writers.spawn_local(workload.clone().publish());

    for kill in 0..kills {
        workload.wait_for_progress().await;
        // Varies the moment of the kill.
        sleep(Duration::from_millis(kill as u64 % 7)).await;
        cluster.kill(kill).await;
    }
    workload.wait_for_progress().await;
    workload.stop.cancel();
    writers.join_all().await;

    let (snapshot, _) = Watcher::start_synced(&workload.owner(0), &workload.project_id).await;
    let last = snapshot.project.unwrap().revision;
    until.store(last as usize, Relaxed);
    let all: Vec<_> = (first + 1..=last).collect();
    for (events, watches) in watchers.join_all().await {
        assert_eq!(events.keys().copied().collect::<Vec<_>>(), all);
        assert!(watches > kills / 4, "it went on {watches} times");
        workload.assert_seen(&events);
    }
    let mut streams = workload.owner(0).stream;
    let acknowledged = workload.acknowledged.streams.lock().unwrap().clone();
    for (id, ended) in acknowledged.into_values() {
        let request = pb::GetStreamRequest { stream_id: id };
        let answer = streams.get_stream(request).await.unwrap().into_inner();
        let is_over = answer.stream.unwrap().status() == pb::StreamStatus::Ended;
        assert!(is_over || !ended);
    }
}
