//! Autoencode: a whole deck is shown, card by card; then the agent names its suits, the last one
//! first. Every name is worth ± 1 / cards.
//!
//! The observation is the mode, `[recite, watch]`, beside the suit, spades while reciting. The last
//! card is shown with the mode `recite`. Decisions while watching do nothing.

use engram_mdp::{Action, ActionSpec};

use super::deck::{Deck, Face, SUITS, suit_name};
use super::{Level, World, one_hot};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::Outcome;

const MODES: usize = 2;
const RECITE: usize = 0;
const WATCH: usize = 1;

/// Autoencode.
#[derive(Debug)]
pub struct Autoencode {
    deck: Deck,
    recited: usize,
}

impl Autoencode {
    /// The card that must be named next: the last one that was dealt lies first in the pile.
    fn wanted(&self) -> usize {
        Face::Suit.of(self.deck.cards()[self.recited])
    }

    fn show(row: &mut [f32], mode: usize, suit: usize) {
        one_hot(&mut row[..MODES], mode);
        one_hot(&mut row[MODES..], suit);
    }
}

impl World for Autoencode {
    const NAME: &'static str = "popgym-autoencode";

    fn at(level: Level) -> Self {
        Autoencode { deck: Deck::new(level.of([1, 2, 3])), recited: 0 }
    }

    fn width(&self) -> usize {
        MODES + SUITS
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: SUITS }
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.deck.shuffle(chance);
        self.recited = 0;
        Self::show(row, WATCH, Face::Suit.of(self.deck.deal()));
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        if self.deck.left() > 0 {
            let suit = Face::Suit.of(self.deck.deal());
            let mode = if self.deck.left() > 0 { WATCH } else { RECITE };
            Self::show(row, mode, suit);
            return Outcome::goes_on(0.0);
        }
        let scale = 1.0 / self.deck.size() as f64;
        let reward = if action.index() == self.wanted() { scale } else { -scale } as f32;
        self.recited += 1;
        Self::show(row, RECITE, 0);
        if self.recited == self.deck.size() {
            Outcome::terminated(reward)
        } else {
            Outcome::goes_on(reward)
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        let size = self.deck.size();
        canvas.set_caption(match (self.deck.left(), self.recited < size) {
            (0, true) => format!("name the suits backwards: {}", suit_name(self.wanted())),
            (0, false) => "all cards were named".into(),
            _ => "watch the cards, and remember their suits".into(),
        });
        let recites = self.deck.left() == 0;
        self.deck.draw(canvas, Face::Suit, |ago| ago == self.recited || !recites && ago == 0);
        let time = self.deck.dealt() - 1 + self.recited;
        canvas.timeline(&[size as u32 - 1, size as u32], time as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for Autoencode {
        fn best(&self, _memory: &mut usize) -> usize {
            if self.deck.left() == 0 { self.wanted() } else { 0 }
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<Autoencode>();
    }
}
