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
                simulation::{self, Simulation, name, publish_of},
                tracked_connection::AcceptedPublish,
            },
        },
        proto::v1::EndReason,
    };

    const TAKEN_OVER: PublishError = PublishError::Stopped(EndReason::TakenOver);

    fn request(id: &str, key: &str) -> PublishRequest {
        PublishRequest {
            stream_key: Secret::new(key),
            ..simulation::request(id)
        }
    }

    /// A simulation with these accepted connections: id, key, stream and epoch.
    fn live(connections: &[(&str, &str, &str, i64)]) -> Simulation {
        let mut sim = Simulation::new();
        for connection in connections {
            accept(&mut sim, *connection);
        }
        sim
    }

    fn accept(sim: &mut Simulation, (id, key, stream, epoch): (&str, &str, &str, i64)) {
        sim.registry.begin(&request(id, key), sim.now).unwrap();
        let publish = AcceptedPublish {
            stream_id: stream.to_owned(),
            ..publish_of(id, epoch)
        };
        let accepted = sim.registry.accept(&name(id), publish, sim.now);
        assert_eq!(accepted, Ok(false));
    }

    fn update(sim: &mut Simulation, id: &str, key: &str) -> Result<bool, PublishError> {
        sim.registry.update(&request(id, key), sim.now)
    }

    #[test]
    fn a_later_connection_takes_over_from_one_with_the_same_key() {
        let mut sim = live(&[
            ("a1", "k", "s1", 1),
            ("a2", "k", "s1", 2),
            ("b1", "other", "s2", 1),
        ]);

        assert!(sim.registry.take_over(&name("a2")));
        assert!(sim.registry.has_predecessors(&name("a2")));
        assert!(!sim.registry.take_over(&name("b1")));
        assert_eq!(update(&mut sim, "a1", "k"), Err(TAKEN_OVER));
        assert_eq!(update(&mut sim, "a2", "k"), Ok(false));
        assert_eq!(update(&mut sim, "b1", "other"), Ok(false));

        sim.end("a1");
        assert!(!sim.registry.has_predecessors(&name("a2")));
    }

    #[test]
    fn a_connection_that_is_taken_over_while_it_waits_is_refused() {
        let mut sim = live(&[("a1", "k", "s1", 1), ("a2", "k", "s1", 2)]);
        assert!(sim.registry.take_over(&name("a2")));
        assert_eq!(sim.registry.check_not_kicked(&name("a2")), Ok(()));

        accept(&mut sim, ("a3", "k", "s1", 3));
        assert!(sim.registry.take_over(&name("a3")));

        let checked = sim.registry.check_not_kicked(&name("a2"));
        assert_eq!(checked, Err(TAKEN_OVER));
        assert_eq!(sim.registry.check_not_kicked(&name("a3")), Ok(()));
    }

    #[test]
    fn a_connection_with_a_reused_id_and_another_key_is_not_known() {
        let sim = live(&[("a1", "k", "s1", 1)]);

        assert!(sim.registry.is_known(&request("a1", "k")));
        assert!(!sim.registry.is_known(&request("a1", "other")));
        assert!(!sim.registry.is_known(&request("a2", "k")));
    }

    #[test]
    fn a_late_answer_takes_over_no_connection() {
        let mut sim = live(&[("a2", "k", "s1", 2), ("a1", "k", "s1", 1)]);

        assert!(!sim.registry.take_over(&name("a1")));
        assert_eq!(update(&mut sim, "a2", "k"), Ok(false));
    }

    #[test]
    fn a_later_stream_takes_over_from_one_that_has_ended() {
        let mut sim = live(&[("a1", "k", "s1", 7), ("a2", "k", "s2", 1)]);

        assert!(sim.registry.take_over(&name("a2")));
        assert_eq!(update(&mut sim, "a1", "k"), Err(TAKEN_OVER));
    }
}
