//! Count Recall: a card is dealt from one pile, and a card from another one asks how often its like
//! has been dealt from the first. Cards are alike by color, suit or rank. Every answer is worth
//! ± 1 / (cards - 1). The observation is the dealt card beside the one that asks.

use engram_mdp::{Action, ActionSpec};

use super::deck::{Deck, Face, RANKS};
use super::{Level, World, one_hot};
use crate::canvas::{Canvas, FAINT, GOAL, SIGHT};
use crate::chance::Chance;
use crate::environment::Outcome;

/// Count Recall.
#[derive(Debug)]
pub struct CountRecall {
    values: Deck,
    queries: Deck,
    face: Face,
    counts: [usize; RANKS],
    query: usize,
}

impl CountRecall {
    /// Deals from both piles, and shows both cards.
    fn deal(&mut self, row: &mut [f32]) {
        let value = self.face.of(self.values.deal());
        self.query = self.face.of(self.queries.deal());
        self.counts[value] += 1;
        let (values, queries) = row.split_at_mut(self.face.count());
        one_hot(values, value);
        one_hot(queries, self.query);
    }

    /// The right answer to the query in sight.
    fn answer(&self) -> usize {
        self.counts[self.query]
    }

    /// Cards of one like.
    fn most(&self) -> usize {
        self.values.size() / self.face.count()
    }
}

impl World for CountRecall {
    const NAME: &'static str = "popgym-count-recall";

    fn at(level: Level) -> Self {
        let (decks, face) = level.of([(1, Face::Color), (2, Face::Suit), (4, Face::Rank)]);
        let deck = Deck::new(decks);
        CountRecall { values: deck.clone(), queries: deck, face, counts: [0; RANKS], query: 0 }
    }

    fn width(&self) -> usize {
        2 * self.face.count()
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: self.most() + 1 }
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.values.shuffle(chance);
        self.queries.shuffle(chance);
        self.counts = [0; RANKS];
        self.deal(row);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let scale = 1.0 / (self.values.size() - 1) as f64;
        let reward = if action.index() == self.answer() { scale } else { -scale } as f32;
        self.deal(row);
        if self.values.left() == 0 { Outcome::terminated(reward) } else { Outcome::goes_on(reward) }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!(
            "how many like number {} have been dealt? {}",
            self.query,
            self.answer()
        ));
        let grid = canvas.grid(self.face.count(), self.most());
        for kind in 0..self.face.count() {
            let color = if kind == self.query { GOAL } else { SIGHT };
            for column in 0..self.most() {
                let color = if column < self.counts[kind] { color } else { FAINT };
                grid.fill(canvas, kind as i32, column as i32, color);
            }
        }
        canvas.timeline(&[self.values.size() as u32 - 1], self.values.dealt() as u32 - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for CountRecall {
        fn best(&self, _memory: &mut usize) -> usize {
            self.answer()
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<CountRecall>();
    }
}
