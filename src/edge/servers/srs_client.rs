use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::bail;
use http::Method;
use parking_lot::Mutex;

use super::{
    http_api::{self, HttpApi},
    srs_api::{ApiAnswer, SrsClient, SrsStream},
};
use crate::{
    domain::Secret,
    edge::publisher::{ConnectionId, ObservedPublisher, PublishRequest, PublisherSnapshot},
    proto::v1::IngestProtocol,
};

/// The code of SRS for a connection that does not exist (`ERROR_RTMP_CLIENT_NOT_FOUND`).
const CLIENT_NOT_FOUND: i64 = 2049;

const PAGE_SIZE: usize = 500;
const MAX_PAGES: usize = 20;

/// The time without a hook or list entry after which a connection is removed.
const MAX_ABSENCE: Duration = Duration::from_secs(30);

/// The most connections that are known: as many as SRS lists. While its list cannot be read, the
/// one that was seen first is removed for a new one.
const MAX_CONNECTIONS: usize = MAX_PAGES * PAGE_SIZE;

/// A client of SRS 5 and later.
#[derive(Debug)]
pub(crate) struct Srs {
    api: HttpApi,
    rtmp_url: String,
    boot: Mutex<Boot>,
}

/// The connections of one boot of the server.
#[derive(Debug, Default)]
struct Boot {
    id: String,
    clients: HashMap<String, ClientPublishes>,
}

/// The publishes of one connection, one after the other.
#[derive(Debug)]
struct ClientPublishes {
    count: u32,
    has_ended: bool,
    last_seen: Instant,
}

impl Srs {
    pub(super) fn new(api: HttpApi, rtmp_url: String) -> Self {
        Self {
            api,
            rtmp_url,
            boot: Mutex::default(),
        }
    }

    /// A connection of this boot wants to publish. Returns the id of the publish: a new one
    /// if the connection has ended a publish before.
    pub(crate) fn begin(&self, boot_id: &str, client: &str) -> Option<ConnectionId> {
        let mut boot = self.boot.lock();
        boot.set_id(boot_id);
        let publishes = boot.see(client);
        if publishes.has_ended {
            publishes.count += 1;
            publishes.has_ended = false;
        }
        publishes.current_id(client)
    }

    /// A connection of this boot has ended its publish. Returns the id of the publish;
    /// `None` if the boot is over.
    pub(crate) fn end(&self, boot_id: &str, client: &str) -> Option<ConnectionId> {
        let mut boot = self.boot.lock();
        if !boot.id.is_empty() && boot.id != boot_id {
            return None;
        }
        let publishes = boot.publishes_of(client);
        publishes.has_ended = true;
        publishes.current_id(client)
    }

    /// A publish request with values from a hook or the API.
    pub(crate) fn publish_request(
        &self,
        id: ConnectionId,
        application: &str,
        stream_key: &str,
        address: &str,
        protocol: IngestProtocol,
    ) -> PublishRequest {
        PublishRequest {
            id,
            stream_key: Secret::new(stream_key),
            peer_address: address.to_owned(),
            protocol,
            play_url: PublishRequest::play_url(&self.rtmp_url, &[application, stream_key]),
        }
    }

    /// The connections that publish now. SRS disconnects the second of two publishers of one
    /// stream, and does not list it.
    pub(super) async fn snapshot(&self) -> anyhow::Result<PublisherSnapshot> {
        let mut boot_id = String::new();
        let clients = self.list("clients", &mut boot_id, |answer| answer.clients);
        let clients: Vec<SrsClient> = clients.await?;
        let streams = self.list("streams", &mut boot_id, |answer| answer.streams);
        let streams: Vec<SrsStream> = streams.await?;
        let streams = streams.iter().map(|stream| (stream.id.as_str(), stream));
        let streams: HashMap<&str, &SrsStream> = streams.collect();

        let mut boot = self.boot.lock();
        boot.set_id(&boot_id);
        let publishing = clients.iter().filter(|client| client.publish);
        let publishers = publishing.filter_map(|client| {
            let id = boot.see(&client.id).current_id(&client.id)?;
            let stream = streams.get(client.stream.as_str()).copied();
            Some(self.observed(id, client, stream))
        });
        let publishers = publishers.collect();
        boot.clients
            .retain(|_, publishes| publishes.last_seen.elapsed() < MAX_ABSENCE);
        Ok(PublisherSnapshot {
            boot_id,
            publishers,
            listing_delay: PublisherSnapshot::USUAL_LISTING_DELAY,
        })
    }

