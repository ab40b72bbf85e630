//! Concentration: cards lie face down; two are turned over at a time, and stay so if they are equal
//! (by color, or by rank on the level hard) and not the same card. A pair is worth 2 / cards. An
//! unequal pair costs 2 / decisions of an episode. A card that lies open already ends the try, and
//! costs 1 / decisions for each card of it.
//!
//! The observation has a class for every card: its color or rank, or face down. A failed try is
//! still open in the observation after it.

use engram_mdp::{Action, ActionSpec};

use super::deck::{Deck, Face, paint};
use super::{Level, World, one_hot};
use crate::canvas::{Canvas, FAINT, INK};
use crate::chance::Chance;
use crate::environment::Outcome;

/// Concentration.
#[derive(Debug)]
pub struct Concentration {
    deck: Deck,
    face: Face,
    max_steps: u32,
    /// Cards that lie open for good, by place.
    open: Vec<bool>,
    opened: usize,
    /// The first card of a try.
    first: Option<usize>,
    /// The observation, which changes by three cards at most.
    shown: Vec<f32>,
    time: u32,
}

/// Result of a decision, before the clock is looked at.
enum Try {
    Begun,
    Equal(usize),
    Unequal(usize),
    /// The card lay open already; the first card of the try, if there was one.
    Spoiled(Option<usize>),
}

impl Concentration {
    fn classes(&self) -> usize {
        self.face.count() + 1
    }

    fn value(&self, place: usize) -> usize {
        self.face.of(self.deck.cards()[place])
    }

    /// Shows a card, or its back.
    fn turn(&mut self, place: usize, up: bool) {
        let classes = self.classes();
        let class = if up { self.value(place) } else { classes - 1 };
        one_hot(&mut self.shown[place * classes..(place + 1) * classes], class);
    }

    fn attempt(&mut self, place: usize) -> Try {
        let first = self.first.take();
        match first {
            _ if self.open[place] => Try::Spoiled(first),
            None => {
                self.first = Some(place);
                Try::Begun
            }
            Some(first) if first != place && self.value(first) == self.value(place) => {
                Try::Equal(first)
            }
            Some(first) => Try::Unequal(first),
        }
    }
}

impl World for Concentration {
    const NAME: &'static str = "popgym-concentration";

    fn at(level: Level) -> Self {
        let (decks, face) = level.of([(1, Face::Color), (2, Face::Color), (1, Face::Rank)]);
        let deck = Deck::new(decks);
        let cards = deck.size();
        let turns = 2.0 * cards as f64;
        Concentration {
            open: vec![false; cards],
            shown: vec![0.0; cards * (face.count() + 1)],
            max_steps: (turns - cards as f64 / (turns - 1.0)).ceil() as u32,
            deck,
            face,
            opened: 0,
            first: None,
            time: 0,
        }
    }

    fn width(&self) -> usize {
        self.shown.len()
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: self.deck.size() }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.deck.shuffle(chance);
        self.open.fill(false);
        (self.opened, self.first, self.time) = (0, None, 0);
        (0..self.deck.size()).for_each(|place| self.turn(place, false));
        row.copy_from_slice(&self.shown);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let place = action.index();
        self.time += 1;
        self.turn(place, true);
        row.copy_from_slice(&self.shown);
        let failure = -1.0 / f64::from(self.max_steps);
        let reward = match self.attempt(place) {
            Try::Begun => 0.0,
            Try::Equal(first) => {
                (self.open[first], self.open[place]) = (true, true);
                self.opened += 2;
                1.0 / (self.deck.size() / 2) as f64
            }
            Try::Unequal(first) => {
                self.turn(first, false);
                self.turn(place, false);
                2.0 * failure
            }
            Try::Spoiled(Some(first)) => {
                self.turn(first, false);
                2.0 * failure
            }
            Try::Spoiled(None) => failure,
        } as f32;
        match self.success() {
            Some(true) => Outcome::terminated(reward),
            _ => Outcome::until(self.max_steps, self.time, reward),
        }
    }

    fn success(&self) -> Option<bool> {
        Some(self.opened == self.deck.size())
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("{} of {} cards lie open", self.opened, self.deck.size()));
        let columns = 13;
        let grid = canvas.grid(self.deck.size().div_ceil(columns), columns);
        for (place, &card) in self.deck.cards().iter().enumerate() {
            let (row, column) = ((place / columns) as i32, (place % columns) as i32);
            grid.fill(canvas, row, column, FAINT);
            let color = paint(self.face, card);
            if self.open[place] {
                grid.fill(canvas, row, column, color);
            } else {
                let size = if self.first == Some(place) { 0.4 } else { 0.12 };
                canvas.disc(grid.center(row, column), size * grid.side, color);
            }
            if self.first == Some(place) {
                canvas.frame(grid.corner(row, column), [grid.side; 2], 2.0, INK);
            }
        }
        canvas.timeline(&[self.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for Concentration {
        fn best(&self, _memory: &mut usize) -> usize {
            let closed = |&place: &usize| !self.open[place] && self.first != Some(place);
            let fits = |&place: &usize| {
                self.first.is_none_or(|first| self.value(first) == self.value(place))
            };
            (0..self.open.len()).filter(closed).find(fits).expect("every card has a like")
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<Concentration>();
    }
}
