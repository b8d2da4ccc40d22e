use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Invalid, invalid::refuse};

text_enum! {
    /// The protocol of a publisher.
    pub enum IngestProtocol {
        /// Unknown.
        Unknown = "unknown",
        /// RTMP.
        Rtmp = "rtmp",
        /// RTMP over TLS.
        Rtmps = "rtmps",
        /// SRT.
        Srt = "srt",
        /// WebRTC (WHIP, RFC 9725).
        Whip = "whip",
        /// RTSP.
        Rtsp = "rtsp",
    }
}

/// A publishing connection to a media server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// The media server.
    pub node_id: String,
    /// The run of the media server, new at every start.
    pub boot_id: String,
    /// The connection within that run.
    pub connection_id: String,
    /// The publisher's IP address; empty if not known.
    pub peer_address: String,
    /// The publisher's protocol.
    pub protocol: IngestProtocol,
}

impl Publisher {
    /// Whether all three ids are the same.
    pub fn is_same_connection(&self, other: &Self) -> bool {
        self.node_id == other.node_id
            && self.boot_id == other.boot_id
            && self.connection_id == other.connection_id
    }

    /// Whether the other one is a connection of another boot of the same media server.
    pub fn is_from_other_boot(&self, other: &Self) -> bool {
        self.node_id == other.node_id && self.boot_id != other.boot_id
    }

    /// Parses one of the three ids: 1 to 128 visible ASCII characters.
    pub fn parse_id(text: &str) -> Result<String, Invalid> {
        if text.is_empty() {
            return refuse("must not be empty");
        }
        if text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("must have 1 to 128 visible ASCII characters");
        }
        Ok(text.to_owned())
    }

    /// Parses an IP address; may be empty.
    pub fn parse_peer_address(text: &str) -> Result<String, Invalid> {
        if text.is_empty() {
            return Ok(String::new());
        }
        text.parse::<IpAddr>()
            .map(|address| address.to_string())
            .map_err(|_| Invalid::because("must be an IP address without port, or empty"))
    }
}
