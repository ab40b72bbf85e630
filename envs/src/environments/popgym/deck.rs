//! Decks of cards. Cards are numbered by rank, then suit: ace of spades, ace of diamonds, ace of
//! clubs, ace of hearts, two of spades and so on, from 0 to 51.

use crate::canvas::{ACTOR, Canvas, Color, FAINT, GOAL, INK, SIGHT, mix};
use crate::chance::Chance;

/// Cards of one deck.
pub(crate) const CARDS: usize = 52;
/// Ranks, from ace to king.
pub(crate) const RANKS: usize = 13;
/// Suits: spades, diamonds, clubs, hearts.
pub(crate) const SUITS: usize = 4;
/// Colors: black, red.
pub(crate) const COLORS: usize = 2;

/// Part of a card that counts in a game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    Color,
    Suit,
    Rank,
}

impl Face {
    /// Number of different ones.
    pub(crate) fn count(self) -> usize {
        match self {
            Face::Color => COLORS,
            Face::Suit => SUITS,
            Face::Rank => RANKS,
        }
    }

    /// The one that a card has.
    pub(crate) fn of(self, card: u8) -> usize {
        let card = usize::from(card);
        match self {
            Face::Color => card % COLORS,
            Face::Suit => card % SUITS,
            Face::Rank => card / SUITS,
        }
    }
}

/// One or several decks in one pile. Cards are dealt from its end, and stay known.
#[derive(Clone, Debug)]
pub(crate) struct Deck {
    cards: Vec<u8>,
    left: usize,
}

impl Deck {
    pub(crate) fn new(decks: usize) -> Self {
        let cards: Vec<u8> = (0..decks).flat_map(|_| 0..CARDS as u8).collect();
        Deck { left: cards.len(), cards }
    }

    /// Cards in all, dealt or not.
    pub(crate) fn size(&self) -> usize {
        self.cards.len()
    }

    /// Cards that were not dealt yet.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Cards that were dealt.
    pub(crate) fn dealt(&self) -> usize {
        self.cards.len() - self.left
    }

    /// All cards, by their place in the pile.
    pub(crate) fn cards(&self) -> &[u8] {
        &self.cards
    }

    /// Takes all cards back, and shuffles them.
    pub(crate) fn shuffle(&mut self, chance: &mut impl Chance) {
        for deck in self.cards.chunks_exact_mut(CARDS) {
            deck.iter_mut().zip(0..).for_each(|(card, number)| *card = number);
        }
        chance.shuffle(&mut self.cards);
        self.left = self.cards.len();
    }

    /// Deals the next card.
    pub(crate) fn deal(&mut self) -> u8 {
        self.left -= 1;
        self.cards[self.left]
    }

    /// The card that was dealt `ago` deals before the last one.
    pub(crate) fn dealt_ago(&self, ago: usize) -> u8 {
        self.cards[self.left + ago]
    }

    /// Draws the dealt cards in the order in which they came, and marks some of them by how many
    /// deals ago they came.
    pub(crate) fn draw(&self, canvas: &mut Canvas, face: Face, marked: impl Fn(usize) -> bool) {
        let columns = if self.size() <= 4 * CARDS { RANKS } else { 2 * RANKS };
        let grid = canvas.grid(self.size().div_ceil(columns), columns);
        for place in 0..self.size() {
            let (row, column) = ((place / columns) as i32, (place % columns) as i32);
            let ago = self.dealt().checked_sub(place + 1);
            let color = match ago {
                Some(ago) if marked(ago) => paint(face, self.dealt_ago(ago)),
                Some(ago) => mix(FAINT, paint(face, self.dealt_ago(ago)), 0.35),
                None => FAINT,
            };
            grid.fill(canvas, row, column, color);
        }
    }
}

/// Color in which a card is drawn for people.
pub(crate) fn paint(face: Face, card: u8) -> Color {
    match face {
        Face::Color => [INK, ACTOR][face.of(card)],
        Face::Suit => [INK, ACTOR, SIGHT, GOAL][face.of(card)],
        Face::Rank => mix(SIGHT, ACTOR, face.of(card) as f32 / (RANKS - 1) as f32),
    }
}

/// Name of a suit for people.
pub(crate) fn suit_name(suit: usize) -> &'static str {
    ["spades", "diamonds", "clubs", "hearts"][suit]
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::*;

    #[test]
    fn a_deck_deals_every_card_once_and_each_place_gets_each_card_as_often() {
        let mut generator = Seed::new(4).generator();
        let mut deck = Deck::new(2);
        let mut first = [0_u32; CARDS];
        let mut last = [0_u32; CARDS];
        for _ in 0..20_800 {
            deck.shuffle(&mut generator);
            let dealt: Vec<u8> = (0..deck.size()).map(|_| deck.deal()).collect();
            first[usize::from(dealt[0])] += 1;
            last[usize::from(dealt[103])] += 1;
            let mut counts = [0; CARDS];
            dealt.iter().for_each(|&card| counts[usize::from(card)] += 1);
            assert_eq!(counts, [2; CARDS]);
            assert_eq!(deck.dealt_ago(3), dealt[100]);
        }
        // 400 expected, with a standard deviation of 20.
        assert!(first.iter().chain(&last).all(|count| (300..500).contains(count)), "{first:?}");
    }

    #[test]
    fn a_card_has_one_of_every_face() {
        assert_eq!([0, 1, 2, 3].map(|card| Face::Suit.of(card)), [0, 1, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(|card| Face::Color.of(card)), [0, 1, 0, 1]);
        assert_eq!([0, 3, 4, 51].map(|card| Face::Rank.of(card)), [0, 0, 1, 12]);
    }
}
