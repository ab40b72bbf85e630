//! Shared base of Passive Visual Match and Key-to-Door: a board, a player who sees 5 × 5 cells of
//! it, and an episode of three phases with apples in the middle.
//!
//! After the environments of Hung et al. 2019 (<https://doi.org/10.1038/s41467-019-13073-w>), with
//! the numbers of Ni et al. 2023 (<https://arxiv.org/abs/2307.03864>).
//!
//! ```text
//! phase      Explore ──────────▶ Apples ──────────▶ Reward ──────────▶ Last, terminated
//! lasts      explore_frames      delay              reward_frames      decisions each
//! board      own board           10 of 22 apples    own board
//! ```
//!
//! A phase's last decision is carried out and paid, but its board is not shown: the observation is
//! the first board of the next phase. Only the last phase shows its last board.
//!
//! Actions 0 to 3 move north, south, west and east, by one cell; what blocks the way, or the edge
//! of the board, makes it a step on the spot. Within a decision the player moves first, then what
//! it steps on happens, then the clock ticks. An apple that was taken at frame f grows again at the
//! end of frame f + 21; who stands there then gets it one frame later.
//!
//! In reading order: `gridworld/board.rs` holds tiles, colors and the view; `gridworld/apples.rs`
//! the phase between; here is the episode; `gridworld/drawing.rs` draws it. An environment is a
//! `Story`: its two boards and their rules.

mod apples;
mod board;
mod drawing;
#[cfg(test)]
pub(crate) mod testing;

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};

pub(crate) use board::{Board, Cell, Map, Tile, VIEW, cells};

use crate::canvas::Canvas;
use crate::environment::{Environment, Outcome};
use crate::error::{ParameterError, within};
use apples::Apples;

/// Parameters of the three phases.
#[derive(Clone, Debug)]
pub(crate) struct ThreePhaseSettings {
    /// Decisions of the first phase.
    pub(crate) explore_frames: u32,
    /// Decisions of the second phase.
    pub(crate) delay: u32,
    /// Decisions of the last phase.
    pub(crate) reward_frames: u32,
    /// The reward of an apple.
    pub(crate) apple_reward: f32,
    /// The reward of the last phase's task.
    pub(crate) final_reward: f32,
}

/// A phase of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EpisodePhase {
    Explore,
    Apples,
    Reward,
}

/// The part that differs between these environments: the first and the last board, and their rules.
pub(crate) trait Story: Send {
    /// Draws what is new in an episode, and lays out its first board.
    fn explore(&mut self, generator: &mut Generator) -> Board;

    /// The player has moved in the first phase.
    fn explored(&mut self, board: &mut Board);

    /// Lays out the last board.
    fn reward(&mut self) -> Board;

    /// The player has moved in the last phase. Returns whether this has just solved the task.
    fn solves(&mut self, board: &mut Board) -> bool;

    /// True if the player cannot walk onto a tile that is neither wall nor floor.
    fn blocks(&self, tile: Tile, phase: EpisodePhase) -> bool;

    /// Caption for people: the task of this phase.
    fn caption(&self, phase: EpisodePhase) -> String;

    /// Tile that the player must remember or carries.
    fn carried(&self) -> Option<Tile>;
}

impl ThreePhaseSettings {
    /// Checks every parameter.
    pub(crate) fn validate(&self) -> Result<(), ParameterError> {
        within("explore_frames", self.explore_frames, 1..=1_000_000)?;
        within("delay", self.delay, 1..=1_000_000)?;
        within("reward_frames", self.reward_frames, 1..=1_000_000)?;
        within("apple_reward", self.apple_reward, 0.0..=1000.0)?;
        within("final_reward", self.final_reward, 0.0..=1000.0)
    }

    fn frames(&self, phase: EpisodePhase) -> u32 {
        match phase {
            EpisodePhase::Explore => self.explore_frames,
            EpisodePhase::Apples => self.delay,
            EpisodePhase::Reward => self.reward_frames,
        }
    }
}

