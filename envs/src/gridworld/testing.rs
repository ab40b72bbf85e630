//! Test player of an environment of three phases; observations become text.

use engram_mdp::{Action, Ending, ObservationMut, Seed};
use rand::RngExt;

use super::VIEW;
use crate::environment::{Environment, EnvironmentParameters, Outcome};

pub(crate) const NORTH: usize = 0;
pub(crate) const SOUTH: usize = 1;
pub(crate) const WEST: usize = 2;
pub(crate) const EAST: usize = 3;

/// Every color that can be seen, from the tables of the original, not from the code under test.
const COLORS: [(char, [u8; 3]); 10] = [
    (' ', [204, 204, 204]),
    ('#', [25, 25, 25]),
    ('+', [228, 148, 109]),
    ('a', [140, 178, 0]),
    ('k', [159, 81, 44]),
    ('d', [134, 206, 235]),
    ('i', [255, 255, 255]),
    ('r', [255, 0, 0]),
    ('g', [0, 255, 0]),
    ('b', [0, 0, 255]),
];

/// An environment, and the episode that it is in.
pub(crate) struct Play {
    environment: Box<dyn Environment>,
    image: [u8; 3 * VIEW * VIEW],
    /// Decisions in this episode.
    pub(crate) steps: u32,
    /// The sum of this episode's rewards.
    pub(crate) total: f32,
}

impl Play {
    /// An environment at the start of its first episode.
    pub(crate) fn new(config: &dyn EnvironmentParameters, seed: u64) -> Play {
        config.validate().unwrap();
        let environment = config.make(Seed::new(seed));
        let mut play = Play { environment, image: [0; 75], steps: 0, total: 0.0 };
        play.reset();
        play
    }

    pub(crate) fn reset(&mut self) {
        self.environment.reset(ObservationMut::U8(&mut self.image));
        (self.steps, self.total) = (0, 0.0);
    }

    pub(crate) fn step(&mut self, action: usize) -> Outcome {
        let observation = ObservationMut::U8(&mut self.image);
        let outcome = self.environment.step(Action::Discrete(action), observation);
        self.steps += 1;
        self.total += outcome.reward;
        outcome
    }

    /// Takes the same decision so many times, none of which ends the episode.
    pub(crate) fn steps(&mut self, action: usize, times: u32) {
        (0..times).for_each(|_| assert_eq!(self.step(action).ending, None));
    }

    pub(crate) fn solved(&self) -> bool {
        self.environment.success().unwrap()
    }

    /// The view, as five lines of five characters.
    pub(crate) fn view(&self) -> Vec<String> {
        let character = |cell: usize| {
            let color = [0, 25, 50].map(|channel| self.image[channel + cell]);
            let known = COLORS.iter().find(|(_, known)| *known == color);
            known.unwrap_or_else(|| panic!("{color:?} is the color of nothing")).0
        };
        let line = |row: usize| (0..VIEW).map(|column| character(VIEW * row + column)).collect();
        (0..VIEW).map(line).collect()
    }

    /// Position of a character in the view: rows and columns from the player, south and east.
    pub(crate) fn find(&self, character: char) -> Option<(i32, i32)> {
        let view = self.view().concat();
        let at = view.chars().position(|seen| seen == character)? as i32;
        Some((at / VIEW as i32 - 2, at % VIEW as i32 - 2))
    }
}

/// Result of a random policy.
pub(crate) struct RandomScore {
    pub(crate) mean_return: f64,
    /// The share of episodes that were solved.
    pub(crate) success: f64,
    /// Decisions of each episode.
    pub(crate) length: u32,
}

/// Plays `episodes` with a random policy.
pub(crate) fn random_policy(
    config: &dyn EnvironmentParameters,
    episodes: u32,
    seed: u64,
) -> RandomScore {
    let mut play = Play::new(config, seed);
    let mut generator = Seed::new(seed).derive("policy", 0).generator();
    let (mut sum, mut solved, mut length) = (0.0, 0, 0);
    for _ in 0..episodes {
        play.reset();
        let ending = loop {
            if let Some(ending) = play.step(generator.random_range(0..4)).ending {
                break ending;
            }
        };
        assert_eq!(ending, Ending::Terminated);
        assert!(length == 0 || play.steps == length, "all episodes are equally long");
        sum += f64::from(play.total);
        solved += u32::from(play.solved());
        length = play.steps;
    }
    RandomScore {
        mean_return: sum / f64::from(episodes),
        success: f64::from(solved) / f64::from(episodes),
        length,
    }
}

/// Checks a random policy against the reference: `returns` by delay, and `success` with its
/// standard error. The reference's two environments, whose apples are the same, differ by up to 4 %
/// in their returns, so these are but roughly known and 6 % are allowed; pycolab holds the apples
/// to less (`apples.rs`). Success may differ by three standard errors of the difference.
pub(crate) fn assert_random_policy_is_the_references(
    environment: impl Fn(u32) -> Box<dyn EnvironmentParameters>,
    frames_beside: u32,
    returns: [(u32, f64); 4],
    (success, success_error): (f64, f64),
) {
    for (delay, expected) in returns {
        let episodes = if delay < 200 { 5000 } else { 2000 };
        let found = random_policy(&*environment(delay), episodes, 1);
        assert_eq!(found.length, delay + frames_beside);
        let RandomScore { mean_return, .. } = found;
        let difference = mean_return / expected - 1.0;
        assert!(difference.abs() < 0.06, "{delay}: {mean_return} is not {expected}");
        let variance = success * (1.0 - success) / f64::from(episodes);
        let tolerance = 3.0 * (success_error.powi(2) + variance).sqrt();
        let difference = found.success - success;
        assert!(difference.abs() < tolerance, "{delay}: {} is not {success}", found.success);
    }
}
