//! Passive Visual Match: remember a color for as long as the apples last (Hung et al. 2019,
//! <https://doi.org/10.1038/s41467-019-13073-w>; the version of Ni et al. 2023,
//! <https://arxiv.org/abs/2307.03864>).
//!
//! ```text
//!   Explore            Apples               Reward
//!                   ###########          ###########
//!      ###          #a a a a a#          # b  c  e #     # wall, blocks
//!      #+*          # a a a a #          #         #     + the player's start
//!      ###          #a a a a a#          #         #     * the target's color, at one of the
//!                   # a a a a #          ####   ####       eight cells around the player
//!                   #a a + a a#             # + #        a apple, at 10 of these cells
//!                   ###########             #####        b c e red, green and blue, permuted
//! ```
//!
//! The player stands between walls, one of which has a color; it cannot help seeing it. Then come
//! apples, which pay well and mean nothing. In the last phase the player chooses: the first of the
//! three colored cells that it touches is its answer, all three vanish, and the target's pays
//! `final_reward`. From its start none of them is in view, and 9 decisions are enough to look and
//! then answer. Without memory one answer in three is right.
//!
//! The phases, the apples and the view are those of [`gridworld`](crate::gridworld). In the
//! original which color lies where is drawn once per environment, so an agent that learns that red
//! is left is right in training and lost elsewhere; [`Colors`] offers two remedies.

use engram_mdp::{EnvSpec, Generator, Seed};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::gridworld::{
    Board, Cell, EpisodePhase, Map, Story, ThreePhaseSettings, ThreePhases, Tile, cells, spec,
};

/// The player between eight cells that block.
const EXPLORE: Map = [
    b"           ",
    b"    ###    ",
    b"    #+#    ",
    b"    ###    ",
    b"           ",
    b"           ",
    b"           ",
];
const REWARD: Map = [
    b"###########",
    b"# b  c  e #",
    b"#         #",
    b"#         #",
    b"####   ####",
    b"   # + #   ",
    b"   #####   ",
];
const COLORS: [Tile; 3] = [Tile::Red, Tile::Green, Tile::Blue];
/// Decisions that suffice in the last phase, whatever lies where.
const SUFFICIENT_FRAMES: u32 = 9;

/// The parameters of Passive Visual Match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisualMatchConfig {
    /// Decisions in front of the target's color; 15 in the original.
    pub explore_frames: u32,
    /// Decisions among apples between the color and the question.
    pub delay: u32,
    /// Decisions in front of the three colors; 15 in the original.
    pub reward_frames: u32,
    /// The reward of an apple; 1 in the paper of 2023.
    pub apple_reward: f32,
    /// The reward of the right answer; 5 in the paper of 2023.
    pub final_reward: f32,
    /// Arrangement of the colors in the last phase.
    pub colors: Colors,
}

/// Arrangement of red, green and blue (left, middle, right) in the last phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colors {
    /// Drawn once for each environment, from its seed: the original's.
    PerInstance,
    /// Red left, green in the middle, blue right, in every environment.
    Shared,
    /// Drawn anew for each episode: an answer must be looked for.
    PerEpisode,
}

impl VisualMatchConfig {
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

impl EnvironmentParameters for VisualMatchConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.settings().validate()
    }

    fn spec(&self) -> EnvSpec {
        spec("visual-match")
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let story = VisualMatch::new(self.colors, seed);
        Box::new(ThreePhases::new(self.spec(), self.settings(), story, seed))
    }

    /// Known without apples only: the right answer alone. The number of apples within reach is not
    /// known.
    fn optimum(&self) -> Option<f32> {
        let known = self.apple_reward == 0.0 && self.reward_frames >= SUFFICIENT_FRAMES;
        known.then_some(self.final_reward)
    }

    /// Of three cells one has the color.
    fn memoryless(&self) -> Option<f32> {
        Some(1.0 / 3.0)
    }
}

struct VisualMatch {
    colors: Colors,
    /// Colors left, in the middle and right.
    permutation: [Tile; 3],
    /// Position of the target in the last phase: left, in the middle or right.
    target: usize,
    /// Cells of these three.
    choices: [Cell; 3],
    answered: bool,
}

impl VisualMatch {
    fn new(colors: Colors, seed: Seed) -> Self {
        let mut permutation = COLORS;
        if colors == Colors::PerInstance {
            permutation.shuffle(&mut seed.derive("colors", 0).generator());
        }
        let choice = |mark| cells(&REWARD, mark).next().expect("the map has three choices");
        let choices = [b'b', b'c', b'e'].map(choice);
        VisualMatch { colors, permutation, target: 0, choices, answered: false }
    }
}

