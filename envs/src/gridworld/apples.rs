//! The middle phase: apples to collect, which need no memory.

use engram_mdp::Generator;
use rand::RngExt;

use super::board::{Board, Cell, Map, Tile, cells};

/// Map of the orchard: an apple may grow at `a`.
const MAP: Map = [
    b"###########",
    b"#a a a a a#",
    b"# a a a a #",
    b"#a a a a a#",
    b"# a a a a #",
    b"#a a + a a#",
    b"###########",
];
/// Cells where an apple may grow.
const CANDIDATES: usize = 22;
/// Apples of an episode.
const APPLES: usize = 10;
/// An apple grows again once more frames than these have passed.
const REST: u32 = 20;

/// The apples of an episode.
#[derive(Clone, Debug)]
pub(super) struct Apples {
    /// The cells, those of this episode first.
    cells: [Cell; CANDIDATES],
    /// Frame at which each was last taken; 0 if it never was.
    taken: [u32; APPLES],
    start: Cell,
}

impl Apples {
    pub(super) fn new() -> Self {
        let mut candidates = cells(&MAP, b'a');
        let apples = Apples {
            cells: std::array::from_fn(|_| candidates.next().expect("the map has 22 candidates")),
            taken: [0; APPLES],
            start: cells(&MAP, b'+').next().expect("the map has a start"),
        };
        assert!(candidates.next().is_none(), "the map has 22 candidates");
        apples
    }

    /// Lays out the board with apples on cells drawn without replacement.
    pub(super) fn grow(&mut self, generator: &mut Generator) -> Board {
        self.taken = [0; APPLES];
        let mut board = Board::new(&MAP, self.start);
        for i in 0..APPLES {
            self.cells.swap(i, generator.random_range(i..CANDIDATES));
            board.put(Tile::Apple, self.cells[i]);
        }
        board
    }

    /// The player has moved, and `frame` decisions were taken in this phase. Returns whether it
    /// took an apple.
    pub(super) fn update(&mut self, board: &mut Board, frame: u32) -> bool {
        let took = board.tile(board.player) == Tile::Apple;
        for (&cell, taken) in self.cells.iter().zip(&mut self.taken) {
            if took && cell == board.player {
                *taken = frame;
                board.put(Tile::Floor, cell);
            } else if *taken > 0 && frame > *taken + REST {
                *taken = 0;
                board.put(Tile::Apple, cell);
            }
        }
        took
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use engram_mdp::Seed;

    use super::*;

    /// Walks towards the apple from which the one after it can be had soonest, knowing where all
    /// are and when they grow.
    fn collect(apples: &mut Apples, board: &mut Board, frames: u32) -> u32 {
        let mut collected = 0;
        for frame in 1..=frames {
            let player = board.player;
            let known = || apples.cells.into_iter().zip(apples.taken);
            let arrival = |from: Cell, at: u32, (cell, taken): (Cell, u32)| {
                let way = cell.row.abs_diff(from.row) + cell.column.abs_diff(from.column);
                (at + way as u32).max(if taken > 0 { taken + REST + 2 } else { 0 })
            };
            let plan = |apple: (Cell, u32)| {
                let at = arrival(player, frame - 1, apple);
                let others = known().filter(|other| other.0 != apple.0);
                (others.map(|other| arrival(apple.0, at, other)).min(), at)
            };
            let (target, _) = known().min_by_key(|&apple| plan(apple)).unwrap();
            let action = match (target.row.cmp(&player.row), target.column.cmp(&player.column)) {
                (Ordering::Less, _) => 0,
                (Ordering::Greater, _) => 1,
                (_, Ordering::Less) => 2,
                (_, Ordering::Greater) => 3,
                (Ordering::Equal, Ordering::Equal) => 0,
            };
            let to = player.neighbor(action).filter(|&to| board.tile(to) != Tile::Wall);
            board.player = to.unwrap_or(player);
            collected += u32::from(apples.update(board, frame));
        }
        collected
    }

    #[test]
    fn a_collector_who_knows_everything_gets_what_the_reference_measured() {
        // 400 episodes have a standard error of about 0.3 %. Who walks to the nearest apple
        // instead, without a thought of the next, gets 2 to 4 % less.
        let mut generator = Seed::new(1).generator();
        let mut apples = Apples::new();
        for (frames, expected) in [(30, 11.8), (60, 23.0), (120, 45.2), (250, 93.3)] {
            let mut collected = 0;
            for _ in 0..400 {
                let mut board = apples.grow(&mut generator);
                collected += collect(&mut apples, &mut board, frames);
            }
            let mean = f64::from(collected) / 400.0;
            assert!((mean / expected - 1.0).abs() < 0.012, "{frames}: {mean}, not {expected}");
        }
    }

    #[test]
    fn a_random_policy_gets_what_pycolab_pays() {
        // python3 envs/tests/apples.py 60 15000: 5.45 ± 0.015; 250 1500: 22.06 ± 0.11. Three
        // standard errors of the difference to ours.
        let mut generator = Seed::new(3).generator();
        let mut apples = Apples::new();
        for (frames, episodes, expected, tolerance) in
            [(60, 10_000, 5.45, 0.08), (250, 4000, 22.06, 0.39)]
        {
            let mut collected = 0;
            for _ in 0..episodes {
                let mut board = apples.grow(&mut generator);
                for frame in 1..=frames {
                    let to = board.player.neighbor(generator.random_range(0..4));
                    board.player =
                        to.filter(|&to| board.tile(to) != Tile::Wall).unwrap_or(board.player);
                    collected += u32::from(apples.update(&mut board, frame));
                }
            }
            let mean = f64::from(collected) / f64::from(episodes);
            assert!((mean - expected).abs() < tolerance, "{frames}: {mean}, not {expected}");
        }
    }

    #[test]
    fn ten_of_the_candidates_bear_an_apple_and_each_as_often_as_any_other() {
        let mut generator = Seed::new(2).generator();
        let mut apples = Apples::new();
        let mut counts = [[0_u32; 11]; 7];
        for _ in 0..2200 {
            let board = apples.grow(&mut generator);
            let all = || (0..7).flat_map(|row| (0..11).map(move |column| Cell { row, column }));
            let bearing: Vec<Cell> = all().filter(|&at| board.tile(at) == Tile::Apple).collect();
            assert_eq!(bearing.len(), 10);
            assert!(bearing.iter().all(|at| MAP[at.row][at.column] == b'a'));
            bearing.iter().for_each(|at| counts[at.row][at.column] += 1);
        }
        // A binomial of 2200 draws with a chance of 10 / 22: 1000, standard deviation 23.
        for cell in cells(&MAP, b'a') {
            let count = counts[cell.row][cell.column];
            assert!(count.abs_diff(1000) < 94, "{cell:?} bore {count} of 2200 times");
        }
    }
}
