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
    use crate::{
        domain::Secret,
        edge::{
            publisher::{PublishError, PublishRequest},
            publishing::{
                registry_fixture::{self, Scene, name, publish_of},
                tracked_connection::AcceptedPublish,
            },
        },
        proto::v1::EndReason,
    };

    fn request(id: &str, key: &str) -> PublishRequest {
        PublishRequest {
            stream_key: Secret::new(key),
            ..registry_fixture::request(id)
        }
    }

    fn accept(scene: &mut Scene, id: &str, key: &str, (stream, epoch): (&str, i64)) {
        scene.registry.begin(&request(id, key), scene.now).unwrap();
        let publish = AcceptedPublish {
            stream_id: stream.to_owned(),
            ..publish_of(id, epoch)
        };
        let accepted = scene.registry.accept(&name(id), publish, scene.now);
        assert_eq!(accepted, Ok(false));
    }

    fn may_continue(scene: &mut Scene, id: &str, key: &str) -> bool {
        match scene.registry.update(&request(id, key), scene.now) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, PublishError::Stopped(EndReason::TakenOver));
                false
            }
        }
    }

    #[test]
    fn a_later_connection_takes_over_from_one_with_the_same_key() {
        let mut scene = Scene::new();
        accept(&mut scene, "a1", "k", ("s1", 1));
        accept(&mut scene, "a2", "k", ("s1", 2));
        accept(&mut scene, "b1", "other", ("s2", 1));

        assert!(scene.registry.take_over(&name("a2")));
        assert!(scene.registry.has_predecessors(&name("a2")));
        assert!(!scene.registry.take_over(&name("b1")));
        assert!(!may_continue(&mut scene, "a1", "k"));
        assert!(may_continue(&mut scene, "a2", "k"));
        assert!(may_continue(&mut scene, "b1", "other"));

        scene.end("a1");
        assert!(!scene.registry.has_predecessors(&name("a2")));
    }

    #[test]
    fn a_connection_that_is_taken_over_while_it_waits_is_refused() {
        let mut scene = Scene::new();
        accept(&mut scene, "a1", "k", ("s1", 1));
        accept(&mut scene, "a2", "k", ("s1", 2));
        assert!(scene.registry.take_over(&name("a2")));
        assert_eq!(scene.registry.check_not_kicked(&name("a2")), Ok(()));

        accept(&mut scene, "a3", "k", ("s1", 3));
        assert!(scene.registry.take_over(&name("a3")));

        let refused = PublishError::Stopped(EndReason::TakenOver);
        assert_eq!(scene.registry.check_not_kicked(&name("a2")), Err(refused));
        assert_eq!(scene.registry.check_not_kicked(&name("a3")), Ok(()));
    }

    #[test]
    fn a_connection_with_a_reused_id_and_another_key_is_not_known() {
        let mut scene = Scene::new();
        accept(&mut scene, "a1", "k", ("s1", 1));

        assert!(scene.registry.is_known(&request("a1", "k")));
        assert!(!scene.registry.is_known(&request("a1", "other")));
        assert!(!scene.registry.is_known(&request("a2", "k")));
    }

    #[test]
    fn a_late_answer_takes_over_no_connection() {
        let mut scene = Scene::new();
        accept(&mut scene, "a2", "k", ("s1", 2));
        accept(&mut scene, "a1", "k", ("s1", 1));

        assert!(!scene.registry.take_over(&name("a1")));
        assert!(may_continue(&mut scene, "a2", "k"));
    }

    #[test]
    fn a_later_stream_takes_over_from_one_that_has_ended() {
        let mut scene = Scene::new();
        accept(&mut scene, "a1", "k", ("s1", 7));
        accept(&mut scene, "a2", "k", ("s2", 1));

        assert!(scene.registry.take_over(&name("a2")));
        assert!(!may_continue(&mut scene, "a1", "k"));
    }
}
