//! Repeat First: name the suit of the first card, at every card. Every name is worth
//! ± 1 / (cards - 1). The observation is the suit of the newest card.

use engram_mdp::{Action, ActionSpec};

use super::deck::{Deck, Face, SUITS, suit_name};
use super::{Level, World, one_hot};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::Outcome;

/// Repeat First.
#[derive(Debug)]
pub struct RepeatFirst {
    deck: Deck,
    /// Suit of the first card.
    first: usize,
}

impl World for RepeatFirst {
    const NAME: &'static str = "popgym-repeat-first";

    fn at(level: Level) -> Self {
        RepeatFirst { deck: Deck::new(level.of([1, 8, 16])), first: 0 }
    }

    fn width(&self) -> usize {
        SUITS
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: SUITS }
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.deck.shuffle(chance);
        self.first = Face::Suit.of(self.deck.deal());
        one_hot(row, self.first);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let scale = 1.0 / (self.deck.size() - 1) as f64;
        let reward = if action.index() == self.first { scale } else { -scale } as f32;
        one_hot(row, Face::Suit.of(self.deck.deal()));
        if self.deck.left() == 0 { Outcome::terminated(reward) } else { Outcome::goes_on(reward) }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("name the first card's suit: {}", suit_name(self.first)));
        let first = self.deck.dealt() - 1;
        self.deck.draw(canvas, Face::Suit, |ago| ago == 0 || ago == first);
        canvas.timeline(&[self.deck.size() as u32 - 1], first as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for RepeatFirst {
        fn best(&self, _memory: &mut usize) -> usize {
            self.first
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<RepeatFirst>();
    }
}
