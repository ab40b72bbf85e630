//! Wind: a point on a plane walks to a goal in a wind that it does not see (RESeL, Luo et al. 2024,
//! <https://arxiv.org/abs/2405.15384>; after Dorfman et al. 2021). The wind never changes within a
//! task, so that one step tells it to whoever remembers the step.
//!
//! The observation is the position, which starts at (0, 0). A step adds the action, up to 0.1 along
//! each axis, and the wind, up to 0.08. The reward is 1 within 0.03 of the goal (0, 1). Nothing ends
//! an episode but time: `max_steps` (75 in the original).
//!
//! All `tasks` are drawn once, from `task_seed`; every episode draws one of the first `train_tasks` of
//! them, or one of the others (`test`).

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, INK, SIGHT};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::tasks::{Split, TaskSet};

const GOAL_POINT: [f64; 2] = [0.0, 1.0];
const GOAL_RADIUS: f64 = 0.03;
const STEP: f64 = 0.1;
const MAX_WIND: f64 = 0.08;
/// Steps of wind that an arrow is long.
const ARROW: f64 = 6.0;

/// The parameters of Wind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Number of tasks; 60 in the original.
    pub tasks: u32,
    /// Number of those to train on; 40 in the original.
    pub train_tasks: u32,
    /// The seed of all tasks.
    pub task_seed: u64,
    /// The tasks that episodes draw from.
    pub split: Split,
}

impl WindConfig {
    /// Winds of the tasks that episodes draw from.
    fn winds(&self) -> Vec<[f64; 2]> {
        let &WindConfig { tasks, train_tasks, split, task_seed, .. } = self;
        let set = TaskSet { tasks, train_tasks, split, seed: Seed::new(task_seed) };
        set.draw(|generator| [0, 1].map(|_| generator.random_range(-MAX_WIND..MAX_WIND)))
    }
}

impl EnvironmentParameters for WindConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        within("tasks", self.tasks, 2..=1_000_000)?;
        within("train_tasks", self.train_tasks, 1..=self.tasks - 1)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "wind".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![2] },
            action: ActionSpec::Continuous { dimensions: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Wind::new(self, seed))
    }

    /// The first step is northwards whatever the wind, and tells it; then the way is straight.
    fn optimum(&self) -> Option<f32> {
        let winds = self.winds();
        let steps_on_goal = |[_, wind]: &[f64; 2]| {
            let arrival = ((GOAL_POINT[1] - GOAL_RADIUS) / (STEP + wind)).ceil();
            (f64::from(self.max_steps) + 1.0 - arrival).max(0.0)
        };
        Some((winds.iter().map(steps_on_goal).sum::<f64>() / winds.len() as f64) as f32)
    }
}

struct Wind {
    spec: EnvSpec,
    max_steps: u32,
    winds: Vec<[f64; 2]>,
    generator: Generator,
    wind: [f64; 2],
    position: [f64; 2],
    time: u32,
}

impl Wind {
    fn new(config: &WindConfig, seed: Seed) -> Self {
        Wind {
            spec: config.spec(),
            max_steps: config.max_steps,
            winds: config.winds(),
            generator: seed.generator(),
            wind: [0.0; 2],
            position: [0.0; 2],
            time: 0,
        }
    }

    fn arrived(&self) -> bool {
        let [x, y] = [0, 1].map(|axis| self.position[axis] - GOAL_POINT[axis]);
        x.hypot(y) <= GOAL_RADIUS
    }
}

