//! Games of the Atari 2600, by the Arcade Learning Environment (Bellemare et al. 2013,
//! <https://arxiv.org/abs/1207.4708>), which runs in this process: `name = "atari"` in `[env]`.
//!
//! | file | is |
//! |---|---|
//! | `game` | the games: their names, actions and ROM images |
//! | `settings` | the keys |
//! | `rom` | where a ROM image comes from |
//! | `emulator` | the emulator, behind its C interface |
//! | `picture` | two screens become one small gray picture |
//! | `play` | the environment: no-ops, skipped frames, lives |
//!
//! All but the first two are there only with the feature `atari`, because it needs CMake to build, and
//! because the emulator's license is the GPL. Without it a configuration can be read, but its
//! environment cannot be made.
//!
//! The crate `ale-sys` has the emulator's version 0.6. Tests show that pictures, rewards and ends
//! of Pong and Breakout are those of ale-py 0.12; `docs/guide/atari.md` tells of other games. The
//! library in the wheel of ale-py cannot be linked instead: it is a Python module, which hides the
//! emulator's own symbols.

mod game;

mod settings;

#[cfg(feature = "atari")]
mod rom;

#[cfg(feature = "atari")]
mod emulator;

#[cfg(feature = "atari")]
mod picture;

#[cfg(feature = "atari")]
mod play;

#[cfg(test)]
#[cfg(feature = "atari")]
mod goldens;

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::{ParameterError, within};
pub use game::Game;
use settings::FULL_ACTIONS;
pub use settings::{ActionSet, AtariConfig, Pooling};

/// Sides of the smallest screen. A picture is never larger.
const SCREEN: [usize; 2] = [210, 160];

impl EnvironmentParameters for AtariConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("height", self.height, 8..=SCREEN[0])?;
        within("width", self.width, 8..=SCREEN[1])?;
        within("frame_stack", self.frame_stack, 1..=16)?;
        within("frame_skip", self.frame_skip, 1..=60)?;
        within("max_noops", self.max_noops, 0..=1000)?;
        within("sticky_actions", self.sticky_actions, 0.0..=1.0)?;
        within("max_frames", self.max_frames, 1..=100_000_000)
    }

    fn spec(&self) -> EnvSpec {
        let count = match self.actions {
            ActionSet::Minimal => self.game.actions(),
            ActionSet::Full => FULL_ACTIONS,
        };
        let pooling = match self.pooling {
            Pooling::Color => "color",
            Pooling::Gray => "gray",
        };
        let (game, skip) = (self.game.name(), self.frame_skip);
        EnvSpec {
            name: format!("atari(game={game}, frame_skip={skip}, pooling={pooling})"),
            observation: ObservationSpec {
                dtype: Dtype::U8,
                shape: vec![1, self.height, self.width],
            },
            frame_stack: self.frame_stack,
            action: ActionSpec::Discrete { count },
            action_repeat: self.frame_skip,
        }
    }

    #[cfg(feature = "atari")]
    fn ready(&self) -> Result<(), String> {
        rom::find(self.game).map(|_| ())
    }

    #[cfg(not(feature = "atari"))]
    fn ready(&self) -> Result<(), String> {
        Err("this program was built without it; build with `--features atari`".into())
    }

    #[cfg(feature = "atari")]
    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(play::Atari::new(self, self.spec(), seed.generator()))
    }

    #[cfg(not(feature = "atari"))]
    fn make(&self, _seed: Seed) -> Box<dyn Environment> {
        unreachable!("`ready` was asked first")
    }
}

#[cfg(test)]
mod tests {
    use crate::EnvConfig;

    const PONG: &str = include_str!("../../../configs/env/atari/pong.toml");

    fn message(from: &str, to: &str) -> String {
        let text = PONG.replace(from, to);
        assert_ne!(text, PONG);
        EnvConfig::from_table(text.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_game_is_answered_with_the_nearest_known() {
        let message = message("\"pong\"", "\"Pong\"");
        let begin = "`game` of environment `atari`: unknown choice `Pong`; did you mean `pong`? \
                     Known: adventure, air-raid,";
        assert!(message.starts_with(begin), "{message}");
    }

    #[test]
    fn a_picture_is_never_larger_than_the_screen() {
        let message = message("width = 84", "width = 320");
        assert_eq!(message, "`width` of environment `atari` is 320; it must be 8 to 160");
    }

    #[test]
    fn a_spec_is_known_without_the_emulator() {
        let spec = EnvConfig::from_table(PONG.parse().unwrap()).unwrap().spec();
        assert_eq!((spec.observation.shape.as_slice(), spec.frame_stack), (&[1, 84, 84][..], 4));
        assert_eq!((spec.action.width(), spec.action_repeat), (6, 4));
    }

    #[cfg(not(feature = "atari"))]
    #[test]
    fn a_program_without_the_emulator_says_so() {
        let config = EnvConfig::from_table(PONG.parse().unwrap()).unwrap();
        assert_eq!(
            config.try_spec().unwrap_err().to_string(),
            "environment `atari`: this program was built without it; build with `--features atari`"
        );
    }
}
