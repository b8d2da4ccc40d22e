use std::collections::VecDeque;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::media::{HOOKS_SECRET, Nginx};

/// The first client id that nginx-rtmp itself does not use.
const FIRST_VISITOR_ID: u64 = 1_000_000;

/// The number of visitors that publish at the same time.
const CONCURRENT_VISITORS: usize = 20;

/// A kind of hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Update,
    Publish,
    PublishDone,
}

/// A hook call to send.
pub struct Hook {
    address: String,
    path: String,
    body: String,
    expected_status: &'static str,
}

/// Chooses the next hook to call.
pub struct Caller {
    address: String,
    /// The clients that publish, and their stream keys.
    publishers: Vec<(u64, String)>,
    /// Stream keys without a publisher.
    free: VecDeque<String>,
    /// The client ids of visitors and their stream keys.
    visitors: VecDeque<(u64, String)>,
    next: u64,
}

impl Call {
    /// The directive of nginx-rtmp.
    pub fn name(self) -> &'static str {
        match self {
            Self::Update => "on_update",
            Self::Publish => "on_publish",
            Self::PublishDone => "on_publish_done",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Publish => "publish",
            Self::PublishDone => "publish_done",
        }
    }

    fn call(self) -> &'static str {
        match self {
            Self::Update => "update_publish",
            Self::Publish => "publish",
            Self::PublishDone => "publish_done",
        }
    }

    fn expected_status(self) -> &'static str {
        match self {
            Self::Publish => "302",
            Self::Update | Self::PublishDone => "200",
        }
    }
}

impl Caller {
    /// Reads the clients that publish with `keys` from `/stat`. Visitors use the keys in
    /// `free`.
    pub async fn new(nginx: &Nginx, keys: &[String], free: Vec<String>) -> anyhow::Result<Self> {
        let clients = publishing_clients(&nginx.sandbox.host).await?;
        ensure!(clients.len() == keys.len(), "{} publish", clients.len());
        Ok(Self {
            address: nginx.hooks(),
            publishers: clients.into_iter().zip(keys.iter().cloned()).collect(),
            free: free.into(),
            visitors: VecDeque::new(),
            next: FIRST_VISITOR_ID,
        })
    }

    /// The hook for call number `number`.
    pub fn next(&mut self, number: u32) -> (Call, Hook) {
        match number % 20 {
            0 if !self.free.is_empty() => self.publish(),
            10 if self.visitors.len() > CONCURRENT_VISITORS => self.publish_done(),
            _ => {
                let at = number as usize % self.publishers.len();
                let (client, key) = self.publishers[at].clone();
                (Call::Update, self.hook(Call::Update, client, &key))
            }
        }
    }

    fn publish(&mut self) -> (Call, Hook) {
        let key = self.free.pop_front().expect("a key is free");
        self.next += 1;
        let hook = self.hook(Call::Publish, self.next, &key);
        self.visitors.push_back((self.next, key));
        (Call::Publish, hook)
    }

    fn publish_done(&mut self) -> (Call, Hook) {
        let (client, key) = self.visitors.pop_front().expect("there is a visitor");
        let hook = self.hook(Call::PublishDone, client, &key);
        self.free.push_back(key);
        (Call::PublishDone, hook)
    }

    fn hook(&self, call: Call, client: u64, key: &str) -> Hook {
        let body = format!(
            "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&\
             tcurl=rtmp://127.0.0.1/live&pageurl=&addr=127.0.0.1&clientid={client}&\
             call={}&{}name={key}",
            call.call(),
            match call {
                Call::Update => "time=2&timestamp=1956&",
                Call::Publish | Call::PublishDone => "",
            },
        );
        Hook {
            address: self.address.clone(),
            path: format!("/hooks/nginx-rtmp/{HOOKS_SECRET}/{}", call.path()),
            body,
            expected_status: call.expected_status(),
        }
    }
}

impl Hook {
    /// Sends the call as nginx-rtmp does. Returns whether the response is as expected.
    pub async fn send(self) -> anyhow::Result<bool> {
        let request = format!(
            "POST {} HTTP/1.0\r\nHost: 127.0.0.1\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nConnection: Close\r\n\
             Content-Length: {}\r\n\r\n{}",
            self.path,
            self.body.len(),
            self.body,
        );
        let answer = exchange(&self.address, &request).await?;
        Ok(answer.split(' ').nth(1) == Some(self.expected_status))
    }
}

/// The ids of publishing clients of nginx-rtmp, in the order of their connections.
async fn publishing_clients(host: &str) -> anyhow::Result<Vec<u64>> {
    let request = "GET /stat HTTP/1.0\r\n\r\n";
    let answer = exchange(&format!("{host}:8080"), request).await?;
    let (_, document) = answer.split_once("\r\n\r\n").context("a response")?;
    let document = roxmltree::Document::parse(document.trim())?;
    let clients = document.descendants();
    let clients = clients.filter(|node| node.has_tag_name("client"));
    let publishes = |client: &roxmltree::Node| {
        let mut parts = client.children();
        parts.any(|part| part.has_tag_name("publishing"))
    };
    let mut numbers = Vec::new();
    for client in clients.filter(publishes) {
        let id = client.children().find(|part| part.has_tag_name("id"));
        let id = id.and_then(|id| id.text()).context("a client has an id")?;
        numbers.push(id.parse()?);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

async fn exchange(address: &str, request: &str) -> anyhow::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer)?)
}
