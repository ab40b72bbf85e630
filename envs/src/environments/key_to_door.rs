//! Key-to-Door: take a key, which pays nothing, for a door behind many apples (Hung et al. 2019,
//! <https://doi.org/10.1038/s41467-019-13073-w>; the version of Ni et al. 2023,
//! <https://arxiv.org/abs/2307.03864>).
//!
//! ```text
//!   Explore            Apples             Reward
//!   ###i###         ###########
//!   #kkkkk#         #a a a a a#          ##d##     # wall, blocks
//!   #kkkkk#         # a a a a #          #   #     + the player's start, one of these cells
//!   ##   ##         #a a a a a#          # + #     k the key, at one of these cells
//!   #+++++#         # a a a a #          #   #     i the indicator
//!   #+++++#         #a a + a a#          #####     a apple, at 10 of these cells
//!   #######         ###########                    d the door
//! ```
//!
//! Walking onto the key takes it; for one frame an indicator says so, and nothing ever says it
//! again. Then come apples, which pay well and mean nothing. In the last phase the door blocks
//! whoever has no key; stepping on it with the key pays `final_reward` once.
//!
//! Nothing needs to be remembered, for an agent may always try the door: the question is whether
//! learning finds out that a reward was earned by a decision far before it, past all the apples.
//! The phases, the apples and the view are those of [`gridworld`](crate::gridworld).

use engram_mdp::{EnvSpec, Generator, Seed};
use rand::RngExt;
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::gridworld::{
    Board, Cell, EpisodePhase, Map, Story, ThreePhaseSettings, ThreePhases, Tile, cells, spec,
};

const EXPLORE: Map = [
    b"  #######  ",
    b"  #kkkkk#  ",
    b"  #kkkkk#  ",
    b"  ##   ##  ",
    b"  #+++++#  ",
    b"  #+++++#  ",
    b"  #######  ",
];
const REWARD: Map = [
    b"           ",
    b"   ##d##   ",
    b"   #   #   ",
    b"   # + #   ",
    b"   #   #   ",
    b"   #####   ",
    b"           ",
];
/// Cell of the indicator: in view from wherever the key may lie.
const INDICATOR: Cell = Cell { row: 0, column: 5 };
/// Decisions that suffice to find the key: to the opening in the middle at most 4, from where all
/// of the room is in view, and 4 more.
const SUFFICIENT_EXPLORE_FRAMES: u32 = 8;
/// Decisions from the start of the last phase to the door.
const SUFFICIENT_REWARD_FRAMES: u32 = 2;

/// The parameters of Key-to-Door.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyToDoorConfig {
    /// Decisions in the room with the key; 15 in the original.
    pub explore_frames: u32,
    /// Decisions among apples between key and door.
    pub delay: u32,
    /// Decisions in front of the door; 10 in the original.
    pub reward_frames: u32,
    /// The reward of an apple; 1 in the paper of 2023.
    pub apple_reward: f32,
    /// The reward of the door; 5 in the paper of 2023.
    pub final_reward: f32,
}

impl KeyToDoorConfig {
    fn settings(&self) -> ThreePhaseSettings {
        ThreePhaseSettings {
            explore_frames: self.explore_frames,
            delay: self.delay,
            reward_frames: self.reward_frames,
            apple_reward: self.apple_reward,
            final_reward: self.final_reward,
        }
    }
}

impl EnvironmentParameters for KeyToDoorConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.settings().validate()
    }

    fn spec(&self) -> EnvSpec {
        spec("key-to-door")
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let door = cells(&REWARD, b'd').next().expect("the map has a door");
        let key = cells(&EXPLORE, b'k').next().expect("the map has a place for the key");
        let story = KeyToDoor { key, door, has_key: false, opened: false };
        Box::new(ThreePhases::new(self.spec(), self.settings(), story, seed))
    }

    /// Known without apples only: the door alone. The number of apples within reach is not known.
    fn optimum(&self) -> Option<f32> {
        let known = self.apple_reward == 0.0
            && self.explore_frames >= SUFFICIENT_EXPLORE_FRAMES
            && self.reward_frames >= SUFFICIENT_REWARD_FRAMES;
        known.then_some(self.final_reward)
    }

    /// Without credit across the apples nobody fetches the key: Ni et al. 2023 draw their line
    /// here.
    fn memoryless(&self) -> Option<f32> {
        Some(0.0)
    }
}

struct KeyToDoor {
    key: Cell,
    door: Cell,
    has_key: bool,
    opened: bool,
}

/// One of the cells that a map marks.
fn any_cell(map: &Map, mark: u8, generator: &mut Generator) -> Cell {
    let index = generator.random_range(0..cells(map, mark).count());
    cells(map, mark).nth(index).expect("an index below the count")
}

impl Story for KeyToDoor {
    fn explore(&mut self, generator: &mut Generator) -> Board {
        self.key = any_cell(&EXPLORE, b'k', generator);
        (self.has_key, self.opened) = (false, false);
        let mut board = Board::new(&EXPLORE, any_cell(&EXPLORE, b'+', generator));
        board.put(Tile::Key, self.key);
        board
    }

