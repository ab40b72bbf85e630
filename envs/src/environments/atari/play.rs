//! The environment: a game, its no-ops, skipped frames and lives.
//!
//! What a decision does is that of the wrappers of OpenAI's Baselines
//! (<https://github.com/openai/baselines>, `atari_wrappers.py`), which R2AC has too: no-ops, then
//! skipped frames, then lives, then fire.

use engram_mdp::{Action, EnvSpec, ObservationMut};

use super::emulator::Emulator;
use super::picture::{Picture, Place};
use super::rom;
use super::settings::{ActionSet, AtariConfig, FULL_ACTIONS};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::{Environment, Outcome};

/// The emulator's number of doing nothing.
const NOOP: i32 = 0;
/// The emulator's number of the button.
const FIRE: i32 = 1;

/// A game as an environment, on draws of `C`.
pub(super) struct Atari<C> {
    config: AtariConfig,
    spec: EnvSpec,
    chance: C,
    emulator: Emulator,
    picture: Picture,
    /// The emulator's numbers of the agent's actions.
    actions: Vec<i32>,
    /// The action of the last frame.
    last_action: i32,
    lives: i32,
    /// Frames since the game started.
    frames: u32,
    /// Points since the game started.
    points: i64,
    /// True if the next episode starts a new game.
    new_game: bool,
}

impl<C: Chance> Atari<C> {
    /// A machine with the game of a valid configuration, whose ROM image is there.
    pub(super) fn new(config: &AtariConfig, spec: EnvSpec, chance: C) -> Atari<C> {
        let image = rom::find(config.game).expect("`ready` was asked first");
        let emulator = Emulator::new(config.game, &image);
        let picture = Picture::new(&emulator, [config.height, config.width], config.pooling);
        let actions = match config.actions {
            ActionSet::Minimal => emulator.minimal_actions(),
            ActionSet::Full => (0..FULL_ACTIONS as i32).collect(),
        };
        Atari {
            config: config.clone(),
            spec,
            chance,
            emulator,
            picture,
            actions,
            last_action: NOOP,
            lives: 0,
            frames: 0,
            points: 0,
            new_game: true,
        }
    }

    /// One frame of the emulator.
    fn frame(&mut self, action: i32) -> i32 {
        let sticks = self.config.sticky_actions;
        if sticks == 0.0 || self.chance.unit() >= sticks {
            self.last_action = action;
        }
        let points = self.emulator.act(self.last_action);
        self.frames += 1;
        self.points += i64::from(points);
        points
    }

    /// A new game, after a number of no-ops.
    fn start_game(&mut self) {
        self.restart();
        if self.config.max_noops > 0 {
            let noops = 1 + self.chance.below(self.config.max_noops as usize);
            for _ in 0..noops {
                self.frame(NOOP);
                if self.emulator.is_over() {
                    self.restart();
                }
            }
        }
        self.picture.take(&self.emulator, Place::First);
        self.picture.take(&self.emulator, Place::Second);
    }

    fn restart(&mut self) {
        self.emulator.reset();
        (self.last_action, self.frames, self.points) = (NOOP, 0, 0);
    }

    /// Skipped frames with one action; returns their points. The last two are taken; a game that is
    /// over before keeps those of the decision before.
    fn skip(&mut self, action: i32) -> i32 {
        let skip = self.config.frame_skip;
        let mut points = 0;
        for frame in 0..skip {
            points += self.frame(action);
            if frame + 2 == skip {
                self.picture.take(&self.emulator, Place::First);
            }
            if frame + 1 == skip {
                self.picture.take(&self.emulator, Place::Second);
            }
            if skip == 1 {
                self.picture.take(&self.emulator, Place::First);
            }
            if self.emulator.is_over() {
                break;
            }
        }
        points
    }

    /// One decision.
    fn decide(&mut self, action: i32) -> Outcome {
        let reward = self.skip(action) as f32;
        let before = std::mem::replace(&mut self.lives, self.emulator.lives());
        let is_over = self.emulator.is_over();
        let is_late = self.frames >= self.config.max_frames;
        self.new_game = is_over || is_late;
        let lost_a_life = self.config.episodic_life && 0 < self.lives && self.lives < before;
        match () {
            () if is_over || lost_a_life => Outcome::terminated(reward),
            () if is_late => Outcome::truncated(reward),
            () => Outcome::goes_on(reward),
        }
    }

    /// A new game, or the next life of this one.
    fn start(&mut self) {
        if self.new_game || !self.config.episodic_life {
            self.start_game();
            self.new_game = false;
        } else {
            self.skip(NOOP);
        }
        self.lives = self.emulator.lives();
    }
}

impl<C: Chance + Send> Environment for Atari<C> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.start();
        if self.config.fire_reset && self.actions.get(1) == Some(&FIRE) {
            for action in [self.actions[1], self.actions[2]] {
                if self.decide(action).ending.is_some() {
                    self.start();
                }
            }
        }
        self.picture.draw(observation.bytes());
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let outcome = self.decide(self.actions[action.index()]);
        self.picture.draw(observation.bytes());
        outcome
    }

    fn render(&self, canvas: &mut Canvas) {
        let (width, height) = (self.emulator.width(), self.emulator.height());
        let mut screen = vec![0; 3 * width * height];
        self.emulator.rgb(&mut screen);
        // A pixel of the machine is twice as wide as it is high.
        let wide: Vec<u8> =
            screen.as_chunks::<3>().0.iter().flat_map(|c| [*c, *c].concat()).collect();
        canvas.picture(2 * width, height, &wide);
        let (name, points) = (self.config.game.name(), self.points);
        canvas.set_caption(match self.emulator.lives() {
            0 => format!("{name}, {points} points"),
            1 => format!("{name}, {points} points, 1 life"),
            lives => format!("{name}, {points} points, {lives} lives"),
        });
    }
}
