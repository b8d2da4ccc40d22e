//! One project has one publisher: who took over from whom.

use super::{
    connection_state::{Known, Standing},
    registry::Registry,
};
use crate::{edge::connection::ConnectionId, proto::v1::EndReason};

impl Registry {
    /// Whoever published with the key of one that was accepted since is to go: whether
    /// there is anybody.
    pub(super) fn take_over(&mut self, id: &ConnectionId) -> bool {
        let before = self.rivals(id);
        for rival in &before {
            self.condemn(rival, EndReason::TakenOver);
        }
        !before.is_empty()
    }

    /// Whether somebody else still publishes with its key.
    pub(super) fn has_rivals(&self, id: &ConnectionId) -> bool {
        !self.rivals(id).is_empty()
    }

    /// Those with the key of an accepted one that are to go, or were accepted before it.
    fn rivals(&self, id: &ConnectionId) -> Vec<ConnectionId> {
        let Some(Known {
            standing: Standing::Accepted(grant),
            offer: Some(offer),
            ..
        }) = self.connections.get(id)
        else {
            return Vec::new();
        };
        let others = self.connections.iter().filter(|(other, known)| {
            let is_rival = match &known.standing {
                Standing::Condemned(_) => true,
                Standing::Accepted(earlier) => earlier.is_before(grant),
                Standing::Pending | Standing::Unknown => false,
            };
            is_rival && *other != id && known.has_key(&offer.stream_key)
        });
        others.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{
        domain::Secret,
        edge::{
            connection::{ConnectionId, Look, Offer, Refused},
            publishing::{connection_state::Grant, registry::Registry},
        },
        proto::v1::{EndReason, IngestProtocol},
    };

    fn name(id: &str) -> ConnectionId {
        ConnectionId::parse(id).unwrap()
    }

    fn offer(id: &str, key: &str) -> Offer {
        Offer {
            id: name(id),
            stream_key: Secret::new(key.to_owned()),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
            play_url: Secret::new(String::new()),
        }
    }

    fn begun() -> Registry {
        let now = Instant::now();
        let mut registry = Registry::new(Duration::from_mins(10), now);
        let look = Look {
            boot_id: "b1".to_owned(),
            seen: Vec::new(),
            shown_within: Duration::from_secs(5),
        };
        registry.look(&look, now, now);
        registry
    }

    fn accept(registry: &mut Registry, id: &str, key: &str, (stream, epoch): (&str, i64)) {
        let now = Instant::now();
        registry.propose(&offer(id, key), now).unwrap();
        let grant = Grant {
            stream_id: stream.to_owned(),
            epoch,
            boot_id: "b1".to_owned(),
        };
        assert_eq!(registry.accept(&name(id), grant, now), Ok(false));
    }

    fn may_go_on(registry: &mut Registry, id: &str, key: &str) -> bool {
        match registry.update(&offer(id, key), Instant::now()) {
            Ok(_) => true,
            Err(why) => {
                assert_eq!(why, Refused::Stopped(EndReason::TakenOver));
                false
            }
        }
    }

    #[test]
    fn who_was_accepted_later_takes_over_from_who_has_the_same_key() {
        let mut registry = begun();
        accept(&mut registry, "a1", "k", ("s1", 1));
        accept(&mut registry, "a2", "k", ("s1", 2));
        accept(&mut registry, "b1", "other", ("s2", 1));

        assert!(registry.take_over(&name("a2")));
        assert!(registry.has_rivals(&name("a2")));
        assert!(!registry.take_over(&name("b1")));
        assert!(!may_go_on(&mut registry, "a1", "k"));
        assert!(may_go_on(&mut registry, "a2", "k"));
        assert!(may_go_on(&mut registry, "b1", "other"));

        registry.end(&name("a1"), Instant::now());
        assert!(!registry.has_rivals(&name("a2")));
    }

    #[test]
    fn who_is_taken_over_while_it_waits_is_told_so() {
        let mut registry = begun();
        accept(&mut registry, "a1", "k", ("s1", 1));
        accept(&mut registry, "a2", "k", ("s1", 2));
        assert!(registry.take_over(&name("a2")));
        assert_eq!(registry.stands(&name("a2")), Ok(()));

        accept(&mut registry, "a3", "k", ("s1", 3));
        assert!(registry.take_over(&name("a3")));

        let refused = Refused::Stopped(EndReason::TakenOver);
        assert_eq!(registry.stands(&name("a2")), Err(refused));
        assert_eq!(registry.stands(&name("a3")), Ok(()));
    }

    #[test]
    fn a_connection_of_the_same_name_with_another_key_is_another_one() {
        let mut registry = begun();
        accept(&mut registry, "a1", "k", ("s1", 1));

        assert!(registry.is_offered(&offer("a1", "k")));
        assert!(!registry.is_offered(&offer("a1", "other")));
        assert!(!registry.is_offered(&offer("a2", "k")));
    }

    #[test]
    fn an_answer_that_comes_late_takes_over_from_nobody() {
        let mut registry = begun();
        accept(&mut registry, "a2", "k", ("s1", 2));
        accept(&mut registry, "a1", "k", ("s1", 1));

        assert!(!registry.take_over(&name("a1")));
        assert!(may_go_on(&mut registry, "a2", "k"));
    }

    #[test]
    fn a_later_stream_takes_over_from_one_that_has_ended() {
        let mut registry = begun();
        accept(&mut registry, "a1", "k", ("s1", 7));
        accept(&mut registry, "a2", "k", ("s2", 1));

        assert!(registry.take_over(&name("a2")));
        assert!(!may_go_on(&mut registry, "a1", "k"));
    }
}