    fn explored(&mut self, board: &mut Board) {
        if self.has_key {
            board.put(Tile::Wall, INDICATOR);
        } else if board.player == self.key {
            self.has_key = true;
            board.put(Tile::Floor, self.key);
            board.put(Tile::Indicator, INDICATOR);
        }
    }

    fn reward(&mut self) -> Board {
        let player = cells(&REWARD, b'+').next().expect("the map has a start");
        let mut board = Board::new(&REWARD, player);
        board.put(Tile::Door, self.door);
        board
    }

    fn solves(&mut self, board: &mut Board) -> bool {
        let opens = !self.opened && board.player == self.door;
        self.opened |= opens;
        opens
    }

    fn blocks(&self, tile: Tile, _phase: EpisodePhase) -> bool {
        match tile {
            Tile::Indicator => true,
            Tile::Door => !self.has_key,
            _ => false,
        }
    }

    fn caption(&self, phase: EpisodePhase) -> String {
        let caption = match phase {
            EpisodePhase::Explore if self.has_key => "phase 1: the key is taken",
            EpisodePhase::Explore => "phase 1: take the key",
            EpisodePhase::Apples => "phase 2: collect apples",
            EpisodePhase::Reward if self.opened => "phase 3: the door was opened",
            EpisodePhase::Reward if self.has_key => "phase 3: open the door",
            EpisodePhase::Reward => "phase 3: the door stays shut without the key",
        };
        caption.into()
    }

