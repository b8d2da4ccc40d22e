use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use http::Method;

use super::{
    api::Api,
    server::{AT_ONCE, ServerTerms, play_url},
    srs_answers::{Client, Envelope, SrsStream},
};
use crate::{
    domain::Secret,
    edge::connection::{ConnectionId, Look, Offer, Seen},
    proto::v1::IngestProtocol,
};

/// What SRS says of a connection that it does not have (`ERROR_RTMP_CLIENT_NOT_FOUND`).
const NOT_FOUND: i64 = 2049;

/// How many things a page of a list has, and how many pages are read at most.
const PER_PAGE: usize = 500;
const PAGES: usize = 20;

/// For how long a connection may be missing in the list before its count is forgotten.
const PATIENCE: Duration = Duration::from_secs(30);

/// SRS 5 and later.
#[derive(Debug)]
pub(crate) struct Srs {
    api: Api,
    rtmp: String,
    run: Mutex<Run>,
}

/// What is known of one run of the server.
#[derive(Debug, Default)]
struct Run {
    boot_id: String,
    clients: HashMap<String, Publishes>,
}

/// The publishes of one connection.
#[derive(Debug)]
struct Publishes {
    count: u32,
    ended: bool,
    heard: Instant,
}

impl Srs {
    /// Nothing is asked yet.
    pub(super) fn new(api: Api, terms: &ServerTerms) -> Self {
        Self {
            api,
            rtmp: terms.rtmp.clone(),
            run: Mutex::default(),
        }
    }

    /// A connection is about to publish in this run of the server: what names the publish.
    /// One that publishes again after it has ended has a new name.
    pub(crate) fn begin(&self, boot_id: &str, client: &str) -> Option<ConnectionId> {
        let mut run = self.run();
        run.is(boot_id);
        let publishes = run.clients.entry(client.to_owned()).or_default();
        if publishes.ended {
            publishes.count += 1;
            publishes.ended = false;
        }
        publishes.heard = Instant::now();
        publishes.id(client)
    }

    /// A connection of this run has ended its publish: what named it; `None` if the run
    /// is over.
    pub(crate) fn end(&self, boot_id: &str, client: &str) -> Option<ConnectionId> {
        let mut run = self.run();
        if !run.boot_id.is_empty() && run.boot_id != boot_id {
            return None;
        }
        let publishes = run.clients.entry(client.to_owned()).or_default();
        publishes.ended = true;
        publishes.id(client)
    }

    /// A publisher, as hooks or the API tell of it.
    pub(crate) fn offer(
        &self,
        id: ConnectionId,
        application: &str,
        stream_key: &str,
        address: &str,
        protocol: IngestProtocol,
    ) -> Offer {
        Offer {
            id,
            stream_key: Secret::new(stream_key),
            peer_address: address.to_owned(),
            protocol,
            play_url: play_url(&self.rtmp, &[application, stream_key]),
        }
    }

    /// Who publishes now. Who has lost a double publish is disconnected, and not among them.
    pub(super) async fn look(&self) -> anyhow::Result<Look> {
        let mut service = String::new();
        let clients = self.list("clients", &mut service, |answer| answer.clients);
        let clients: Vec<Client> = clients.await?;
        let streams = self.list("streams", &mut service, |answer| answer.streams);
        let streams: Vec<SrsStream> = streams.await?;
        let streams: HashMap<&str, &SrsStream> = streams
            .iter()
            .map(|stream| (stream.id.as_str(), stream))
            .collect();

        let mut run = self.run();
        run.is(&service);
        let publishers = clients.iter().filter(|client| client.publish);
        let seen = publishers.filter_map(|client| {
            let id = run.hear(&client.id)?;
            let stream = streams.get(client.stream.as_str()).copied();
            Some(self.seen(id, client, stream))
        });
        let seen = seen.collect();
        run.clients
            .retain(|_, publishes| publishes.heard.elapsed() < PATIENCE);
        Ok(Look {
            shown_within: AT_ONCE,
            boot_id: service,
            seen,
        })
    }

    /// Disconnects a publisher.
    pub(super) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        let client = id.as_str();
        let client = client
            .split_once('.')
            .map_or(client, |(client, _count)| client);
        let path = format!("/api/v1/clients/{client}");
        let answer = self.api.ask(Method::DELETE, &path).await?;
        match parse(&answer.body)?.code {
            0 | NOT_FOUND => Ok(()),
            code => bail!("SRS answers with the code {code}"),
        }
    }

    fn seen(&self, id: ConnectionId, client: &Client, stream: Option<&SrsStream>) -> Seen {
        let application = client.application(stream);
        let offer = self.offer(
            id.clone(),
            application,
            &client.name,
            &client.ip,
            client.protocol(),
        );
        Seen {
            id,
            offer: (!client.name.is_empty()).then_some(offer),
            stats: Some(client.stats(stream)),
        }
    }

    /// All of a list, and which run of the server has answered: one has answered all.
    async fn list<T>(
        &self,
        name: &str,
        service: &mut String,
        take: fn(Envelope) -> Vec<T>,
    ) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        for page in 0..PAGES {
            let start = page * PER_PAGE;
            let path = format!("/api/v1/{name}/?start={start}&count={PER_PAGE}");
            let answer = parse(&self.api.get(&path).await?)?;
            if answer.code != 0 {
                bail!("SRS answers with the code {}", answer.code);
            }
            if ConnectionId::parse(&answer.service).is_none() {
                bail!("SRS does not say which run it is: it must be SRS 5 or later");
            }
            if !service.is_empty() && *service != answer.service {
                bail!("SRS has started anew meanwhile");
            }
            service.clone_from(&answer.service);

            let page = take(answer);
            let is_last = page.len() < PER_PAGE;
            items.extend(page);
            if is_last {
                return Ok(items);
            }
        }
        bail!("SRS has more than {} of its {name}", PAGES * PER_PAGE)
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// This is the server's run now. Connections of another one are gone.
    fn is(&mut self, boot_id: &str) {
        if self.boot_id != boot_id {
            boot_id.clone_into(&mut self.boot_id);
            self.clients.clear();
        }
    }

    /// A connection publishes: what names its publish.
    fn hear(&mut self, client: &str) -> Option<ConnectionId> {
        let publishes = self.clients.entry(client.to_owned()).or_default();
        publishes.heard = Instant::now();
        publishes.id(client)
    }
}

impl Publishes {
    /// The first is called like the connection.
    fn id(&self, client: &str) -> Option<ConnectionId> {
        match self.count {
            1 => ConnectionId::parse(client),
            count => ConnectionId::parse(&format!("{client}.{count}")),
        }
    }
}

impl Default for Publishes {
    fn default() -> Self {
        Self {
            count: 1,
            ended: false,
            heard: Instant::now(),
        }
    }
}

fn parse(body: &[u8]) -> anyhow::Result<Envelope> {
    // The fault may quote the answer, where stream keys stand.
    let parsed = serde_json::from_slice(body).ok();
    parsed.context("SRS answers something else than was asked for")
}
