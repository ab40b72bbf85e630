//! Ranks of the actors that are present.
//!
//! Actors explore by rank, each in its own way, and their numbers may be any. So an actor that
//! comes takes one of the ranks that fewest others hold: the one of its own number if it can, so
//! that a run whose actors are numbered from 0 on always has the same ranks, else the lowest. It
//! keeps its rank as long as one of its streams lasts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ranks, and who holds them.
#[derive(Debug)]
pub(crate) struct Ranks {
    count: u32,
    /// Actor and rank of every stream.
    held: Mutex<Vec<(u32, u32)>>,
}

/// Rank of one stream of an actor, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Rank {
    ranks: Arc<Ranks>,
    actor: u32,
    number: u32,
}

impl Ranks {
    /// The ranks `0..count`, all free.
    pub(crate) fn new(count: u32) -> Arc<Self> {
        assert!(count > 0, "there is a rank to hold");
        Arc::new(Ranks { count, held: Mutex::default() })
    }

    /// A rank for `actor`.
    pub(crate) fn take(self: &Arc<Self>, actor: u32) -> Rank {
        let mut held = self.held();
        let number = self.choose(&held, actor);
        held.push((actor, number));
        Rank { ranks: self.clone(), actor, number }
    }

    fn choose(&self, held: &[(u32, u32)], actor: u32) -> u32 {
        if let Some(&(_, own)) = held.iter().find(|(holder, _)| *holder == actor) {
            return own;
        }
        let holders = |rank: u32| held.iter().filter(|(_, taken)| *taken == rank).count();
        // Ties go to the first. Of more ranks than streams some are free.
        let fewer = self.count.min(held.len() as u32 + 1);
        let candidates = std::iter::once(actor).filter(|&own| own < self.count).chain(0..fewer);
        candidates.min_by_key(|&rank| holders(rank)).expect("there is a rank to hold")
    }

    /// A panic elsewhere leaves the list as good as it was.
    fn held(&self) -> MutexGuard<'_, Vec<(u32, u32)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rank {
    /// The number of the rank.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let mut held = self.ranks.held();
        let own = held.iter().position(|stream| *stream == (self.actor, self.number));
        own.map(|own| held.swap_remove(own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(ranks: &[Rank]) -> Vec<u32> {
        ranks.iter().map(Rank::number).collect()
    }

    /// Numbers that nobody gave are random, and the ε of all such actors was the smallest.
    #[test]
    fn actors_of_any_numbers_hold_all_ranks() {
        let ranks = Ranks::new(4);
        let taken: Vec<Rank> =
            [u32::MAX, 77_000, 3_000_000_000, 12].map(|actor| ranks.take(actor)).into();
        assert_eq!(numbers(&taken), [0, 1, 2, 3]);
        let more: Vec<Rank> = (100..106).map(|actor| ranks.take(actor)).collect();
        assert_eq!(numbers(&more), [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn actors_that_are_numbered_from_zero_have_their_numbers_in_whatever_order_they_come() {
        let ranks = Ranks::new(4);
        let taken: Vec<Rank> = [2, 0, 3, 1].map(|actor| ranks.take(actor)).into();
        assert_eq!(numbers(&taken), [2, 0, 3, 1]);
    }

    #[test]
    fn a_rank_is_free_when_its_actor_has_left_and_stays_when_it_comes_again() {
        let ranks = Ranks::new(3);
        let [first, second] = [80, 90].map(|actor| ranks.take(actor));
        // Its old stream may end later than the new one begins.
        let again = ranks.take(80);
        drop(first);
        assert_eq!((again.number(), second.number()), (0, 1));
        assert_eq!(ranks.take(70).number(), 2);
        drop(again);
        assert_eq!(ranks.take(70).number(), 0);
    }
}
