//! Higher or Lower: guess whether the next card's rank is higher (action 0) or lower (action 1). A
//! guess is worth ± 1 / cards, and nothing where both ranks are equal. The observation is the rank
//! of the newest card. Who counts cards guesses better.

use engram_mdp::{Action, ActionSpec};

use super::deck::{Deck, Face, RANKS};
use super::{Level, World, one_hot};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::Outcome;

const HIGHER: usize = 0;

/// Higher or Lower.
#[derive(Debug)]
pub struct HigherLower {
    deck: Deck,
    rank: usize,
}

impl World for HigherLower {
    const NAME: &'static str = "popgym-higher-lower";

    fn at(level: Level) -> Self {
        HigherLower { deck: Deck::new(level.of([1, 2, 3])), rank: 0 }
    }

    fn width(&self) -> usize {
        RANKS
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: 2 }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.deck.shuffle(chance);
        self.rank = Face::Rank.of(self.deck.deal());
        one_hot(row, self.rank);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let next = Face::Rank.of(self.deck.deal());
        let scale = 1.0 / self.deck.size() as f64;
        let reward = if next == self.rank {
            0.0
        } else if (next > self.rank) == (action.index() == HIGHER) {
            scale
        } else {
            -scale
        } as f32;
        self.rank = next;
        one_hot(row, next);
        if self.deck.left() == 0 { Outcome::terminated(reward) } else { Outcome::goes_on(reward) }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("rank {} of 13: is the next one higher?", self.rank + 1));
        self.deck.draw(canvas, Face::Rank, |ago| ago == 0);
        canvas.timeline(&[self.deck.size() as u32 - 1], self.deck.dealt() as u32 - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for HigherLower {
        fn best(&self, _memory: &mut usize) -> usize {
            let next = Face::Rank.of(self.deck.cards()[self.deck.left() - 1]);
            usize::from(next < self.rank)
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<HigherLower>();
    }
}
