use std::{fmt, sync::Arc};

use uuid::Uuid;

use super::{ApiKeyId, Invalid, Publisher, Time};

/// The id of a media server: 1 to 128 visible ASCII characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Parses an id.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Publisher::parse_id(text).map(|text| Self(text.into()))
    }

    /// Parses an id that may be absent: empty is `None`.
    pub fn parse_optional(text: &str) -> Result<Option<Self>, Invalid> {
        match text {
            "" => Ok(None),
            _ => Self::parse(text).map(Some),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A media server that has reported, for operators.
#[derive(Debug, Clone)]
pub struct Node {
    /// The id of its row, by which lists are ordered.
    pub id: Uuid,
    /// Its id.
    pub node_id: String,
    /// Its newest boot.
    pub boot_id: String,
    /// When that boot reported first.
    pub boot_time: Time,
    /// When the node reported first.
    pub create_time: Time,
    /// When it last reported.
    pub last_report_time: Time,
    /// The number of its streams that have not ended.
    pub live_stream_count: i64,
    /// Since when the relays of its workers move away, if they do.
    pub drain_time: Option<Time>,
}

/// A relay worker, for operators.
#[derive(Debug, Clone)]
pub struct Worker {
    /// The id of its row, by which lists are ordered.
    pub id: Uuid,
    /// Its id.
    pub worker_id: String,
    /// The media server whose streams it relays; empty means any.
    pub node_id: String,
    /// How many relays it can run at once.
    pub capacity: i64,
    /// The number of relays that it holds.
    pub relay_count: i64,
    /// When it first claimed relays.
    pub create_time: Time,
    /// When it last claimed relays.
    pub last_claim_time: Time,
    /// The operator key of its last claim.
    pub api_key_id: ApiKeyId,
}

#[cfg(test)]
mod tests {
    use super::NodeId;

    #[test]
    fn a_node_id_has_1_to_128_visible_ascii_characters() {
        for text in ["n1", &"x".repeat(128)] {
            assert_eq!(NodeId::parse(text).unwrap().as_str(), text);
        }
        for text in ["", " ", "a b", "é", "a\n", &"x".repeat(129)] {
            assert!(NodeId::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(NodeId::parse_optional(""), Ok(None));
    }
}
