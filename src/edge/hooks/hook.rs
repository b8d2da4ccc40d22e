use http::Method;

use crate::{config::MediaServerKind, domain::Secret, random::sha256};

/// What a media server asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// nginx-rtmp: somebody wants to publish.
    NginxPublish,
    /// nginx-rtmp: somebody has stopped.
    NginxPublishDone,
    /// nginx-rtmp: somebody still publishes, or plays.
    NginxUpdate,
    /// MediaMTX: somebody wants to do something.
    MtxAuth,
    /// MediaMTX: media flows.
    MtxAvailable,
    /// MediaMTX: it does not any more.
    MtxUnavailable,
    /// SRS: somebody wants to publish.
    SrsPublish,
    /// SRS: somebody has stopped.
    SrsUnpublish,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A hook, by whoever knows the secret.
    Hook(Hook),
    /// Whether the edge lives.
    Life,
    /// What is there, but not in this way.
    OtherMethod,
    /// What is not there.
    Nothing,
}

/// What proves that a hook is the media server's.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    hash: Vec<u8>,
}

impl Hook {
    /// The hook of a media server and a name.
    fn of(server: &str, name: &str) -> Option<Self> {
        Some(match (server, name) {
            ("nginx-rtmp", "publish") => Self::NginxPublish,
            ("nginx-rtmp", "publish_done") => Self::NginxPublishDone,
            ("nginx-rtmp", "update") => Self::NginxUpdate,
            ("mediamtx", "auth") => Self::MtxAuth,
            ("mediamtx", "available") => Self::MtxAvailable,
            ("mediamtx", "unavailable") => Self::MtxUnavailable,
            ("srs", "publish") => Self::SrsPublish,
            ("srs", "unpublish") => Self::SrsUnpublish,
            _ => return None,
        })
    }

    /// Whose it is.
    pub(super) fn server(self) -> MediaServerKind {
        match self {
            Self::NginxPublish | Self::NginxPublishDone | Self::NginxUpdate => {
                MediaServerKind::NginxRtmp
            }
            Self::MtxAuth | Self::MtxAvailable | Self::MtxUnavailable => MediaServerKind::MediaMtx,
            Self::SrsPublish | Self::SrsUnpublish => MediaServerKind::Srs,
        }
    }
}

impl Wanted {
    /// Reads a request. Without the secret nobody learns which hooks there are.
    pub(super) fn of(method: &Method, path: &str, proof: &Proof) -> Self {
        if path == "/livez" {
            return match *method {
                Method::GET | Method::HEAD => Self::Life,
                _ => Self::OtherMethod,
            };
        }
        let mut parts = path.split('/').skip(1);
        let mut part = || parts.next().unwrap_or_default();
        let (hooks, server, secret, name) = (part(), part(), part(), part());
        if hooks != "hooks" || !proof.is(secret) || parts.next().is_some() {
            return Self::Nothing;
        }
        match Hook::of(server, name) {
            Some(hook) if method == Method::POST => Self::Hook(hook),
            Some(_) => Self::OtherMethod,
            None => Self::Nothing,
        }
    }
}

impl Proof {
    /// Keeps what tells the secret from others.
    pub(super) fn new(secret: &Secret) -> Self {
        let hash = sha256(secret.expose());
        Self { hash }
    }

    /// How long that takes says nothing of the secret: its hash cannot be approached.
    fn is(&self, text: &str) -> bool {
        sha256(text) == self.hash
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Hook, Proof, Wanted};
    use crate::domain::Secret;

    const SECRET: &str = "0123456789abcdef";

    fn wanted(method: Method, path: &str) -> Wanted {
        Wanted::of(&method, path, &Proof::new(&Secret::new(SECRET)))
    }

    #[test]
    fn a_hook_is_found_by_its_path() {
        for (path, hook) in [
            ("nginx-rtmp/S/publish", Hook::NginxPublish),
            ("nginx-rtmp/S/publish_done", Hook::NginxPublishDone),
            ("nginx-rtmp/S/update", Hook::NginxUpdate),
            ("mediamtx/S/auth", Hook::MtxAuth),
            ("mediamtx/S/available", Hook::MtxAvailable),
            ("mediamtx/S/unavailable", Hook::MtxUnavailable),
            ("srs/S/publish", Hook::SrsPublish),
            ("srs/S/unpublish", Hook::SrsUnpublish),
        ] {
            let path = format!("/hooks/{}", path.replace('S', SECRET));
            assert_eq!(wanted(Method::POST, &path), Wanted::Hook(hook));
            assert_eq!(wanted(Method::GET, &path), Wanted::OtherMethod);
        }
    }

    #[test]
    fn a_wrong_secret_looks_like_an_unknown_path() {
        for path in [
            "/hooks/nginx-rtmp/0123456789abcdeX/publish",
            "/hooks/nginx-rtmp/0123456789abcde/publish",
            "/hooks/nginx-rtmp//publish",
            "/hooks/nginx-rtmp/publish",
            "/hooks/nginx-rtmp/0123456789abcdef/unheard",
            "/hooks/other/0123456789abcdef/publish",
            "/hooks/nginx-rtmp/0123456789abcdef/publish/",
            "/hooks/nginx-rtmp/0123456789abcdef",
            "/other/nginx-rtmp/0123456789abcdef/publish",
            "/",
            "",
        ] {
            assert_eq!(wanted(Method::POST, path), Wanted::Nothing, "{path}");
            assert_eq!(wanted(Method::GET, path), Wanted::Nothing, "{path}");
        }
    }

    #[test]
    fn whether_the_edge_lives_is_no_secret() {
        assert_eq!(wanted(Method::GET, "/livez"), Wanted::Life);
        assert_eq!(wanted(Method::POST, "/livez"), Wanted::OtherMethod);
    }
}