    fn carried(&self) -> Option<Tile> {
        (self.has_key && !self.opened).then_some(Tile::Key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::environment::Outcome;
    use crate::gridworld::testing::*;

    fn config(delay: u32) -> KeyToDoorConfig {
        KeyToDoorConfig {
            explore_frames: 15,
            delay,
            reward_frames: 10,
            apple_reward: 1.0,
            final_reward: 5.0,
        }
    }

    /// The first episode that begins with this view.
    fn beginning_with(view: [&str; 5]) -> Play {
        let mut play = Play::new(&config(3), 1);
        for _ in 0..2000 {
            if play.view() == view {
                return play;
            }
            play.reset();
        }
        panic!("no episode of 2000 begins with {view:?}");
    }

    /// The key two cells to the north, behind the opening.
    fn key_ahead() -> Play {
        beginning_with(["  k  ", "#   #", "  +  ", "     ", "#####"])
    }

    /// Moves from the player to the key; walls and the edge are in the way.
    fn distance(board: &Board, key: Cell) -> u32 {
        let mut queue = VecDeque::from([(board.player, 0)]);
        let mut visited = vec![board.player];
        while let Some((at, moves)) = queue.pop_front() {
            if at == key {
                return moves;
            }
            for next in (0..4).filter_map(|action| at.neighbor(action)) {
                if board.tile(next) != Tile::Wall && !visited.contains(&next) {
                    visited.push(next);
                    queue.push_back((next, moves + 1));
                }
            }
        }
        panic!("there is no way to {key:?}");
    }

    #[test]
    fn a_random_policy_gets_what_the_reference_measured() {
        assert_random_policy_is_the_references(
            |delay| Box::new(config(delay)),
            25,
            [(60, 5.6), (120, 10.9), (250, 21.8), (500, 43.8)],
            (0.0245, 0.0024),
        );
    }

    #[test]
    fn the_key_is_two_to_eight_moves_away() {
        let mut story =
            KeyToDoor { key: INDICATOR, door: INDICATOR, has_key: false, opened: false };
        let mut generator = Seed::new(1).generator();
        let mut distances = Vec::new();
        for _ in 0..4000 {
            let board = story.explore(&mut generator);
            distances.push(distance(&board, story.key));
        }
        let mean = f64::from(distances.iter().sum::<u32>()) / 4000.0;
        assert!((mean - 4.8).abs() < 0.1, "{mean} is not 4.8");
        let ends = (distances.iter().min().unwrap(), distances.iter().max().unwrap());
        assert_eq!(ends, (&2, &8));
    }

    #[test]
    fn the_key_is_taken_once_and_an_indicator_says_so_for_one_frame() {
        let mut play = key_ahead();
        play.steps(NORTH, 1);
        assert_eq!(play.view(), ["     ", "  k  ", "# + #", "     ", "     "]);
        assert_eq!(play.step(NORTH), Outcome::goes_on(0.0), "the key pays nothing");
        assert_eq!(play.view(), ["##i##", "     ", "  +  ", "#   #", "     "]);
        play.steps(WEST, 1);
        assert_eq!(play.view(), ["#####", "#    ", "# +  ", "##   ", "#    "]);
        play.steps(EAST, 1);
        assert_eq!(play.view(), ["#####", "     ", "  +  ", "#   #", "     "]);
    }

    #[test]
    fn the_indicator_is_a_wall() {
        // The key in the first row, four cells to the north: it comes into view one cell later.
        let mut play = Play::new(&config(3), 1);
        let found = (0..2000).any(|_| {
            play.reset();
            let ahead = play.view() == ["     ", "#   #", "  +  ", "     ", "#####"];
            ahead && {
                play.steps(NORTH, 1);
                play.view()[0] == "  k  "
            }
        });
        assert!(found, "one episode of 2000 has a key there");
        play.steps(NORTH, 2);
        assert_eq!(play.view(), ["     ", "##i##", "  +  ", "     ", "#   #"]);
        play.steps(NORTH, 1);
        assert_eq!(play.view(), ["     ", "#####", "  +  ", "     ", "#   #"]);
    }

    #[test]
    fn the_door_blocks_whoever_has_no_key() {
        let mut play = key_ahead();
        play.steps(SOUTH, 18);
        assert_eq!(play.view(), ["##d##", "#   #", "# + #", "#   #", "#####"]);
        play.steps(NORTH, 2);
        assert_eq!(play.view(), ["     ", "##d##", "# + #", "#   #", "#   #"]);
        play.steps(NORTH, 7);
        let before = play.total;
        assert_eq!(play.step(NORTH), Outcome::terminated(0.0));
        assert_eq!(play.view(), ["     ", "##d##", "# + #", "#   #", "#   #"]);
        assert!(!play.solved());
        assert_eq!((play.total, play.steps), (before, 28));
    }

    #[test]
    fn the_door_opens_once_and_stays_open() {
        let mut play = key_ahead();
        play.steps(NORTH, 2);
        play.steps(SOUTH, 16);
        play.steps(NORTH, 1);
        assert_eq!(play.step(NORTH), Outcome::goes_on(5.0));
        assert_eq!(
            play.view(),
            ["     ", "     ", "##d##", "#   #", "#   #"],
            "it hides the player"
        );
        assert!(play.solved());
        let paid = play.total;
        play.steps(NORTH, 2);
        assert_eq!(play.view(), ["     ", "     ", "  +  ", "##d##", "#   #"], "on the edge");
        play.steps(SOUTH, 2);
        assert_eq!(play.view(), ["     ", "##d##", "# + #", "#   #", "#   #"]);
        play.steps(NORTH, 1);
        assert_eq!(play.total, paid, "a second time pays nothing");
        play.reset();
        assert!(!play.solved());
        play.steps(SOUTH, 18);
        play.steps(NORTH, 3);
        assert_eq!(play.view()[2], "# + #", "the next episode has no key");
    }

    #[test]
    fn a_key_taken_with_the_last_decision_of_its_phase_counts() {
        let mut play = key_ahead();
        play.steps(SOUTH, 1);
        assert_eq!(play.view(), ["#   #", "     ", "  +  ", "#####", "     "]);
        // 15 decisions: one south, eleven against the wall, three north.
        play.steps(SOUTH, 11);
        play.steps(NORTH, 3);
        assert_eq!(play.view()[3], "#####", "among apples, at the lower wall");
        play.steps(SOUTH, 3);
        play.steps(NORTH, 1);
        assert_eq!(play.step(NORTH).reward, 5.0);
    }

    #[test]
    fn a_taken_apple_grows_again_after_21_frames_and_is_taken_one_frame_later() {
        let among_apples = || {
            let mut play = Play::new(&config(30), 0);
            for _ in 0..100 {
                play.steps(SOUTH, 15);
                if play.view()[2].starts_with('a') {
                    play.steps(WEST, 1);
                    assert_eq!(play.step(WEST), Outcome::goes_on(1.0), "taken at frame 2");
                    return play;
                }
                play.reset();
            }
            panic!("no episode of a hundred has an apple there");
        };
        let mut beside = among_apples();
        beside.steps(EAST, 1);
        for frame in 3..23 {
            assert_eq!(&beside.view()[2][1..2], " ", "after frame {frame}");
            beside.steps(SOUTH, 1);
        }
        assert_eq!(&beside.view()[2][1..2], "a", "after frame 23");
        assert_eq!(beside.step(WEST).reward, 1.0);
        let mut on_the_spot = among_apples();
        for frame in 3..24 {
            assert_eq!(on_the_spot.step(SOUTH).reward, 0.0, "at frame {frame}");
        }
        assert_eq!(on_the_spot.view()[2].chars().nth(2), Some('+'), "it hides the apple");
        assert_eq!(on_the_spot.step(SOUTH).reward, 1.0, "at frame 24");
    }

    #[test]
    fn the_optimum_is_known_without_apples_only() {
        let optimum = |change: fn(&mut KeyToDoorConfig)| {
            let mut config = KeyToDoorConfig { apple_reward: 0.0, ..config(30) };
            change(&mut config);
            config.optimum()
        };
        assert_eq!(optimum(|_| ()), Some(5.0));
        assert_eq!(optimum(|config| config.apple_reward = 0.1), None);
        assert_eq!(optimum(|config| config.explore_frames = 7), None);
        assert_eq!(optimum(|config| config.reward_frames = 1), None);
    }
}
