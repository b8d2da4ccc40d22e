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
    preferred: VecDeque<T>,
    by_holder: HashMap<K, VecDeque<T>>,
    /// The holders that have items, in the order of their turns.
    turns: VecDeque<K>,
    /// Whether the last item that left was a preferred one.
    preferred_was_last: bool,
}

impl<K: Eq + Hash + Copy, T> FairQueue<K, T> {
    /// Puts an item behind the others of its holder.
    pub fn push(&mut self, holder: Option<K>, item: T) {
        let Some(holder) = holder else {
            return self.preferred.push_back(item);
        };
        match self.by_holder.entry(holder) {
            Entry::Occupied(mut items) => items.get_mut().push_back(item),
            Entry::Vacant(items) => {
                items.insert(VecDeque::from([item]));
                self.turns.push_back(holder);
            }
        }
    }

    /// Takes the item whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_of(|_| true)
    }

    /// Takes the item whose turn it is among those of certain holders and of none.
    pub fn pop_of(&mut self, is_eligible: impl Fn(&K) -> bool) -> Option<T> {
        let turn = self.turns.iter().position(is_eligible);
        if (!self.preferred_was_last || turn.is_none())
            && let Some(item) = self.preferred.pop_front()
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
        item
    }
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self {
            preferred: VecDeque::new(),
            by_holder: HashMap::new(),
            turns: VecDeque::new(),
            preferred_was_last: false,
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
