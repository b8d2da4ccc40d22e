use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::hook::{Hook, HookContent, HookResponse, json, text};
use crate::{config::MediaServerKind, domain::Secret, random::sha256, transport::serve_http1};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 64;

/// What arrived of the hook of a test publisher. A later one tells more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    Nothing,
    /// A request with a wrong secret or an unknown path.
    WrongSecret,
    /// A hook of this kind of media server.
    OtherServer(MediaServerKind),
    /// The hook.
    Hook,
}

/// Receives hooks while no edge runs, and looks for that of a test publisher. All publishers
/// are refused, as without an edge.
pub(crate) struct HookProbe {
    arrived: Arc<Mutex<Arrived>>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// The hook to look for.
#[derive(Clone)]
struct Expected {
    secret_hash: Vec<u8>,
    server: MediaServerKind,
    stream_key: String,
    arrived: Arc<Mutex<Arrived>>,
}

impl HookProbe {
    /// Looks for a hook of this kind of media server about a stream key.
    pub(crate) fn start(
        listener: TcpListener,
        secret: &Secret,
        server: MediaServerKind,
        stream_key: &str,
    ) -> Self {
        let arrived = Arc::new(Mutex::new(Arrived::Nothing));
        let shutdown = CancellationToken::new();
        let expected = Expected {
            secret_hash: sha256(secret.expose()),
            server,
            stream_key: stream_key.to_owned(),
            arrived: Arc::clone(&arrived),
        };
        let respond = move |request| {
            let expected = expected.clone();
            async move { expected.respond(request).await }
        };
        let stopped = shutdown.clone();
        let serving = tokio::spawn(async move {
            serve_http1(listener, MAX_CONNECTIONS, true, stopped, respond).await;
        });
        Self {
            arrived,
            shutdown,
            serving,
        }
    }

    /// Stops, and tells what has arrived.
    pub(crate) async fn finish(self) -> Arrived {
        self.shutdown.cancel();
        // An error means that its task has panicked, after which nothing arrives.
        let _ = self.serving.await;
        *self.arrived.lock()
    }
}

impl Expected {
    async fn respond(&self, request: Request<Incoming>) -> HookResponse {
        let unknown = || text(StatusCode::NOT_FOUND, "not found");
        let Some(hook) = Hook::of_path(request.uri().path(), &self.secret_hash) else {
            if request.uri().path().starts_with("/hooks/") {
                self.raise(Arrived::WrongSecret);
            }
            return unknown();
        };
        if hook.server() != self.server {
            self.raise(Arrived::OtherServer(hook.server()));
            return unknown();
        }
        match HookContent::read(request).await {
            Ok(content) => {
                let body = String::from_utf8_lossy(&content.body);
                if body.contains(&self.stream_key) {
                    self.raise(Arrived::Hook);
                }
                respond(hook)
            }
            Err(response) => response,
        }
    }

    fn raise(&self, arrived: Arrived) {
        let mut before = self.arrived.lock();
        if *before != Arrived::Hook {
            *before = arrived;
        }
    }
}

/// Refuses publishers, and disconnects none.
fn respond(hook: Hook) -> HookResponse {
    match hook {
        Hook::NginxPublish | Hook::MtxAuth => {
            text(StatusCode::SERVICE_UNAVAILABLE, "the edge is not running")
        }
        Hook::SrsPublish => json(
            StatusCode::OK,
            &json!({"code": 1, "msg": "the edge is not running"}),
        ),
        Hook::SrsUnpublish => json(StatusCode::OK, &json!({"code": 0})),
        Hook::NginxPublishDone | Hook::NginxUpdate | Hook::MtxAvailable | Hook::MtxUnavailable => {
            text(StatusCode::OK, "received")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::servers::HttpApi;

    #[tokio::test]
    async fn wrong_secrets_and_other_media_servers_are_told_apart() {
        use Arrived::{Nothing, OtherServer, WrongSecret};
        for (path, arrived) in [
            ("/hooks/srs/0123456789abcdeX/publish", WrongSecret),
            ("/hooks/srs/0123456789abcdef/unheard", WrongSecret),
            (
                "/hooks/nginx-rtmp/0123456789abcdef/publish",
                OtherServer(MediaServerKind::NginxRtmp),
            ),
            // A hook of another publisher.
            ("/hooks/srs/0123456789abcdef/publish", Nothing),
            ("/livez", Nothing),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let api = HttpApi::of_address(listener.local_addr().unwrap());
            let secret = Secret::new("0123456789abcdef");
            let probe = HookProbe::start(listener, &secret, MediaServerKind::Srs, "key");
            api.request(http::Method::POST, path).await.unwrap();
            assert_eq!(probe.finish().await, arrived, "{path}");
        }
    }

    #[test]
    fn no_live_publisher_is_disconnected_and_no_new_one_admitted() {
        for (hook, status) in [
            (Hook::NginxPublish, 503),
            (Hook::MtxAuth, 503),
            (Hook::NginxUpdate, 200),
            (Hook::NginxPublishDone, 200),
            (Hook::MtxAvailable, 200),
            (Hook::SrsUnpublish, 200),
        ] {
            assert_eq!(respond(hook).status(), status, "{hook:?}");
        }
    }
}
