use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    time::Duration,
};

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use tokio::{
    sync::broadcast::Receiver,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_stream::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use super::{
    connection::{Connection, NatsSettings},
    topic::Topic,
};
use crate::{
    backoff::Backoff,
    claim_dispatch::ClaimDispatch,
    database::{ChangeNotifications, Database},
    domain::{ProjectId, now},
    error::Result,
    repositories::RelayLeases,
    telemetry::{Throttle, metrics::NATS},
    watching::{CollectedChanges, WatchHub, collect_all_changes},
};

/// The delays before a reconnect.
const RECONNECT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// A connection that lasted as long does not count as a failure.
const STABLE: Duration = Duration::from_secs(30);

/// The interval of log lines about a server that cannot be reached.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The time for which changed projects are collected, so that each is published once.
const COALESCE_DELAY: Duration = Duration::from_millis(5);

/// The time for which changed projects are collected for one read of what can be claimed.
const CLAIMS_COALESCE_DELAY: Duration = Duration::from_millis(20);

/// The most projects in one statement.
const BATCH_SIZE: usize = 1000;

/// How long a full queue of messages may hold up those behind it.
const PUBLISH_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a full queue of messages may hold up a subscription. Then the server hangs.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most subjects of projects, and of media servers, that a replica subscribes to one by one; above,
/// it hears of all. Each takes 8 KiB of memory.
const MAX_SUBJECTS: usize = 4096;

/// The time for which changes of what is wanted are collected.
const SUBSCRIBE_DELAY: Duration = Duration::from_millis(5);

/// Notifies other replicas of the changes of this one, and receives theirs.
#[derive(Debug)]
pub struct NatsNotifications {
    changes: ChangeNotifications,
    hub: WatchHub,
    claims: ClaimDispatch,
    relay_leases: RelayLeases,
}

/// The subjects that this replica is subscribed to, each with the task that receives its messages.
type Subscriptions = HashMap<Topic, AbortOnDropHandle<()>>;

impl NatsNotifications {
    /// Notifications that wake the watches of a hub and the workers of a dispatch.
    pub fn new(
        database: &Database,
        hub: WatchHub,
        claims: ClaimDispatch,
        relay_leases: RelayLeases,
    ) -> Self {
        Self {
            changes: database.change_notifications().clone(),
            hub,
            claims,
            relay_leases,
        }
    }

    /// Stays connected; never returns.
    pub async fn run(self, settings: NatsSettings) {
        let mut changes = self.changes.subscribe_local();
        let mut warnings = Throttle::new(LOG_INTERVAL);
        let mut failures = 0;
        loop {
            let connecting = unless_dropped(&mut changes, settings.connect()).await;
            let began_at = Instant::now();
            let error = match connecting {
                Ok(connection) => {
                    NATS.connected.set(1);
                    tracing::info!(servers = settings.servers.addresses(), "connected to NATS");
                    // Notifications may have been missed without a connection.
                    self.hub.request_full_poll();
                    self.exchange(&connection, &mut changes).await;
                    NATS.connected.set(0);
                    NATS.subscriptions.set(0);
                    "the connection was lost".to_owned()
                }
                Err(error) => format!("{error:#}"),
            };
            failures = match began_at.elapsed() < STABLE {
                true => failures + 1,
                false => 1,
            };
            if let Some(occurrences) = warnings.record() {
                tracing::warn!(
                    error,
                    occurrences,
                    "no connection to NATS: the changes of other replicas are found otherwise"
                );
            }
            unless_dropped(&mut changes, sleep(RECONNECT_BACKOFF.delay(failures))).await;
        }
    }

    /// Publishes and receives until the connection is lost.
    async fn exchange(&self, connection: &Connection, changes: &mut Receiver<ProjectId>) {
        let client = &connection.client;
        tokio::select! {
            () = connection.lost() => {}
            () = self.subscribe(client) => {}
            never = publish_projects(client, changes) => match never {},
            never = self.publish_nodes(client) => match never {},
        }
    }

    /// Publishes the media servers where relays of the changed projects can be claimed.
    async fn publish_nodes(&self, client: &Client) -> Infallible {
        let mut changes = self.changes.subscribe_local();
        loop {
            let delay = sleep(CLAIMS_COALESCE_DELAY);
            let CollectedChanges { ids, .. } = collect_all_changes(&mut changes, delay).await;
            let ids: Vec<_> = ids.into_iter().collect();
            for ids in ids.chunks(BATCH_SIZE) {
                match self.claimable_nodes(ids).await {
                    Ok(nodes) => publish(client, nodes.into_iter().map(Topic::Node)).await,
                    // The workers' own polls say so.
                    Err(error) => {
                        let error = error.with_causes();
                        tracing::debug!(error, "cannot read which relays can be claimed");
                    }
                }
            }
        }
    }

    async fn claimable_nodes(&self, ids: &[ProjectId]) -> Result<Vec<String>> {
        self.relay_leases.claimable_nodes_of(ids, now()).await
    }

    /// Keeps the subscriptions those that are wanted. Returns if the server hangs.
    async fn subscribe(&self, client: &Client) {
        let mut subscribed = Subscriptions::new();
        loop {
            let wanted = self.wanted(&subscribed);
            for topic in &wanted {
                if subscribed.contains_key(topic) {
                    continue;
                }
                let subscribing = client.subscribe(topic.to_string());
                let Ok(Ok(subscriber)) = timeout(SUBSCRIBE_TIMEOUT, subscribing).await else {
                    return;
                };
                let receiving = receive(subscriber, self.changes.clone(), self.claims.clone());
                let task = AbortOnDropHandle::new(tokio::spawn(receiving));
                subscribed.insert(topic.clone(), task);
            }
            subscribed.retain(|topic, _| wanted.contains(topic));
            NATS.subscriptions
                .set(i64::try_from(subscribed.len()).unwrap_or(i64::MAX));
            tokio::select! {
                () = self.hub.watched_changed() => {}
                () = self.claims.workers_changed() => {}
            }
            sleep(SUBSCRIBE_DELAY).await;
        }
    }

    /// What this replica has to hear of: the projects that are watched or relayed here, and the media
    /// servers of waiting workers.
    fn wanted(&self, subscribed: &Subscriptions) -> HashSet<Topic> {
        let limit = limit(subscribed.contains_key(&Topic::AllProjects));
        let projects = self.hub.watched(limit).map(|watched| {
            let leased = self.claims.leased_projects();
            watched.into_iter().chain(leased).map(Topic::Project)
        });
        let mut wanted = at_most(limit, projects, Topic::AllProjects);

        let limit = self::limit(subscribed.contains_key(&Topic::AllNodes));
        let (nodes, has_unbound) = self.claims.nodes();
        let nodes = (!has_unbound).then(|| nodes.into_iter().map(Topic::Node));
        wanted.extend(at_most(limit, nodes, Topic::AllNodes));
        wanted
    }
}

/// The most subjects of a kind. Where one stands for all, they must become much fewer, so that it does not
/// change back and forth.
fn limit(has_all: bool) -> usize {
    match has_all {
        true => MAX_SUBJECTS / 2,
        false => MAX_SUBJECTS,
    }
}

/// The topics, or `all` if they are not known or more than `limit`.
fn at_most(
    limit: usize,
    topics: Option<impl Iterator<Item = Topic>>,
    all: Topic,
) -> HashSet<Topic> {
    let topics: Option<HashSet<_>> = topics.map(Iterator::collect);
    let few = topics.filter(|topics| topics.len() <= limit);
    few.unwrap_or_else(|| HashSet::from([all]))
}

/// Counts the changes that cannot be published, until a future completes.
async fn unless_dropped<T>(
    changes: &mut Receiver<ProjectId>,
    future: impl Future<Output = T>,
) -> T {
    let counting = async {
        loop {
            let CollectedChanges { ids, missed } = collect_all_changes(changes, async {}).await;
            let unpublished = NATS.dropped.with_label_values(&["publish"]);
            unpublished.inc_by(missed + ids.len() as u64);
        }
    };
    tokio::select! {
        output = future => output,
        never = counting => never,
    }
}

/// Publishes the projects that this replica has changed.
async fn publish_projects(client: &Client, changes: &mut Receiver<ProjectId>) -> Infallible {
    loop {
        let collecting = collect_all_changes(changes, sleep(COALESCE_DELAY));
        let CollectedChanges { ids, missed } = collecting.await;
        NATS.dropped.with_label_values(&["publish"]).inc_by(missed);
        publish(client, ids.into_iter().map(Topic::Project)).await;
    }
}

/// Publishes topics, of which those are dropped for which the queue has no place.
async fn publish(client: &Client, mut topics: impl Iterator<Item = Topic>) {
    let deadline = Instant::now() + PUBLISH_TIMEOUT;
    while let Some(topic) = topics.next() {
        let publishing = client.publish(topic.to_string(), Bytes::new());
        if let Ok(Ok(())) = timeout_at(deadline, publishing).await {
            NATS.published.inc();
        } else {
            let dropped = 1 + topics.count() as u64;
            NATS.dropped.with_label_values(&["publish"]).inc_by(dropped);
            return;
        }
    }
}

/// Reports the changes that a subscription hears of, until it ends.
async fn receive(mut subscriber: Subscriber, changes: ChangeNotifications, claims: ClaimDispatch) {
    while let Some(message) = subscriber.next().await {
        match topic(&message) {
            Some(Topic::Project(id)) => changes.notify_remote(id),
            Some(Topic::Node(node_id)) => claims.wake_node(&node_id),
            Some(Topic::AllProjects | Topic::AllNodes) | None => {
                NATS.ignored.inc();
                continue;
            }
        }
        NATS.received.inc();
    }
}

/// The topic of a message; `None` if no replica has sent it.
fn topic(message: &Message) -> Option<Topic> {
    let is_plain =
        message.payload.is_empty() && message.reply.is_none() && message.headers.is_none();
    Topic::of_message(&message.subject).filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, iter::repeat_with};

    use super::{MAX_SUBJECTS, at_most, limit};
    use crate::{domain::ProjectId, nats::Topic};

    #[test]
    fn beyond_a_number_of_projects_one_subject_stands_for_all() {
        let topics = |count| repeat_with(|| Topic::Project(ProjectId::generate())).take(count);
        let wanted =
            |count, has_all| at_most(limit(has_all), Some(topics(count)), Topic::AllProjects);
        let all = HashSet::from([Topic::AllProjects]);

        assert_eq!(wanted(MAX_SUBJECTS, false).len(), MAX_SUBJECTS);
        assert_eq!(wanted(MAX_SUBJECTS + 1, false), all);
        assert_eq!(wanted(MAX_SUBJECTS, true), all);
        assert_eq!(wanted(MAX_SUBJECTS / 2, true).len(), MAX_SUBJECTS / 2);
        assert_eq!(at_most(1, Some(topics(0)), Topic::AllProjects).len(), 0);
        assert_eq!(
            at_most(1, None::<std::iter::Empty<_>>, Topic::AllProjects),
            all
        );
    }
}