/// Spec of an environment of three phases: an image `[3, 5, 5]`, four moves.
pub(crate) fn spec(name: &str) -> EnvSpec {
    EnvSpec {
        name: name.into(),
        observation: ObservationSpec { dtype: Dtype::U8, shape: vec![3, VIEW, VIEW] },
        action: ActionSpec::Discrete { count: 4 },
        frame_stack: 1,
        action_repeat: 1,
    }
}

/// An environment of three phases.
pub(crate) struct ThreePhases<S> {
    spec: EnvSpec,
    settings: ThreePhaseSettings,
    generator: Generator,
    story: S,
    apples: Apples,
    board: Board,
    phase: EpisodePhase,
    /// Decisions taken in this phase.
    frame: u32,
    solved: bool,
}

impl<S: Story> ThreePhases<S> {
    pub(crate) fn new(spec: EnvSpec, settings: ThreePhaseSettings, story: S, seed: Seed) -> Self {
        ThreePhases {
            spec,
            settings,
            generator: seed.generator(),
            story,
            apples: Apples::new(),
            board: Board::EMPTY,
            phase: EpisodePhase::Explore,
            frame: 0,
            solved: false,
        }
    }

    /// Moves the player, unless something is in the way.
    fn walk(&mut self, action: usize) {
        if let Some(to) = self.board.player.neighbor(action) {
            let blocked = match self.board.tile(to) {
                Tile::Floor | Tile::Apple => false,
                Tile::Wall => true,
                tile => self.story.blocks(tile, self.phase),
            };
            if !blocked {
                self.board.player = to;
            }
        }
    }

    /// Applies the rules of the player's cell. Returns the reward.
    fn happen(&mut self) -> f32 {
        match self.phase {
            EpisodePhase::Explore => {
                self.story.explored(&mut self.board);
                0.0
            }
            EpisodePhase::Apples if self.apples.update(&mut self.board, self.frame) => {
                self.settings.apple_reward
            }
            EpisodePhase::Reward if self.story.solves(&mut self.board) => {
                self.solved = true;
                self.settings.final_reward
            }
            EpisodePhase::Apples | EpisodePhase::Reward => 0.0,
        }
    }

    fn enter(&mut self, phase: EpisodePhase) {
        self.board = match phase {
            EpisodePhase::Explore => self.story.explore(&mut self.generator),
            EpisodePhase::Apples => self.apples.grow(&mut self.generator),
            EpisodePhase::Reward => self.story.reward(),
        };
        self.phase = phase;
        self.frame = 0;
    }
}

impl<S: Story> Environment for ThreePhases<S> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.solved = false;
        self.enter(EpisodePhase::Explore);
        self.board.view(observation.bytes());
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.walk(action.index());
        self.frame += 1;
        let reward = self.happen();
        let mut outcome = Outcome::goes_on(reward);
        if self.frame == self.settings.frames(self.phase) {
            match self.phase {
                EpisodePhase::Explore => self.enter(EpisodePhase::Apples),
                EpisodePhase::Apples => self.enter(EpisodePhase::Reward),
                EpisodePhase::Reward => outcome = Outcome::terminated(reward),
            }
        }
        self.board.view(observation.bytes());
        outcome
    }

    fn success(&self) -> Option<bool> {
        Some(self.solved)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(self.story.caption(self.phase));
        drawing::draw(&self.board, canvas);
        let phases = [EpisodePhase::Explore, EpisodePhase::Apples, EpisodePhase::Reward];
        let before = phases.iter().take_while(|&&phase| phase != self.phase);
        let time = before.map(|&phase| self.settings.frames(phase)).sum::<u32>() + self.frame;
        canvas.timeline(&phases.map(|phase| self.settings.frames(phase)), time);
        if let Some(tile) = self.story.carried() {
            drawing::draw_carried(tile, canvas);
        }
    }
}
