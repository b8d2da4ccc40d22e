//! Conversions between SyncNode's messages and the domain.

use std::{collections::HashSet, time::Duration};

use super::{messages, node_reconciler::SyncOutcome};
use crate::{
    domain::{Invalid, NodeConnection, NodeReport, PlayUrl, Publisher, StreamId, StreamKey},
    error::Error,
    proto::v1 as pb,
    services::{
        enums::read_protocol,
        fields::{Fields, duration},
    },
};

/// The most connections that one call may report.
const MAX_CONNECTIONS: usize = 5000;

impl TryFrom<pb::SyncNodeRequest> for NodeReport {
    type Error = Error;

    fn try_from(message: pb::SyncNodeRequest) -> Result<Self, Error> {
        let pb::SyncNodeRequest {
            node_id,
            boot_id,
            connections,
        } = message;
        Fields::read_all(|fields| {
            let node_id = fields.read("node_id", Publisher::parse_id(&node_id));
            let boot_id = fields.read("boot_id", Publisher::parse_id(&boot_id));
            let connections = self::connections(
                fields,
                node_id.as_deref().unwrap_or_default(),
                boot_id.as_deref().unwrap_or_default(),
                connections,
            );
            Some(Self {
                node_id: node_id?,
                boot_id: boot_id?,
                connections: connections?,
            })
        })
    }
}

fn connections(
    fields: &mut Fields,
    node_id: &str,
    boot_id: &str,
    messages: Vec<pb::NodeConnection>,
) -> Option<Vec<NodeConnection>> {
    if messages.len() > MAX_CONNECTIONS {
        let invalid = Invalid::because("must be at most 5000");
        return fields.read("connections", Err(invalid));
    }
    let mut ids = HashSet::new();
    fields.read_each("connections", messages, |fields, message| {
        match ids.insert(message.connection_id.clone()) {
            true => connection(fields, node_id, boot_id, message),
            false => fields.read("connection_id", Err(Invalid::because("must not repeat"))),
        }
    })
}

fn connection(
    fields: &mut Fields,
    node_id: &str,
    boot_id: &str,
    message: pb::NodeConnection,
) -> Option<NodeConnection> {
    let pb::NodeConnection {
        connection_id,
        stream_id,
        epoch,
        stats,
        stream_key,
        peer_address,
        protocol,
        play_url,
    } = message;
    let connection_id = fields.read("connection_id", Publisher::parse_id(&connection_id));
    let known_stream = known_stream(fields, &stream_id, epoch);
    let stats = messages::stats(fields, stats);
    let stream_key = match stream_key.as_str() {
        "" => Some(None),
        key => fields.read("stream_key", StreamKey::parse(key)).map(Some),
    };
    let peer_address = Publisher::parse_peer_address(&peer_address);
    let peer_address = fields.read("peer_address", peer_address);
    let protocol = fields.read("protocol", read_protocol(protocol));
    let play_url = fields.read("play_url", PlayUrl::parse(&play_url));
    Some(NodeConnection {
        publisher: Publisher {
            node_id: node_id.to_owned(),
            boot_id: boot_id.to_owned(),
            connection_id: connection_id?,
            peer_address: peer_address?,
            protocol: protocol?,
        },
        known_stream: known_stream?,
        stats: stats?,
        key_hash: stream_key?.map(|key| key.hash()),
        play_url: play_url?,
    })
}

fn known_stream(
    fields: &mut Fields,
    stream_id: &str,
    epoch: i64,
) -> Option<Option<(StreamId, i64)>> {
    if stream_id.is_empty() {
        let none = match epoch {
            0 => Ok(None),
            _ => Err(Invalid::because("must be 0 without a stream_id")),
        };
        return fields.read("epoch", none);
    }
    let id = fields.read("stream_id", StreamId::parse(stream_id));
    let epoch = fields.read("epoch", messages::epoch(epoch));
    Some(Some((id?, epoch?)))
}

/// The response, with the interval of reports.
pub(super) fn sync_response(outcome: SyncOutcome, interval: Duration) -> pb::SyncNodeResponse {
    let SyncOutcome {
        kicks,
        ended,
        adoptions,
        error: _,
    } = outcome;
    let adopted = adoptions.iter().map(|(_, stream)| stream.id.to_string());
    pb::SyncNodeResponse {
        kicks: kicks
            .into_iter()
            .map(|(connection_id, reason)| pb::NodeKick {
                connection_id,
                reason: pb::EndReason::from(reason).into(),
            })
            .collect(),
        adopted_stream_ids: adopted.collect(),
        ended_stream_ids: ended.iter().map(ToString::to_string).collect(),
        adoptions: adoptions
            .into_iter()
            .map(|(connection_id, stream)| pb::NodeAdoption {
                connection_id,
                stream: Some(stream.into()),
            })
            .collect(),
        heartbeat_interval: Some(duration(interval)),
    }
}
