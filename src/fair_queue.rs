//! Fair order among those who wait.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    hash::Hash,
};

/// A queue in which holders take turns, however much each of them has put into it.
///
/// Items without a holder are preferred: they get every second turn while others wait.
pub struct FairQueue<K, T> {
    preferred: Items<T>,
    by_holder: HashMap<K, Items<T>>,
    /// The holders that have items, in the order of their turns.
    turns: VecDeque<K>,
    /// Whether the last item that left was a preferred one.
    preferred_was_last: bool,
    next_number: u64,
}

/// Items in the order of their numbers.
type Items<T> = VecDeque<(u64, T)>;

/// Where an item is in a queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueTicket<K> {
    holder: Option<K>,
    number: u64,
}

impl<K: Eq + Hash + Copy, T> FairQueue<K, T> {
    /// Puts an item behind the others of its holder.
    pub fn push(&mut self, holder: Option<K>, item: T) -> QueueTicket<K> {
        let number = self.next_number;
        self.next_number += 1;
        match holder.map(|holder| self.by_holder.entry(holder)) {
            None => self.preferred.push_back((number, item)),
            Some(Entry::Occupied(mut items)) => items.get_mut().push_back((number, item)),
            Some(Entry::Vacant(items)) => {
                self.turns.push_back(*items.key());
                items.insert(VecDeque::from([(number, item)]));
            }
        }
        QueueTicket { holder, number }
    }

    /// Takes an item out of turn; `None` if it has left. Its holder keeps its turn for the others.
    pub fn remove(&mut self, ticket: QueueTicket<K>) -> Option<T> {
        let Some(holder) = ticket.holder else {
            return take(&mut self.preferred, ticket.number);
        };
        let Entry::Occupied(mut items) = self.by_holder.entry(holder) else {
            return None;
        };
        let item = take(items.get_mut(), ticket.number);
        if items.get().is_empty() {
            items.remove();
            self.turns.retain(|other| *other != holder);
        }
        item
    }

    /// Takes the item whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_of(|_| true)
    }

    /// Takes the item whose turn it is among those of certain holders and of none.
    pub fn pop_of(&mut self, is_eligible: impl Fn(&K) -> bool) -> Option<T> {
        let turn = self.turns.iter().position(is_eligible);
        if (!self.preferred_was_last || turn.is_none())
            && let Some((_, item)) = self.preferred.pop_front()
        {
            self.preferred_was_last = true;
            return Some(item);
        }
        let holder = self.turns.remove(turn?)?;
        self.preferred_was_last = false;
        let Entry::Occupied(mut items) = self.by_holder.entry(holder) else {
            return None;
        };
        let item = items.get_mut().pop_front();
        match items.get().is_empty() {
            true => drop(items.remove()),
            false => self.turns.push_back(holder),
        }
        item.map(|(_, item)| item)
    }
}

fn take<T>(items: &mut Items<T>, number: u64) -> Option<T> {
    let found = items.binary_search_by_key(&number, |(number, _)| *number);
    items.remove(found.ok()?).map(|(_, item)| item)
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self {
            preferred: VecDeque::new(),
            by_holder: HashMap::new(),
            turns: VecDeque::new(),
            preferred_was_last: false,
            next_number: 0,
        }
    }
}

impl<K: fmt::Debug, T> fmt::Debug for FairQueue<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairQueue")
            .field("preferred", &self.preferred.len())
            .field("turns", &self.turns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::FairQueue;

    fn queue(items: &[(Option<u8>, u8)]) -> FairQueue<u8, u8> {
        let mut queue = FairQueue::default();
        for (holder, item) in items {
            queue.push(*holder, *item);
        }
        queue
    }

    fn drain(queue: &mut FairQueue<u8, u8>) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn holders_take_turns_and_each_has_its_own_order() {
        let (first, second, third) = (Some(1), Some(2), Some(3));
        let mut queue = queue(&[
            (first, 10),
            (first, 11),
            (first, 12),
            (second, 20),
            (third, 30),
            (second, 21),
        ]);

        assert_eq!(drain(&mut queue), [10, 20, 30, 11, 21, 12]);
        assert!(queue.turns.is_empty() && queue.by_holder.is_empty());
    }

    #[test]
    fn a_holder_that_comes_waits_for_one_item_of_each_other() {
        let mut queue = queue(&[(Some(1), 10), (Some(1), 11), (Some(1), 12)]);
        assert_eq!(queue.pop(), Some(10));
        queue.push(Some(2), 20);

        assert_eq!(drain(&mut queue), [11, 20, 12]);
    }

    #[test]
    fn a_holder_that_is_not_eligible_keeps_its_turn() {
        let mut queue = queue(&[(Some(1), 10), (Some(2), 20), (Some(2), 21)]);

        assert_eq!(queue.pop_of(|holder| *holder == 2), Some(20));
        assert_eq!(queue.pop_of(|holder| *holder == 3), None);
        assert_eq!(drain(&mut queue), [10, 21]);
    }

    #[test]
    fn an_item_that_is_removed_costs_its_holder_no_turn() {
        let mut queue = FairQueue::default();
        let removed = [
            queue.push(Some(1), 10),
            queue.push(Some(1), 11),
            queue.push(Some(3), 30),
            queue.push(None, 1),
        ];
        for (holder, item) in [(Some(1), 12), (Some(2), 20), (Some(2), 21), (None, 2)] {
            queue.push(holder, item);
        }

        assert_eq!(
            removed.map(|one| queue.remove(one)),
            [10, 11, 30, 1].map(Some)
        );
        assert_eq!(removed.map(|one| queue.remove(one)), [None; 4]);
        assert_eq!(drain(&mut queue), [2, 12, 20, 21]);
        assert!(queue.turns.is_empty() && queue.by_holder.is_empty());
    }

    #[test]
    fn items_without_a_holder_get_every_second_turn() {
        let mut queue = queue(&[
            (Some(1), 10),
            (Some(2), 20),
            (None, 1),
            (None, 2),
            (None, 3),
            (None, 4),
        ]);

        assert_eq!(drain(&mut queue), [1, 10, 2, 20, 3, 4]);
        assert_eq!(queue.pop(), None);
    }
}
