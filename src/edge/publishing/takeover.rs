//! A project has one publisher: a later connection takes over from earlier ones.

use super::{
    registry::Registry,
    tracked_connection::{PublishState, TrackedConnection},
};
use crate::{edge::publisher::ConnectionId, proto::v1::EndReason};

impl Registry {
    /// Kicks all connections that an accepted one takes over from. Returns whether there
    /// are any.
    pub(super) fn take_over(&mut self, id: &ConnectionId) -> bool {
        let predecessors = self.predecessors(id);
        for predecessor in &predecessors {
            self.kick(predecessor, EndReason::TakenOver);
        }
        !predecessors.is_empty()
    }

    /// Whether connections that an accepted one takes over from still exist.
    pub(super) fn has_predecessors(&self, id: &ConnectionId) -> bool {
        !self.predecessors(id).is_empty()
    }

    /// Connections with the stream key of an accepted one that are kicked, or were accepted
    /// before it.
    fn predecessors(&self, id: &ConnectionId) -> Vec<ConnectionId> {
        let Some(TrackedConnection {
            state: PublishState::Accepted(publish),
            request: Some(request),
            ..
        }) = self.connections.get(id)
        else {
            return Vec::new();
        };
        let predecessors = self.connections.iter().filter(|(other, connection)| {
            let is_earlier = match &connection.state {
                PublishState::Kicked(_) => true,
                PublishState::Accepted(earlier) => earlier.is_before(publish),
                PublishState::Pending | PublishState::Unknown => false,
            };
            is_earlier && *other != id && connection.has_key(&request.stream_key)
        });
        predecessors.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{
        domain::Secret,
        edge::{
            publisher::{ConnectionId, PublishError, PublishRequest, PublisherSnapshot},
            publishing::{registry::Registry, tracked_connection::AcceptedPublish},
        },
        proto::v1::{EndReason, IngestProtocol},
    };

    fn name(id: &str) -> ConnectionId {
        ConnectionId::parse(id).unwrap()
    }

    fn request(id: &str, key: &str) -> PublishRequest {
        PublishRequest {
            id: name(id),
            stream_key: Secret::new(key.to_owned()),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
            play_url: Secret::new(String::new()),
        }
    }

    fn registry() -> Registry {
        let now = Instant::now();
        let mut registry = Registry::new(Duration::from_mins(10), now);
        let snapshot = PublisherSnapshot {
            boot_id: "b1".to_owned(),
            publishers: Vec::new(),
            listing_delay: Duration::from_secs(5),
        };
        registry.observe(&snapshot, now, now);
        registry
    }

    fn accept(registry: &mut Registry, id: &str, key: &str, (stream, epoch): (&str, i64)) {
        let now = Instant::now();
        registry.begin(&request(id, key), now).unwrap();
        let publish = AcceptedPublish {
            stream_id: stream.to_owned(),
            epoch,
            boot_id: "b1".to_owned(),
        };
        assert_eq!(registry.accept(&name(id), publish, now), Ok(false));
    }

    fn may_continue(registry: &mut Registry, id: &str, key: &str) -> bool {
        match registry.update(&request(id, key), Instant::now()) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, PublishError::Stopped(EndReason::TakenOver));
                false
            }
        }
    }

    #[test]
    fn a_later_connection_takes_over_from_one_with_the_same_key() {
        let mut registry = registry();
        accept(&mut registry, "a1", "k", ("s1", 1));
        accept(&mut registry, "a2", "k", ("s1", 2));
        accept(&mut registry, "b1", "other", ("s2", 1));

        assert!(registry.take_over(&name("a2")));
        assert!(registry.has_predecessors(&name("a2")));
        assert!(!registry.take_over(&name("b1")));
        assert!(!may_continue(&mut registry, "a1", "k"));
        assert!(may_continue(&mut registry, "a2", "k"));
        assert!(may_continue(&mut registry, "b1", "other"));

        registry.end(&name("a1"), Instant::now());
        assert!(!registry.has_predecessors(&name("a2")));
    }

    #[test]
    fn a_connection_that_is_taken_over_while_it_waits_is_refused() {
        let mut registry = registry();
        accept(&mut registry, "a1", "k", ("s1", 1));
        accept(&mut registry, "a2", "k", ("s1", 2));
        assert!(registry.take_over(&name("a2")));
        assert_eq!(registry.check_not_kicked(&name("a2")), Ok(()));

        accept(&mut registry, "a3", "k", ("s1", 3));
        assert!(registry.take_over(&name("a3")));

        let refused = PublishError::Stopped(EndReason::TakenOver);
        assert_eq!(registry.check_not_kicked(&name("a2")), Err(refused));
        assert_eq!(registry.check_not_kicked(&name("a3")), Ok(()));
    }

    #[test]
    fn a_connection_with_a_reused_id_and_another_key_is_not_known() {
        let mut registry = registry();
        accept(&mut registry, "a1", "k", ("s1", 1));

        assert!(registry.is_known(&request("a1", "k")));
        assert!(!registry.is_known(&request("a1", "other")));
        assert!(!registry.is_known(&request("a2", "k")));
    }

    #[test]
    fn a_late_answer_takes_over_no_connection() {
        let mut registry = registry();
        accept(&mut registry, "a2", "k", ("s1", 2));
        accept(&mut registry, "a1", "k", ("s1", 1));

        assert!(!registry.take_over(&name("a1")));
        assert!(may_continue(&mut registry, "a2", "k"));
    }

    #[test]
    fn a_later_stream_takes_over_from_one_that_has_ended() {
        let mut registry = registry();
        accept(&mut registry, "a1", "k", ("s1", 7));
        accept(&mut registry, "a2", "k", ("s2", 1));

        assert!(registry.take_over(&name("a2")));
        assert!(!may_continue(&mut registry, "a1", "k"));
    }
}