impl Story for VisualMatch {
    fn explore(&mut self, generator: &mut Generator) -> Board {
        if self.colors == Colors::PerEpisode {
            self.permutation.shuffle(generator);
        }
        self.target = generator.random_range(0..self.choices.len());
        self.answered = false;
        let player = cells(&EXPLORE, b'+').next().expect("the map has a start");
        let mut board = Board::new(&EXPLORE, player);
        let around = cells(&EXPLORE, b'#').nth(generator.random_range(0..8));
        board.put(self.permutation[self.target], around.expect("the map has eight cells around"));
        board
    }

    fn explored(&mut self, _board: &mut Board) {}

    fn reward(&mut self) -> Board {
        let player = cells(&REWARD, b'+').next().expect("the map has a start");
        let mut board = Board::new(&REWARD, player);
        for (choice, color) in self.choices.into_iter().zip(self.permutation) {
            board.put(color, choice);
        }
        board
    }

    fn solves(&mut self, board: &mut Board) -> bool {
        let Some(answer) = self.choices.iter().position(|&choice| choice == board.player) else {
            return false;
        };
        if self.answered {
            return false;
        }
        self.answered = true;
        self.choices.into_iter().for_each(|choice| board.put(Tile::Floor, choice));
        answer == self.target
    }

    fn blocks(&self, _tile: Tile, phase: EpisodePhase) -> bool {
        phase == EpisodePhase::Explore
    }

    fn caption(&self, phase: EpisodePhase) -> String {
        let color = match self.permutation[self.target] {
            Tile::Red => "red",
            Tile::Green => "green",
            _ => "blue",
        };
        match phase {
            EpisodePhase::Explore => format!("phase 1: remember the color ({color})"),
            EpisodePhase::Apples => format!("phase 2: collect apples (the color was {color})"),
            EpisodePhase::Reward if self.answered => {
                format!("phase 3: answered (the color was {color})")
            }
            EpisodePhase::Reward => format!("phase 3: walk to the color of phase 1 ({color})"),
        }
    }

