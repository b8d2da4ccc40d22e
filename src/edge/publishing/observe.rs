use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    connection_state::{Known, Standing},
    registry::{Ended, Registry},
};
use crate::edge::connection::{ConnectionId, Look, Seen};

/// How old a connection is, once it was on the media server's list, before its absence
/// from it counts.
const YOUNG: Duration = Duration::from_secs(5);

/// How many looks in a row a connection is absent from until it is gone.
const MISSES: u8 = 2;

/// For how long one that has ended, or was refused, is not taken for a new one because
/// the media server still tells of it.
const GHOST: Duration = Duration::from_secs(10);

/// What a look at the media server makes necessary.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The media server has started anew.
    pub(super) new_boot: bool,
    /// Connections are there that the control plane does not know.
    pub(super) unknown: bool,
    /// Publishes whose media has begun to flow.
    pub(super) flowing: Vec<ConnectionId>,
    /// Publishes that are gone.
    pub(super) ended: Vec<Ended>,
}

impl Registry {
    /// Takes in what the media server says, which was asked at `asked`.
    pub(super) fn look(&mut self, look: &Look, asked: Instant, now: Instant) -> Looked {
        let mut looked = Looked {
            new_boot: self.boot_id.as_ref() != Some(&look.boot_id),
            ..Looked::default()
        };
        if looked.new_boot {
            self.begin_boot(look);
        }
        self.ghosts.retain(|_, since| *since + GHOST > now);
        for seen in &look.seen {
            self.see(seen, now, &mut looked);
        }
        for id in self.absent(look, asked) {
            looked.ended.extend(self.end(&id, now));
        }
        looked
    }

    /// What the media server has forgotten is forgotten; what it still tells of has to be
    /// adopted into its new run.
    fn begin_boot(&mut self, look: &Look) {
        self.boot_id = Some(look.boot_id.clone());
        self.ghosts.clear();
        let seen: HashSet<_> = look.seen.iter().map(|seen| &seen.id).collect();
        self.connections
            .retain(|id, known| known.standing == Standing::Pending || seen.contains(id));
        for known in self.connections.values_mut() {
            if matches!(known.standing, Standing::Accepted(_)) {
                known.standing = Standing::Unknown;
            }
        }
    }

    fn see(&mut self, seen: &Seen, now: Instant, looked: &mut Looked) {
        let is_new = !self.connections.contains_key(&seen.id);
        if is_new && (self.is_full() || self.ghosts.contains_key(&seen.id)) {
            return;
        }
        let known = self
            .connections
            .entry(seen.id.clone())
            .or_insert_with(|| Known::new(Standing::Unknown, None, now));
        known.missed = None;
        known.shown = true;
        if known.offer.is_none() {
            known.offer.clone_from(&seen.offer);
        }
        let had_media = known.media;
        match &seen.stats {
            Some(stats) => known.measure(stats, now),
            None => known.media |= is_new,
        }
        looked.unknown |= is_new;
        if known.media && !had_media && matches!(known.standing, Standing::Accepted(_)) {
            looked.flowing.push(seen.id.clone());
        }
    }

    /// Those that the media server has not told of for so long that they are gone.
    fn absent(&mut self, look: &Look, asked: Instant) -> Vec<ConnectionId> {
        let seen: HashSet<_> = look.seen.iter().map(|seen| &seen.id).collect();
        let mut absent = Vec::new();
        for (id, known) in &mut self.connections {
            let young = if known.shown {
                YOUNG
            } else {
                look.shown_within
            };
            let is_young = known.since + young > asked;
            if seen.contains(id) || known.standing == Standing::Pending {
                continue;
            }
            if known.miss(asked) >= MISSES && !is_young {
                absent.push(id.clone());
            }
        }
        absent
    }
}
