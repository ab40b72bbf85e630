//! POPGym: sixteen small worlds that are seen in part, each at three levels (Morad et al. 2023,
//! <https://arxiv.org/abs/2303.01859>), by the rules of its package `popgym` 1.0.7.
//!
//! | world | task |
//! |---|---|
//! | [`Autoencode`] | name the suits of a deck, the last one first |
//! | [`RepeatFirst`], [`RepeatPrevious`] | name the first suit, or the one of some cards ago |
//! | [`CountRecall`] | say how often a card has been dealt |
//! | [`HigherLower`] | guess whether the next card is higher |
//! | [`Concentration`] | turn pairs of equal cards over |
//! | [`Battleship`], [`MineSweeper`] | search a board that is never seen |
//! | [`MultiarmedBandit`] | find the arm that pays most often |
//! | [`LabyrinthEscape`], [`LabyrinthExplore`] | leave a maze, or visit all of it |
//! | [`PositionOnlyCartPole`], [`PositionOnlyPendulum`] | control from positions alone |
//! | [`NoisyPositionOnlyCartPole`], [`NoisyPositionOnlyPendulum`] | the same, with noise |
//! | [`VelocityOnlyCartPole`] | control from velocities alone |
//!
//! Observations are the package's after its wrapper `Flatten`: a class is a one-hot vector, a list
//! of classes these vectors side by side. An action of two numbers is one number, row × columns +
//! column, as in the wrapper `DiscreteAction`. The wrappers `PreviousAction` and `Antialias` are the
//! networks' own input here: `inputs = ["observation", "previous_action"]`, where the previous action
//! is all zeros at a first frame. Where an episode is both solved and out of time, it is terminated.
//!
//! A world takes its chances from a `Chance`, so that tests play it on the draws of the package
//! (`envs/tests/replays/popgym_goldens.py`). Files stand in reading order below.

mod level;

mod deck;

mod autoencode;
mod count_recall;
mod higher_lower;
mod repeat_first;
mod repeat_previous;

mod concentration;

mod battleship;
mod mine_sweeper;
mod multiarmed_bandit;

mod labyrinth;
mod maze;

mod cartpole;
mod pendulum;

#[cfg(test)]
mod goldens;

use std::marker::PhantomData;

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use serde::Deserialize;

pub use autoencode::Autoencode;
pub use battleship::Battleship;
pub use cartpole::{NoisyPositionOnlyCartPole, PositionOnlyCartPole, VelocityOnlyCartPole};
pub use concentration::Concentration;
pub use count_recall::CountRecall;
pub use higher_lower::HigherLower;
pub use labyrinth::{LabyrinthEscape, LabyrinthExplore};
pub use level::Level;
pub use mine_sweeper::MineSweeper;
pub use multiarmed_bandit::MultiarmedBandit;
pub use pendulum::{NoisyPositionOnlyPendulum, PositionOnlyPendulum};
pub use repeat_first::RepeatFirst;
pub use repeat_previous::RepeatPrevious;

use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::ParameterError;

/// The parameters of the world `W`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct PopgymConfig<W> {
    /// Level of difficulty.
    pub level: Level,
    #[serde(skip)]
    world: PhantomData<W>,
}

/// A world of POPGym: its hidden state, and its rules.
pub(crate) trait World: Send + Sized + 'static {
    /// Name in `[env]`.
    const NAME: &'static str;

    /// The world at a level, before its first episode.
    fn at(level: Level) -> Self;

    /// Numbers in one observation.
    fn width(&self) -> usize;

    /// Space of one decision.
    fn action(&self) -> ActionSpec;

    /// The expected return of an optimal policy, where it is known.
    fn optimum(&self) -> Option<f32> {
        None
    }

    /// Draws an episode's hidden state, and shows the first observation.
    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]);

    /// Takes one decision, and shows the next observation.
    fn step(&mut self, action: Action<'_>, chance: &mut impl Chance, row: &mut [f32]) -> Outcome;

    /// Success of the episode that has just ended; `None` where the task has no such notion.
    fn success(&self) -> Option<bool> {
        None
    }

    /// Draws the whole state for people.
    fn render(&self, canvas: &mut Canvas);
}

impl<W: World> EnvironmentParameters for PopgymConfig<W>
where
    PopgymConfig<W>: std::fmt::Debug + Send + Sync,
{
    fn validate(&self) -> Result<(), ParameterError> {
        Ok(())
    }

    /// A level changes no frame's look but by its size.
    fn spec(&self) -> EnvSpec {
        let world = W::at(self.level);
        EnvSpec {
            name: W::NAME.into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![world.width()] },
            action: world.action(),
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Played {
            spec: self.spec(),
            generator: seed.generator(),
            world: W::at(self.level),
        })
    }

    fn optimum(&self) -> Option<f32> {
        W::at(self.level).optimum()
    }
}

/// A world with the generator of its chances.
struct Played<W> {
    spec: EnvSpec,
    generator: Generator,
    world: W,
}

impl<W: World> Environment for Played<W> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.world.begin(&mut self.generator, observation.floats());
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.world.step(action, &mut self.generator, observation.floats())
    }

    fn success(&self) -> Option<bool> {
        self.world.success()
    }

    fn render(&self, canvas: &mut Canvas) {
        self.world.render(canvas);
    }
}

/// Shows one class of as many as the row is long.
fn one_hot(row: &mut [f32], class: usize) {
    row.fill(0.0);
    row[class] = 1.0;
}

#[cfg(test)]
mod tests {
    use engram_mdp::ActionSpec;

    use crate::EnvConfig;

    fn read(text: &str) -> Result<EnvConfig, String> {
        EnvConfig::from_table(text.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_level_is_answered_with_the_three_there_are() {
        assert_eq!(
            read("name = 'popgym-repeat-previous'\nlevel = 'hrad'").unwrap_err(),
            "`level` of environment `popgym-repeat-previous`: unknown choice `hrad`; did you mean \
             `hard`? Known: easy, medium, hard"
        );
        assert_eq!(
            read("name = 'popgym-battleship'").unwrap_err(),
            "environment `popgym-battleship` needs the key `level`"
        );
        assert_eq!(
            read("name = 'popgym-battleship'\nlevel = 'easy'\nsize = 8").unwrap_err(),
            "environment `popgym-battleship` has no key `size`; known: level"
        );
    }

    #[test]
    fn a_level_changes_the_sizes_of_a_world_and_not_its_name() {
        let spec = |level: &str| {
            read(&format!("name = 'popgym-count-recall'\nlevel = '{level}'")).unwrap().spec()
        };
        let sizes = ["easy", "medium", "hard"].map(|level| spec(level).observation.len());
        assert_eq!(sizes, [4, 8, 26]);
        let actions = ["easy", "medium", "hard"].map(|level| spec(level).action);
        assert_eq!(actions, [27, 27, 17].map(|count| ActionSpec::Discrete { count }));
        assert_eq!(spec("hard").name, "popgym-count-recall");
    }
}
