use super::PeerAddress;

/// The client that sent a request.
#[derive(Debug, Clone, Default)]
pub struct RequestOrigin {
    /// The caller's address, if it is known.
    pub peer_address: Option<PeerAddress>,
    /// The client's `user-agent`; at most 256 bytes, may be empty.
    pub user_agent: String,
}

impl RequestOrigin {
    /// The caller's address as text; empty if it is not known.
    pub fn address(&self) -> String {
        self.peer_address
            .map_or_else(String::new, |peer| peer.to_string())
    }
}
