//! The keys of a game.

use serde::Deserialize;

use super::game::Game;

/// Actions of a joystick with a button.
pub(super) const FULL_ACTIONS: usize = 18;

/// The parameters of a game.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtariConfig {
    /// The game, as `ms-pacman`.
    pub game: Game,
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// Pictures that an agent sees side by side, the oldest first; at the start, all are the first
    /// one. Actors send the newest alone.
    pub frame_stack: u32,
    /// Frames of the emulator per decision, with one action. Rewards are added.
    pub frame_skip: u32,
    /// Way in which the last two frames of a decision become one.
    pub pooling: Pooling,
    /// Most frames without an action at the start of a game. Their number is drawn from 1 on; with
    /// 0 there are none.
    pub max_noops: u32,
    /// Probability that a frame repeats the action of the frame before.
    pub sticky_actions: f64,
    /// Actions there are.
    pub actions: ActionSet,
    /// True if the loss of a life ends an episode. The game goes on in the next one.
    pub episodic_life: bool,
    /// True if an episode starts with fire and one more action, where the game has a fire button.
    pub fire_reset: bool,
    /// Frames of the emulator after which a game is cut off.
    pub max_frames: u32,
}

/// Way in which two frames become one: objects that are drawn in every other frame are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The larger red, green and blue, then gray: the wrappers of OpenAI's Baselines, and R2AC's.
    Color,
    /// The lighter gray: Gymnasium's `AtariPreprocessing`, and EnvPool.
    Gray,
}

/// Actions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionSet {
    /// Those that the game uses.
    Minimal,
    /// All 18 of a joystick with a button.
    Full,
}