impl Environment for Wind {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.wind = self.winds[self.generator.random_range(0..self.winds.len())];
        self.position = [0.0; 2];
        self.time = 0;
        observation.floats().fill(0.0);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let action = action.vector();
        for (axis, position) in self.position.iter_mut().enumerate() {
            *position += STEP * f64::from(action[axis].clamp(-1.0, 1.0)) + self.wind[axis];
        }
        self.time += 1;
        observation.floats().copy_from_slice(&self.position.map(|x| x as f32));
        let reward = f32::from(u8::from(self.arrived()));
        Outcome::until(self.max_steps, self.time, reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("reach the goal and hold it in a wind that nobody sees");
        let area = canvas.area();
        // Two units high, from half a unit below the start to half a unit above the goal.
        let scale = area.height / 2.0;
        let place = |[x, y]: [f64; 2]| {
            [area.width / 2.0 + x as f32 * scale, area.height * 0.75 - y as f32 * scale]
        };
        for row in -1..=3 {
            for column in -3..=3 {
                let from = [f64::from(column) * 0.5, f64::from(row) * 0.5];
                let to = [0, 1].map(|axis| from[axis] + ARROW * self.wind[axis]);
                canvas.arrow(place(from), place(to), FAINT);
            }
        }
        canvas.disc(place(GOAL_POINT), GOAL_RADIUS as f32 * scale + 3.0, GOAL);
        canvas.disc(place([0.0; 2]), 3.0, INK);
        canvas.disc(place(self.position), 7.0, ACTOR);
        let blown = [0, 1].map(|axis| self.position[axis] + ARROW * self.wind[axis]);
        canvas.arrow(place(self.position), place(blown), SIGHT);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(split: Split) -> WindConfig {
        WindConfig { max_steps: 75, tasks: 60, train_tasks: 40, task_seed: 1, split }
    }

    /// The return in one of the winds; the policy is shown the position.
    fn play(wind: [f64; 2], mut policy: impl FnMut(&[f32; 2]) -> [f32; 2]) -> f32 {
        let mut environment = Wind::new(&config(Split::Train), Seed::new(0));
        let mut row = [0.0; 2];
        environment.reset(ObservationMut::F32(&mut row));
        environment.wind = wind;
        let mut sum = 0.0;
        for _ in 0..75 {
            let action = policy(&row);
            let action = Action::Continuous(&action);
            sum += environment.step(action, ObservationMut::F32(&mut row)).reward;
        }
        sum
    }

    /// Goes north, learns the wind from that step, and then goes straight to the goal.
    fn remembering() -> impl FnMut(&[f32; 2]) -> [f32; 2] {
        let mut last: Option<([f32; 2], [f32; 2])> = None;
        move |position| {
            let action = match last {
                None => [0.0, 1.0],
                Some((before, action)) => [0, 1].map(|axis| {
                    let wind = position[axis] - before[axis] - 0.1 * action[axis];
                    let goal = [0.0, 1.0][axis];
                    ((goal - position[axis] - wind) / 0.1).clamp(-1.0, 1.0)
                }),
            };
            last = Some((*position, action));
            action
        }
    }

    #[test]
    fn who_remembers_one_step_reaches_the_optimum_of_every_split() {
        for split in [Split::Train, Split::Test] {
            let winds = config(split).winds();
            let sum: f32 = winds.iter().map(|&wind| play(wind, remembering())).sum();
            let optimum = config(split).optimum().unwrap();
            assert!((sum / winds.len() as f32 - optimum).abs() < 0.25, "{sum} {optimum}");
        }
    }

    #[test]
    fn without_memory_the_goal_is_missed_in_most_winds() {
        let winds = config(Split::Train).winds();
        let forgetful = |position: &[f32; 2]| [-position[0] / 0.1, (1.0 - position[1]) / 0.1];
        let sum: f32 = winds.iter().map(|&wind| play(wind, forgetful)).sum();
        assert!(sum / 40.0 < 20.0, "{}", sum / 40.0);
    }

    #[test]
    fn sixty_tasks_are_split_into_forty_and_twenty_that_never_meet() {
        let [train, test] = [Split::Train, Split::Test].map(|split| config(split).winds());
        assert_eq!((train.len(), test.len()), (40, 20));
        assert!(test.iter().all(|wind| !train.contains(wind)));
        assert!(train.iter().chain(&test).flatten().all(|wind| wind.abs() <= 0.08));
    }

    #[test]
    fn every_environment_plays_all_tasks_of_its_split_whatever_its_seed() {
        let winds = config(Split::Test).winds();
        let mut environment = Wind::new(&config(Split::Test), Seed::new(77));
        let mut met = [false; 20];
        for _ in 0..500 {
            environment.reset(ObservationMut::F32(&mut [0.0; 2]));
            met[winds.iter().position(|&wind| wind == environment.wind).unwrap()] = true;
        }
        assert!(met.iter().all(|&met| met));
    }
}