    pub(super) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        let id = id.as_str();
        let client = id.split_once('.').map_or(id, |(client, _count)| client);
        let path = format!("/api/v1/clients/{client}");
        let response = self.api.request(Method::DELETE, &path).await?;
        match http_api::parse_json::<ApiAnswer>(response.body(), "SRS")?.code {
            0 | CLIENT_NOT_FOUND => Ok(()),
            code => bail!("SRS answers with the code {code}"),
        }
    }

    fn observed(
        &self,
        id: ConnectionId,
        client: &SrsClient,
        stream: Option<&SrsStream>,
    ) -> ObservedPublisher {
        let request = self.publish_request(
            id.clone(),
            client.application(stream),
            &client.name,
            &client.ip,
            client.protocol(),
        );
        ObservedPublisher {
            id,
            request: (!client.name.is_empty()).then_some(request),
            stats: Some(client.stats(stream)),
        }
    }

    /// All items of a list. `boot_id` is filled by the first answer; an answer of another
    /// boot is an error.
    async fn list<T>(
        &self,
        name: &str,
        boot_id: &mut String,
        items_of: fn(ApiAnswer) -> Vec<T>,
    ) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        for page in 0..MAX_PAGES {
            let start = page * PAGE_SIZE;
            let path = format!("/api/v1/{name}/?start={start}&count={PAGE_SIZE}");
            let answer: ApiAnswer = http_api::parse_json(self.api.get(&path).await?.body(), "SRS")?;
            if answer.code != 0 {
                bail!("SRS answers with the code {}", answer.code);
            }
            if ConnectionId::parse(&answer.service).is_none() {
                bail!("SRS has no service id: SRS 5 or later is required");
            }
            if !boot_id.is_empty() && *boot_id != answer.service {
                bail!("SRS has restarted meanwhile");
            }
            boot_id.clone_from(&answer.service);

            let page = items_of(answer);
            let is_last = page.len() < PAGE_SIZE;
            items.extend(page);
            if is_last {
                return Ok(items);
            }
        }
        bail!("SRS lists more than {} {name}", MAX_PAGES * PAGE_SIZE)
    }
}

impl Boot {
    /// Sets the current boot. A new one has none of the connections before.
    fn set_id(&mut self, id: &str) {
        if self.id != id {
            id.clone_into(&mut self.id);
            self.clients.clear();
        }
    }

    /// The publishes of a connection that a hook or the list has now.
    fn see(&mut self, client: &str) -> &mut ClientPublishes {
        let publishes = self.publishes_of(client);
        publishes.last_seen = Instant::now();
        publishes
    }

    fn publishes_of(&mut self, client: &str) -> &mut ClientPublishes {
        if self.clients.len() >= MAX_CONNECTIONS && !self.clients.contains_key(client) {
            let by_age = self.clients.iter().map(|(id, one)| (one.last_seen, id));
            if let Some(oldest) = by_age.min().map(|(_, id)| id.clone()) {
                self.clients.remove(&oldest);
            }
        }
        self.clients.entry(client.to_owned()).or_default()
    }
}

impl ClientPublishes {
    /// The first publish has the id of the connection; later ones append their number.
    fn current_id(&self, client: &str) -> Option<ConnectionId> {
        match self.count {
            1 => ConnectionId::parse(client),
            count => ConnectionId::parse(&format!("{client}.{count}")),
        }
    }
}

impl Default for ClientPublishes {
    fn default() -> Self {
        Self {
            count: 1,
            has_ended: false,
            last_seen: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Boot, MAX_CONNECTIONS};

    #[test]
    fn the_number_of_known_connections_is_limited_and_the_oldest_goes_first() {
        let mut boot = Boot::default();
        for number in 0..=MAX_CONNECTIONS {
            boot.see(&number.to_string()).has_ended = true;
        }

        assert_eq!(boot.clients.len(), MAX_CONNECTIONS);
        assert!(!boot.clients.contains_key("0"));
        assert!(boot.see("1").has_ended, "a known connection removes none");
        assert_eq!(boot.clients.len(), MAX_CONNECTIONS);
    }
}
