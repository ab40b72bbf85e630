//! The episode around a task: decisions of four frames each, one picture per decision, a time limit.

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};

use super::camera::Camera;
use super::drawing;
use super::scene::{Mark, Scene};
use super::walker::{ACTION_REPEAT, ACTIONS, Wish};
use crate::canvas::Canvas;
use crate::environment::{Environment, Outcome};
use crate::error::{ParameterError, within};

/// Parameters of every game.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GameSettings {
    /// Columns of the picture.
    pub(crate) width: usize,
    /// Rows of the picture.
    pub(crate) height: usize,
    /// Decisions after which an episode is truncated.
    pub(crate) max_steps: u32,
}

/// The part that differs between games: a world, and its rules.
pub(crate) trait Task: Send {
    /// Draws what is new in an episode, and makes the scene with which it begins.
    fn begin(&mut self, generator: &mut Generator) -> Scene;

    /// Applies the rules after a frame in which the player has moved.
    fn pass(&mut self, scene: &mut Scene, generator: &mut Generator) -> Event;

    /// Success of the episode so far.
    fn success(&self) -> bool;

    /// Caption for people: what is to be done now.
    fn caption(&self) -> String;

    /// Marks of what the agent does not see, for people.
    fn marks(&self) -> Vec<Mark> {
        Vec::new()
    }
}

/// Result of a frame by the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) reward: f32,
    /// True if the task is done, and the episode with it.
    pub(crate) ends: bool,
}

impl Event {
    /// The episode goes on.
    pub(crate) fn paid(reward: f32) -> Event {
        Event { reward, ends: false }
    }
}

impl GameSettings {
    /// Checks every parameter.
    pub(crate) fn validate(&self) -> Result<(), ParameterError> {
        within("width", self.width, 16..=640)?;
        within("height", self.height, 12..=480)?;
        within("max_steps", self.max_steps, 1..=1_000_000)
    }

    /// Spec of a game: an image `[3, height, width]`, DMLab's nine actions, four frames each.
    pub(crate) fn spec(&self, name: String) -> EnvSpec {
        let shape = vec![3, self.height, self.width];
        EnvSpec {
            name,
            observation: ObservationSpec { dtype: Dtype::U8, shape },
            action: ActionSpec::Discrete { count: ACTIONS },
            frame_stack: 1,
            action_repeat: ACTION_REPEAT,
        }
    }
}

/// A game.
pub(crate) struct Game<T> {
    spec: EnvSpec,
    settings: GameSettings,
    generator: Generator,
    camera: Camera,
    pub(crate) task: T,
    pub(crate) scene: Scene,
    decisions: u32,
}

impl<T: Task> Game<T> {
    pub(crate) fn new(spec: EnvSpec, settings: GameSettings, task: T, seed: Seed) -> Game<T> {
        let (mut task, mut generator) = (task, seed.generator());
        let scene = task.begin(&mut generator);
        let camera = Camera::new(settings.width, settings.height);
        Game { spec, settings, generator, camera, task, scene, decisions: 0 }
    }

    /// Shows the present scene.
    pub(crate) fn show(&mut self, observation: ObservationMut<'_>) {
        self.camera.look(&self.scene);
        self.camera.write(observation.bytes());
    }
}

impl<T: Task> Environment for Game<T> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.scene = self.task.begin(&mut self.generator);
        self.decisions = 0;
        self.show(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let wish = Wish::of(action.index());
        let mut total = Event::default();
        for _ in 0..ACTION_REPEAT {
            self.scene.player.walk(wish, &self.scene.plan);
            let event = self.task.pass(&mut self.scene, &mut self.generator);
            total = Event { reward: total.reward + event.reward, ends: event.ends };
            if total.ends {
                break;
            }
        }
        self.decisions += 1;
        self.show(observation);
        if total.ends {
            return Outcome::terminated(total.reward);
        }
        Outcome::until(self.settings.max_steps, self.decisions, total.reward)
    }

    fn success(&self) -> Option<bool> {
        Some(self.task.success())
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(self.task.caption());
        let aspect = self.settings.height as f32 / self.settings.width as f32;
        drawing::draw(&self.scene, &self.task.marks(), aspect, canvas);
        canvas.timeline(&[self.settings.max_steps], self.decisions);
    }
}
