//! Repeat Previous: name the suit of the card that was dealt some cards ago, `back` with the newest
//! one as the first. Every name is worth ± 1 / (cards - back); nothing is asked before that card
//! has been dealt. The observation is the suit of the newest card.

use engram_mdp::{Action, ActionSpec};

use super::deck::{Deck, Face, SUITS, suit_name};
use super::{Level, World, one_hot};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::Outcome;

/// Repeat Previous.
#[derive(Debug)]
pub struct RepeatPrevious {
    deck: Deck,
    back: usize,
}

impl RepeatPrevious {
    /// The suit that is asked for, if any is.
    fn wanted(&self) -> Option<usize> {
        let asked = self.deck.dealt() >= self.back;
        asked.then(|| Face::Suit.of(self.deck.dealt_ago(self.back - 1)))
    }
}

impl World for RepeatPrevious {
    const NAME: &'static str = "popgym-repeat-previous";

    fn at(level: Level) -> Self {
        let (decks, back) = level.of([(1, 4), (2, 32), (3, 64)]);
        RepeatPrevious { deck: Deck::new(decks), back }
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
        one_hot(row, Face::Suit.of(self.deck.deal()));
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let scale = 1.0 / (self.deck.size() - self.back) as f64;
        let reward = match self.wanted() {
            Some(suit) if suit == action.index() => scale,
            Some(_) => -scale,
            None => 0.0,
        } as f32;
        one_hot(row, Face::Suit.of(self.deck.deal()));
        if self.deck.left() == 0 { Outcome::terminated(reward) } else { Outcome::goes_on(reward) }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.wanted() {
            Some(suit) => format!("name the suit of {} cards ago: {}", self.back, suit_name(suit)),
            None => "remember the suits".into(),
        });
        self.deck.draw(canvas, Face::Suit, |ago| ago == 0 || ago == self.back - 1);
        canvas.timeline(&[self.deck.size() as u32 - 1], self.deck.dealt() as u32 - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for RepeatPrevious {
        fn best(&self, _memory: &mut usize) -> usize {
            self.wanted().unwrap_or(0)
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<RepeatPrevious>();
    }
}
