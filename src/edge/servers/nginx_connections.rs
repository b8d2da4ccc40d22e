use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::nginx_stat::StatStream;
use crate::{edge::publisher::ConnectionId, random::random_id};

/// The time for which an accepted publish may be missing in `/stat`.
const MAX_ABSENCE: Duration = Duration::from_secs(30);

/// The most publishes of one connection; nginx allows one at a time.
const MAX_PUBLISHES_PER_CLIENT: usize = 4;

/// The most connections that are known. While `/stat` cannot be read, the one that was seen first is
/// removed for a new one.
const MAX_CONNECTIONS: usize = 10_000;

/// The prefix of all public names; no stream key has it.
const PREFIX: &str = "p_";

/// The publishes of the connections of nginx-rtmp: its hooks identify only the connection.
#[derive(Debug, Default)]
pub(crate) struct NginxConnections {
    /// The publishes by connection, with the time at which a hook or `/stat` last had them.
    clients: Mutex<HashMap<u64, VecDeque<(NginxPublish, Instant)>>>,
}

/// A publish of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NginxPublish {
    /// Its id: the number of the connection, and the public name if it has one.
    pub(crate) id: ConnectionId,
    pub(super) client: u64,
    /// The name in nginx-rtmp; `None` for a stream that began without the edge. That one is
    /// named by its stream key, which must not be part of an id.
    pub(crate) name: Option<PublicName>,
}

/// The name to which nginx-rtmp renames a stream, so that its stream key stays hidden. It
/// is new with each publish, and recognised after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PublicName(String);

impl NginxConnections {
    /// Adds a publish that is about to be accepted; `None` if its connection has too many.
    pub(super) fn begin(&self, client: u64) -> Option<NginxPublish> {
        let publish = NginxPublish::new(client, Some(PublicName::generate()))?;
        let mut clients = self.clients.lock();
        if clients.len() >= MAX_CONNECTIONS && !clients.contains_key(&client) {
            let last_seen = |publishes: &VecDeque<(_, Instant)>| {
                publishes.iter().map(|(_, last_seen)| *last_seen).max()
            };
            let by_age = clients.iter().map(|(id, one)| (last_seen(one), *id));
            if let Some((_, oldest)) = by_age.min() {
                clients.remove(&oldest);
            }
        }
        let publishes = clients.entry(client).or_default();
        if publishes.len() >= MAX_PUBLISHES_PER_CLIENT {
            return None;
        }
        publishes.push_back((publish.clone(), Instant::now()));
        Some(publish)
    }

    pub(crate) fn refuse(&self, refused: &NginxPublish) {
        let mut clients = self.clients.lock();
        let Some(publishes) = clients.get_mut(&refused.client) else {
            return;
        };
        publishes.retain(|(publish, _)| publish != refused);
        if publishes.is_empty() {
            clients.remove(&refused.client);
        }
    }

    /// The publish of a connection: of several the first, which is the one nginx accepted.
    pub(super) fn find(&self, client: u64) -> Option<NginxPublish> {
        let clients = self.clients.lock();
        let (publish, _) = clients.get(&client)?.front()?;
        Some(publish.clone())
    }

    /// Removes the publish of a connection: of several the first, as the hook of an end may
    /// come after that of the next begin.
    pub(crate) fn end(&self, client: u64) -> Option<NginxPublish> {
        let mut clients = self.clients.lock();
        let publishes = clients.get_mut(&client)?;
        let (ended, _) = publishes.pop_front()?;
        if publishes.is_empty() {
            clients.remove(&client);
        }
        Some(ended)
    }

    /// Adds the publishes of `/stat`, and removes those that it has lacked for 30 seconds.
    pub(super) fn reconcile(&self, streams: &[StatStream]) {
        let mut clients = self.clients.lock();
        for stream in streams {
            let Some(publish) = NginxPublish::of_stream(stream) else {
                continue;
            };
            let publishes = clients.entry(stream.client).or_default();
            publishes.retain(|(known, _)| *known != publish);
            publishes.push_front((publish, Instant::now()));
        }
        clients.retain(|_, publishes| {
            publishes.retain(|(_, last_seen)| last_seen.elapsed() < MAX_ABSENCE);
            !publishes.is_empty()
        });
    }
}

impl NginxPublish {
    fn new(client: u64, name: Option<PublicName>) -> Option<Self> {
        let id = ConnectionId::parse(&match &name {
            Some(name) => format!("{client}-{name}"),
            None => client.to_string(),
        })?;
        Some(Self { id, client, name })
    }