    fn carried(&self) -> Option<Tile> {
        Some(self.permutation[self.target])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use engram_mdp::Ending;

    use super::*;
    use crate::environment::Outcome;
    use crate::gridworld::testing::*;

    fn config(delay: u32, colors: Colors) -> VisualMatchConfig {
        VisualMatchConfig {
            explore_frames: 15,
            delay,
            reward_frames: 15,
            apple_reward: 1.0,
            final_reward: 5.0,
            colors,
        }
    }

    /// The color that is seen.
    fn color(play: &Play) -> Option<char> {
        ['r', 'g', 'b'].into_iter().find(|&color| play.find(color).is_some())
    }

    /// Two decisions among apples that this policy does not look for, then the last phase.
    fn at_the_question(seed: u64) -> (Play, char) {
        let mut play = Play::new(&config(2, Colors::PerEpisode), seed);
        let target = color(&play).unwrap();
        play.steps(NORTH, 17);
        (play, target)
    }

    /// Walks until `color` is reached, by what is seen; returns the decisions it took.
    fn answer(play: &mut Play, color: char) -> u32 {
        let before = play.steps;
        play.steps(NORTH, 2);
        let left = [WEST; 1];
        let right = [EAST; 3];
        for action in left.into_iter().chain(right) {
            if play.find(color).is_some() {
                break;
            }
            play.step(action);
        }
        let (south, east) = play.find(color).expect("one of the three is this color");
        play.steps(if east > 0 { EAST } else { WEST }, east.unsigned_abs());
        play.steps(NORTH, south.unsigned_abs());
        play.steps - before
    }

    #[test]
    fn a_random_policy_gets_what_the_reference_measured() {
        assert_random_policy_is_the_references(
            |delay| Box::new(config(delay, Colors::PerEpisode)),
            30,
            [(60, 5.5), (120, 10.9), (250, 21.6), (500, 43.2)],
            (0.047, 0.003),
        );
    }

    #[test]
    fn the_cue_is_seen_from_the_first_phase_only_and_nobody_moves() {
        let mut play = Play::new(&config(4, Colors::PerEpisode), 1);
        let mut seen = HashSet::new();
        for _ in 0..400 {
            play.reset();
            let (view, cue) = (play.view(), color(&play).unwrap());
            seen.insert((cue, play.find(cue).unwrap()));
            let without_cue: Vec<String> = view.iter().map(|l| l.replace(cue, "#")).collect();
            assert_eq!(without_cue, ["     ", " ### ", " #+# ", " ### ", "     "]);
            for t in 0..14 {
                assert_eq!(play.step(t % 4).reward, 0.0);
                assert_eq!(play.view(), view, "at step {t}");
            }
            for _ in 0..5 {
                play.step(SOUTH);
                assert_eq!(
                    color(&play),
                    None,
                    "after the first phase:\n{}",
                    play.view().join("\n")
                );
            }
        }
        assert_eq!(seen.len(), 24, "three colors at eight places");
    }

    #[test]
    fn the_phases_follow_one_another_without_showing_their_last_boards() {
        // An apple two cells to the left of the start, taken at the phase's last decision.
        let found = (0..100).find_map(|seed| {
            let mut play = Play::new(&config(2, Colors::PerEpisode), seed);
            play.steps(NORTH, 15);
            (play.view()[2] == "a + a" && play.view()[1] == "     ").then_some(play)
        });
        let mut play = found.expect("one seed of a hundred has such apples");
        assert_eq!(play.view()[2..], ["a + a", "#####", "     "]);
        assert_eq!(play.step(WEST).reward, 0.0);
        assert_eq!(play.step(WEST), Outcome::goes_on(1.0));
        assert_eq!(play.view(), ["     ", "#   #", "# + #", "#####", "     "]);
        play.steps(NORTH, 1);
        assert_eq!(play.view(), ["     ", "     ", "# + #", "#   #", "#####"]);
        play.steps(WEST, 13);
        let outcome = play.step(NORTH);
        assert_eq!(outcome, Outcome::terminated(0.0));
        assert_eq!(play.view()[1..], ["     ", "  +  ", "##   ", " #   "]);
        assert_eq!(play.steps, 32);
    }

    #[test]
    fn looking_and_then_answering_takes_at_most_nine_decisions_and_is_always_right() {
        let mut longest = 0;
        for seed in 0..100 {
            let (mut play, target) = at_the_question(seed);
            assert_eq!(play.view(), ["     ", "#   #", "# + #", "#####", "     "]);
            let apples = play.total;
            longest = longest.max(answer(&mut play, target));
            assert_eq!(play.total - apples, 5.0);
            assert!(play.solved());
        }
        assert_eq!(longest, 9);
    }

    #[test]
    fn the_first_touch_is_the_answer_and_the_colors_vanish() {
        let (mut play, target) = at_the_question(3);
        let wrong = ['r', 'g', 'b'].into_iter().find(|&color| color != target).unwrap();
        let apples = play.total;
        let mut steps = answer(&mut play, wrong);
        assert_eq!(color(&play), None);
        // Along the row where the colors were: two walls, and the last frame in between.
        let mut last = None;
        while last.is_none() {
            last = play.step(if steps < 12 { WEST } else { EAST }).ending;
            assert_eq!(color(&play), None);
            steps += 1;
        }
        assert_eq!((last, steps), (Some(Ending::Terminated), 15));
        assert_eq!(play.total, apples);
        assert!(!play.solved());
    }

    #[test]
    fn colors_are_permuted_for_each_environment_or_episode_or_not_at_all() {
        let permutations = |colors, seed| {
            let mut story = VisualMatch::new(colors, Seed::new(seed));
            let mut generator = Seed::new(seed).generator();
            let mut permutations = Vec::new();
            for _ in 0..50 {
                story.explore(&mut generator);
                let board = story.reward();
                permutations.push(story.choices.map(|choice| board.tile(choice)));
            }
            permutations.dedup();
            permutations
        };
        for seed in 0..20 {
            assert_eq!(permutations(Colors::Shared, seed), [COLORS]);
            assert_eq!(permutations(Colors::PerInstance, seed).len(), 1);
        }
        let kinds = |all: &mut dyn Iterator<Item = [Tile; 3]>| {
            all.map(|permutation| format!("{permutation:?}")).collect::<HashSet<_>>().len()
        };
        let instances = (0..60).map(|seed| permutations(Colors::PerInstance, seed)[0]);
        assert_eq!(kinds(&mut instances.into_iter()), 6);
        assert_eq!(kinds(&mut permutations(Colors::PerEpisode, 1).into_iter()), 6);
    }

    #[test]
    fn the_optimum_is_known_without_apples_only() {
        let mut config = config(30, Colors::Shared);
        assert_eq!(config.optimum(), None);
        config.apple_reward = 0.0;
        assert_eq!(config.optimum(), Some(5.0));
        config.reward_frames = 8;
        assert_eq!(config.optimum(), None);
    }

    #[test]
    fn a_phase_of_no_decisions_is_refused() {
        let message = config(0, Colors::Shared).validate().unwrap_err().to_string();
        assert_eq!(message, "`delay` is 0; it must be 1 to 1000000");
    }
}
