use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{PublicName, nginx_stat::StatStream};
use crate::edge::connection::ConnectionId;

/// For how long a publish that was accepted may be missing in `/stat`.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many publishes one connection may have at once; nginx lets it have one.
const PER_CLIENT: usize = 4;

/// Which publishes the connections of nginx-rtmp have: hooks name the connection only.
#[derive(Debug, Default)]
pub(super) struct Connections {
    clients: Mutex<HashMap<u64, VecDeque<Publish>>>,
}

/// What a connection publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// What names it: the connection, and the public name if it has one.
    pub(crate) id: ConnectionId,
    /// The number that nginx has given the connection.
    pub(super) client: u64,
    /// What nginx-rtmp calls it; `None` for a stream that was begun without the edge and is
    /// called by its key, which is no part of a name.
    pub(crate) name: Option<PublicName>,
}

/// The same, and when it was last heard of.
#[derive(Debug)]
struct Publish {
    published: Published,
    heard: Instant,
}

impl Connections {
    /// Takes a publish that is about to be accepted; `None` if its connection has too many.
    pub(super) fn begin(&self, client: u64) -> Option<Published> {
        let published = Published::of(client, Some(PublicName::generate()))?;
        let mut clients = self.clients();
        let publishes = clients.entry(client).or_default();
        if publishes.len() >= PER_CLIENT {
            return None;
        }
        publishes.push_back(Publish::new(published.clone()));
        Some(published)
    }

    /// Forgets a publish that was refused.
    pub(super) fn refuse(&self, refused: &Published) {
        let mut clients = self.clients();
        let Some(publishes) = clients.get_mut(&refused.client) else {
            return;
        };
        publishes.retain(|publish| publish.published != *refused);
        if publishes.is_empty() {
            clients.remove(&refused.client);
        }
    }

    /// What a connection publishes: of several the first, for it is that which nginx took.
    pub(super) fn find(&self, client: u64) -> Option<Published> {
        let clients = self.clients();
        Some(clients.get(&client)?.front()?.published.clone())
    }

    /// Forgets what a connection has published: of several the first, for the hook of an
    /// end may come after that of the next begin.
    pub(super) fn end(&self, client: u64) -> Option<Published> {
        let mut clients = self.clients();
        let publishes = clients.get_mut(&client)?;
        let ended = publishes.pop_front()?.published;
        if publishes.is_empty() {
            clients.remove(&client);
        }
        Some(ended)
    }

    /// Takes over what `/stat` says. What it does not know, and is not new, is gone.
    pub(super) fn agree(&self, streams: &[StatStream]) {
        let mut clients = self.clients();
        for stream in streams {
            let Some(published) = stream.published() else {
                continue;
            };
            let publishes = clients.entry(stream.client).or_default();
            publishes.retain(|publish| publish.published != published);
            publishes.push_front(Publish::new(published));
        }
        clients.retain(|_, publishes| {
            publishes.retain(|publish| publish.heard.elapsed() < PATIENCE);
            !publishes.is_empty()
        });
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, VecDeque<Publish>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Published {
    /// What a connection publishes under a name.
    fn of(client: u64, name: Option<PublicName>) -> Option<Self> {
        let id = ConnectionId::parse(&match &name {
            Some(name) => format!("{client}-{name}"),
            None => client.to_string(),
        })?;
        Some(Self { id, client, name })
    }

    /// What a name of this kind names.
    pub(super) fn parse(id: &ConnectionId) -> Option<Self> {
        let (client, name) = match id.as_str().split_once('-') {
            Some((client, name)) => (client, Some(PublicName::parse(name)?)),
            None => (id.as_str(), None),
        };
        Self::of(client.parse().ok()?, name)
    }
}

impl StatStream {
    /// What its publisher publishes.
    pub(super) fn published(&self) -> Option<Published> {
        Published::of(self.client, PublicName::parse(&self.name))
    }
}

impl Publish {
    fn new(published: Published) -> Self {
        let heard = Instant::now();
        Self { published, heard }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connections, PublicName};
    use crate::{edge::servers::nginx_stat::StatStream, proto::v1::StreamStats};

    fn stream(client: u64, name: &str) -> StatStream {
        StatStream {
            application: "live".to_owned(),
            name: name.to_owned(),
            client,
            address: String::new(),
            stats: StreamStats::default(),
        }
    }

    #[test]
    fn a_publish_is_found_by_its_connection_until_it_ends() {
        let connections = Connections::default();
        let published = connections.begin(54).unwrap();
        let name = published.name.clone().unwrap();
        assert_eq!(published.id.as_str(), format!("54-{name}"));

        assert_eq!(connections.find(54), Some(published.clone()));
        assert_eq!(connections.find(55), None);
        assert_eq!(connections.end(54), Some(published));
        assert_eq!(connections.find(54), None);
        assert_eq!(connections.end(54), None);
    }

    #[test]
    fn an_end_that_comes_after_the_next_begin_ends_the_first() {
        let connections = Connections::default();
        let first = connections.begin(54).unwrap();
        let second = connections.begin(54).unwrap();
        assert_eq!(connections.end(54), Some(first));
        assert_eq!(connections.find(54), Some(second));
    }

    #[test]
    fn what_was_refused_is_forgotten() {
        let connections = Connections::default();
        let refused = connections.begin(54).unwrap();
        connections.refuse(&refused);
        assert_eq!(connections.find(54), None);
    }

    #[test]
    fn after_a_restart_stat_tells_who_publishes() {
        let connections = Connections::default();
        let name = PublicName::generate();
        connections.agree(&[stream(54, name.as_str()), stream(60, "sk_1")]);
        assert_eq!(connections.find(54).unwrap().name, Some(name));
        let other = connections.find(60).unwrap();
        assert_eq!(other.id.as_str(), "60", "a key is no part of a name");
        assert_eq!(other.name, None);
    }

    #[test]
    fn what_stat_does_not_show_yet_stays_for_a_while() {
        let connections = Connections::default();
        let published = connections.begin(54);
        connections.agree(&[]);
        assert_eq!(connections.find(54), published);
    }

    #[test]
    fn what_stat_shows_comes_before_what_it_does_not() {
        let connections = Connections::default();
        let loser = connections.begin(54);
        let name = PublicName::generate();
        connections.agree(&[stream(54, name.as_str())]);
        assert_ne!(connections.find(54), loser);
        assert_eq!(connections.find(54).unwrap().name, Some(name));
    }

    #[test]
    fn one_connection_cannot_have_many_publishes() {
        let connections = Connections::default();
        let begun = (0..10).filter_map(|_| connections.begin(54));
        assert_eq!(begun.count(), 4);
    }
}