    pub(super) fn parse(id: &ConnectionId) -> Option<Self> {
        let (client, name) = match id.as_str().split_once('-') {
            Some((client, name)) => (client, Some(PublicName::parse(name)?)),
            None => (id.as_str(), None),
        };
        Self::new(client.parse().ok()?, name)
    }

    /// The publish of a stream in `/stat`.
    pub(super) fn of_stream(stream: &StatStream) -> Option<Self> {
        Self::new(stream.client, PublicName::parse(&stream.name))
    }
}

impl PublicName {
    /// A new one, with 128 random bits.
    pub(crate) fn generate() -> Self {
        Self(format!("{PREFIX}{}", random_id()))
    }

    /// Parses the name of a stream; `None` if it is not a public name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == 32 && digits.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_CONNECTIONS, NginxConnections, PublicName};
    use crate::{domain::StreamKey, edge::servers::nginx_stat::StatStream, proto::v1::StreamStats};

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
        let connections = NginxConnections::default();
        let publish = connections.begin(54).unwrap();
        let name = publish.name.clone().unwrap();
        assert_eq!(publish.id.as_str(), format!("54-{name}"));

        assert_eq!(connections.find(54), Some(publish.clone()));
        assert_eq!(connections.find(55), None);
        assert_eq!(connections.end(54), Some(publish));
        assert_eq!(connections.find(54), None);
        assert_eq!(connections.end(54), None);
    }

    #[test]
    fn an_end_that_comes_after_the_next_begin_ends_the_first() {
        let connections = NginxConnections::default();
        let first = connections.begin(54).unwrap();
        let second = connections.begin(54).unwrap();
        assert_eq!(connections.end(54), Some(first));
        assert_eq!(connections.find(54), Some(second));
    }

    #[test]
    fn a_refused_publish_is_removed() {
        let connections = NginxConnections::default();
        let refused = connections.begin(54).unwrap();
        connections.refuse(&refused);
        assert_eq!(connections.find(54), None);
    }

    #[test]
    fn stat_restores_publishes_after_a_restart() {
        let connections = NginxConnections::default();
        let name = PublicName::generate();
        connections.reconcile(&[stream(54, name.as_str()), stream(60, "sk_1")]);
        assert_eq!(connections.find(54).unwrap().name, Some(name));
        let other = connections.find(60).unwrap();
        assert_eq!(other.id.as_str(), "60", "a key is not part of an id");
        assert_eq!(other.name, None);
    }

    #[test]
    fn a_publish_that_stat_lacks_is_kept_for_a_while() {
        let connections = NginxConnections::default();
        let publish = connections.begin(54);
        connections.reconcile(&[]);
        assert_eq!(connections.find(54), publish);
    }

    #[test]
    fn a_publish_in_stat_comes_before_one_that_stat_lacks() {
        let connections = NginxConnections::default();
        let loser = connections.begin(54);
        let name = PublicName::generate();
        connections.reconcile(&[stream(54, name.as_str())]);
        assert_ne!(connections.find(54), loser);
        assert_eq!(connections.find(54).unwrap().name, Some(name));
    }

    #[test]
    fn a_connection_has_at_most_four_publishes() {
        let connections = NginxConnections::default();
        let begun = (0..10).filter_map(|_| connections.begin(54));
        assert_eq!(begun.count(), 4);
    }

    #[test]
    fn the_number_of_known_connections_is_limited_and_the_oldest_goes_first() {
        let connections = NginxConnections::default();
        for client in 0..=MAX_CONNECTIONS as u64 {
            connections.begin(client).unwrap();
        }

        assert_eq!(connections.clients.lock().len(), MAX_CONNECTIONS);
        assert_eq!(connections.find(0), None);
        assert!(connections.find(1).is_some());
    }

    #[test]
    fn a_public_name_is_recognised_and_no_stream_key_is_one() {
        let name = PublicName::generate();
        assert_eq!(PublicName::parse(name.as_str()), Some(name.clone()));
        assert_ne!(PublicName::generate(), name);

        let key = StreamKey::generate();
        assert_eq!(PublicName::parse(key.0.expose()), None);
        for other in ["", "p_", "p_0123", &name.as_str().to_uppercase()] {
            assert_eq!(PublicName::parse(other), None, "{other}");
        }
    }
}
