//! The number of round trips to PostgreSQL that publishing takes: every statement counts, and
//! also what begins and ends a transaction.

use std::time::Duration;

use sluice::{
    database::Database,
    domain::{
        IngestProtocol, NodeId, Publisher, SealedPlayUrl, Stream, StreamExpiry, StreamStats,
        StreamTimeouts, now,
    },
    error::Error,
    repositories::{PublishAttempt, Publishing},
};
use uuid::Uuid;

use crate::harness::{Postgres, Proxy, TestDatabase, config};

/// Repositories without a server, whose jobs would read and write beside them.
struct Fixture {
    database: TestDatabase,
    proxy: Proxy,
    publishing: Publishing,
}

/// A project with two enabled destinations. Its key is its id.
struct Project {
    id: Uuid,
}

impl Fixture {
    async fn start() -> Self {
        let (database, proxy) = Proxy::to_database(TestDatabase::create(Postgres).await).await;
        let repositories = Database::open(&config(&database, &[]).database());
        let timeouts = StreamTimeouts {
            connect: Duration::from_secs(600),
            heartbeat: Duration::from_secs(600),
        };
        let user = "insert into users (id, email, email_key, email_verified, display_name,
                                       create_time, update_time)
                    values ('00000000-0000-0000-0000-000000000001', 'ada@example.com',
                            'ada@example.com', true, 'Ada', now(), now())";
        database.execute(user).await;
        Self {
            publishing: Publishing::new(repositories, timeouts),
            database,
            proxy,
        }
    }

    async fn project(&self, window_seconds: i64, policy: &str) -> Project {
        let id = Uuid::now_v7();
        let insert = format!(
            "insert into projects (id, owner_id, name, disabled, reconnect_window_ms,
                                   publish_conflict_policy, stream_key_hash, stream_key_hint,
                                   revision, create_time, update_time)
             select '{id}', id, 'Show', false, {window_seconds} * 1000, '{policy}',
                    uuid_send('{id}'), '0000', 1, now(), now()
             from users;
             insert into destinations (id, project_id, platform, name, url, stream_key_sealed,
                                       stream_key_hint, enabled, create_time, update_time)
             select gen_random_uuid(), '{id}', 'custom', 'Show', 'rtmp://example.com', '',
                    '0000', true, now(), now()
             from generate_series(1, 2)"
        );
        self.database.execute(&insert).await;
        Project { id }
    }

    async fn begin(
        &self,
        project: &Project,
        publisher: &Publisher,
        media_flowing: bool,
    ) -> Result<Stream, Error> {
        let play_url = SealedPlayUrl {
            id: Uuid::now_v7(),
            sealed: vec![1; 40],
        };
        let publish = PublishAttempt {
            key_hash: project.id.as_bytes(),
            publisher,
            media_flowing,
            play_url: media_flowing.then_some(&play_url),
            already_connected: false,
        };
        self.publishing.begin(publish, &now).await
    }

    async fn heartbeat(&self, stream: &Stream, publisher: &Publisher, bytes: i64) {
        let stats = StreamStats {
            bytes_received: bytes,
            ..StreamStats::default()
        };
        let (id, epoch) = (stream.id, stream.epoch);
        let beat = self
            .publishing
            .heartbeat(id, epoch, publisher, Some(&stats), now());
        beat.await.unwrap();
    }

    async fn end(&self, stream: &Stream, publisher: &Publisher) {
        let node = NodeId::parse(&publisher.node_id).unwrap();
        let publishing = self.publishing.bound_to(Some(&node));
        let end = publishing.end(stream.id, stream.epoch, publisher, now());
        end.await.unwrap();
    }

    /// Adds the round trips since the step before.
    fn steps<'a>(
        &'a self,
        counts: &'a mut Vec<(&'static str, usize)>,
    ) -> impl FnMut(&'static str) + 'a {
        let mut last = self.proxy.round_trips();
        move |step| {
            let now = self.proxy.round_trips();
            counts.push((step, now - last));
            last = now;
        }
    }

    /// The round trips of the publishes of a project that waits for its publisher.
    async fn count(&self, counts: &mut Vec<(&'static str, usize)>) {
        let project = self.project(60, "reject_new").await;
        let [a, b, c] = ["a", "b", "c"].map(|id| connection("n1", "b1", id));
        let mut step = self.steps(counts);

        let stream = self.begin(&project, &a, false).await.unwrap();
        step("begin");
        self.begin(&project, &a, false).await.unwrap();
        step("begin again");
        self.heartbeat(&stream, &a, 0).await;
        step("heartbeat without media");
        self.heartbeat(&stream, &a, 1).await;
        step("first heartbeat with media");
        self.heartbeat(&stream, &a, 2).await;
        step("heartbeat");
        self.begin(&project, &b, true).await.unwrap_err();
        step("begin refused");
        self.end(&stream, &b).await;
        step("end of another connection");
        self.end(&stream, &a).await;
        step("end");
        self.heartbeat(&stream, &a, 3).await;
        step("heartbeat after the end");
        self.begin(&project, &a, false).await.unwrap_err();
        step("late repetition of a begin");
        let stream = self.begin(&project, &c, true).await.unwrap();
        step("begin that resumes");
        let restarted = connection("n1", &Uuid::now_v7().to_string(), "d");
        let stream_after = self.begin(&project, &restarted, true).await.unwrap();
        step("begin after a restart of the media server");
        assert_eq!((stream_after.id, stream_after.epoch), (stream.id, 3));
        assert_eq!(self.relays_of(&project).await, 2);
    }

    /// The same of a project whose streams end at once.
    async fn count_without_window(&self, counts: &mut Vec<(&'static str, usize)>) {
        let project = self.project(0, "takeover").await;
        let boot = Uuid::now_v7().to_string();
        let [a, b] = ["a", "b"].map(|id| connection("n2", &boot, id));
        let mut step = self.steps(counts);
        self.begin(&project, &a, true).await.unwrap();
        step("first begin of a media server, with media");
        self.delay_reports_of_nodes().await;
        step("setup");
        let stream = self.begin(&project, &b, true).await.unwrap();
        step("begin that takes over");
        self.end(&stream, &b).await;
        step("end of a stream with relays");
    }

    /// The time of a node's last report is written every 30 seconds, but not in this test.
    async fn delay_reports_of_nodes(&self) {
        let later = "update nodes set last_report_time = now() + interval '1 hour'";
        self.database.execute(later).await;
    }

    async fn relays_of(&self, project: &Project) -> i64 {
        let query = format!(
            "select count(*) from relays where project_id = '{}'",
            project.id
        );
        self.database.number(&query).await
    }
}

fn connection(node_id: &str, boot_id: &str, connection_id: &str) -> Publisher {
    Publisher {
        node_id: node_id.to_owned(),
        boot_id: boot_id.to_owned(),
        connection_id: connection_id.to_owned(),
        peer_address: "203.0.113.5".to_owned(),
        protocol: IngestProtocol::Rtmp,
    }
}

#[tokio::test]
async fn publishing_takes_few_round_trips() {
    let fixture = Fixture::start().await;
    // The first run prepares the statements.
    let mut counts = Vec::new();
    fixture.count(&mut counts).await;
    fixture.count_without_window(&mut counts).await;
    fixture
        .database
        .execute("update node_boots set create_time = '2020-01-01' where boot_id <> 'b1'")
        .await;

    fixture.delay_reports_of_nodes().await;

    counts.clear();
    fixture.count(&mut counts).await;
    fixture.count_without_window(&mut counts).await;
    counts.retain(|(step, _)| *step != "setup");

    assert_eq!(
        counts,
        [
            ("begin", 2),
            ("begin again", 2),
            ("heartbeat without media", 1),
            ("first heartbeat with media", 2),
            ("heartbeat", 1),
            // It waits for the lock, as the other connection may be ending.
            ("begin refused", 7),
            ("end of another connection", 2),
            ("end", 2),
            ("heartbeat after the end", 1),
            ("late repetition of a begin", 1),
            ("begin that resumes", 3),
            ("begin after a restart of the media server", 4),
            ("first begin of a media server, with media", 3),
            ("begin that takes over", 3),
            ("end of a stream with relays", 3),
        ]
    );
}

/// Without it, a statement in a transaction would count as one.
#[tokio::test]
async fn a_begin_and_a_commit_are_round_trips() {
    let fixture = Fixture::start().await;
    let project = fixture.project(0, "reject_new").await;
    let stream = fixture
        .begin(&project, &connection("n1", "b1", "a"), true)
        .await;
    let id = stream.unwrap().id;
    for run in 0..2 {
        let before = fixture.proxy.round_trips();
        let expired = fixture
            .publishing
            .expire(id, StreamExpiry::All, now())
            .await
            .unwrap();
        assert!(expired.is_none());
        let round_trips = fixture.proxy.round_trips() - before;
        // begin, lock the project, lock the stream, read the window, rollback
        assert!(run == 0 || round_trips == 5, "{round_trips}");
    }
}
