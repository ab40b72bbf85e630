//! Tasks that must be found out: a direction, or a speed, that only the reward tells.
//!
//! An episode holds several inner episodes of one task. After each of them the robot stands at its
//! start again, while an agent with a memory still knows what paid: the benchmarks of
//! meta-reinforcement learning (Rothfuss et al. 2019, <https://arxiv.org/abs/1810.06784>; Zintgraf
//! et al. 2020, <https://arxiv.org/abs/1910.08348>), on the bodies of [`locomotion`](super).
//!
//! | observation | |
//! |---|---|
//! | all but the last | the robot's full observation |
//! | last | 1 at the first frame of an inner episode but the very first, else 0 |
//!
//! With velocity `v` of the torso in meters per second and action `a`, a decision pays
//!
//! | task | reward |
//! |---|---|
//! | direction `g` | `v · (cos g, sin g) - control_cost Σ a² + alive_bonus` |
//! | velocity `w` | `-abs(v_x - w) - control_cost Σ a²` |
//!
//! The contact cost of the original, below 0.05 a decision, is left out. An inner episode ends
//! after `max_steps` decisions, or where the robot falls.

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use rapier3d::math::Vector;
use serde::Deserialize;

use super::config::LocomotionConfig;
use super::drawing;
use super::gravity::Gravity;
use super::robot::{Robot, TIME_STEP};
use super::task::Task;
use super::walk::Locomotion;
use crate::canvas::Canvas;
use crate::environment::{Environment, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::Observe;
use crate::tasks::{Split, TaskSet};

/// The parameters of a robot that must find out where to run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectionConfig {
    /// Decisions of an inner episode; 200 in the original.
    pub max_steps: u32,
    /// Inner episodes of an episode; 2 in the original.
    pub inner_episodes: u32,
    /// Every joint starts at an angle drawn from plus or minus this, in radians.
    pub reset_noise: f32,
    /// Gravity of an episode.
    pub gravity: Gravity,
    /// The directions that there are, in radians from the x axis to the left; each episode draws
    /// one. -1 and 1 for the original's ant, 0 and π for its cheetah.
    pub directions: Vec<f32>,
    /// Cost of the summed squares of an action; 0.5 for the original's ant, 0.05 for its cheetah.
    pub control_cost: f32,
    /// Reward of every decision; 1 for the original's ant, 0 for its cheetah.
    pub alive_bonus: f32,
}

/// The parameters of a robot that must find out how fast to run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VelocityConfig {
    /// Decisions of an inner episode; 200 in the original.
    pub max_steps: u32,
    /// Inner episodes of an episode; 2 in the original.
    pub inner_episodes: u32,
    /// Every joint starts at an angle drawn from plus or minus this, in radians.
    pub reset_noise: f32,
    /// Gravity of an episode.
    pub gravity: Gravity,
    /// Least speed, in meters per second; 0 in the original.
    pub min_velocity: f32,
    /// Greatest speed, in meters per second; 3 in the original.
    pub max_velocity: f32,
    /// Number of speeds, drawn once, uniformly; 120 in the original.
    pub tasks: u32,
    /// The number of them that belong to the training split; 100 in the original.
    pub train_tasks: u32,
    /// The speeds from which episodes are drawn.
    pub split: Split,
    /// The seed from which the speeds are drawn.
    pub task_seed: u64,
    /// Cost of the summed squares of an action; 0.05 in the original.
    pub control_cost: f32,
}

/// A task of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    /// An angle in radians.
    Direction(f32),
    /// Meters per second to the right.
    Velocity(f32),
}

/// The keys that both families have.
#[derive(Clone, Debug)]
struct Tries {
    max_steps: u32,
    inner_episodes: u32,
    reset_noise: f32,
    gravity: Gravity,
    control_cost: f32,
}

/// The tasks of a family, and what they pay.
struct Quests {
    tries: Tries,
    goals: Vec<Goal>,
    alive_bonus: f32,
}

/// The environment of both families.
struct Quest {
    walk: Locomotion,
    quests: Quests,
    spec: EnvSpec,
    generator: Generator,
    goal: Goal,
    /// Inner episodes that have ended.
    ended: u32,
    /// Decisions in this inner episode.
    time: u32,
}

impl DirectionConfig {
    fn tries(&self) -> Tries {
        Tries {
            max_steps: self.max_steps,
            inner_episodes: self.inner_episodes,
            reset_noise: self.reset_noise,
            gravity: self.gravity.clone(),
            control_cost: self.control_cost,
        }
    }
}

impl VelocityConfig {
    fn tries(&self) -> Tries {
        Tries {
            max_steps: self.max_steps,
            inner_episodes: self.inner_episodes,
            reset_noise: self.reset_noise,
            gravity: self.gravity.clone(),
            control_cost: self.control_cost,
        }
    }
}

impl Task for DirectionConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.tries().validate()?;
        within("number of directions", self.directions.len(), 1..=1000)?;
        self.directions.iter().try_for_each(|angle| within("directions", *angle, -7.0..=7.0))?;
        within("alive_bonus", self.alive_bonus, 0.0..=100.0)
    }

    fn spec(&self, name: &str, robot: &Robot) -> EnvSpec {
        spec(name, robot)
    }

    fn make(&self, name: &str, robot: &'static Robot, seed: Seed) -> Box<dyn Environment> {
        let quests = Quests {
            tries: self.tries(),
            goals: self.directions.iter().map(|angle| Goal::Direction(*angle)).collect(),
            alive_bonus: self.alive_bonus,
        };
        Box::new(Quest::new(name, robot, quests, seed))
    }
}

impl Task for VelocityConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.tries().validate()?;
        within("min_velocity", self.min_velocity, -100.0..=100.0)?;
        within("max_velocity", self.max_velocity, self.min_velocity..=100.0)?;
        within("tasks", self.tasks, 2..=1_000_000)?;
        within("train_tasks", self.train_tasks, 1..=self.tasks - 1)
    }

    fn spec(&self, name: &str, robot: &Robot) -> EnvSpec {
        spec(name, robot)
    }

    fn make(&self, name: &str, robot: &'static Robot, seed: Seed) -> Box<dyn Environment> {
        let set = TaskSet {
            tasks: self.tasks,
            train_tasks: self.train_tasks,
            split: self.split,
            seed: Seed::new(self.task_seed),
        };
        let range = self.min_velocity..=self.max_velocity;
        let quests = Quests {
            tries: self.tries(),
            goals: set.draw(|generator| Goal::Velocity(generator.random_range(range.clone()))),
            alive_bonus: 0.0,
        };
        Box::new(Quest::new(name, robot, quests, seed))
    }
}

impl Tries {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        within("inner_episodes", self.inner_episodes, 1..=1000)?;
        within("reset_noise", self.reset_noise, 0.0..=0.5)?;
        within("control_cost", self.control_cost, 0.0..=100.0)?;
        self.gravity.validate()
    }
}

fn spec(name: &str, robot: &Robot) -> EnvSpec {
    EnvSpec {
        name: name.into(),
        observation: ObservationSpec {
            dtype: Dtype::F32,
            shape: vec![robot.observation_len() + 1],
        },
        action: ActionSpec::Continuous { dimensions: robot.limbs.len() },
        frame_stack: 1,
        action_repeat: 1,
    }
}

impl Quest {
    fn new(name: &str, robot: &'static Robot, quests: Quests, seed: Seed) -> Self {
        let config = LocomotionConfig {
            max_steps: u32::MAX,
            reset_noise: quests.tries.reset_noise,
            observe: Observe::Full,
            gravity: quests.tries.gravity.clone(),
        };
        Quest {
            walk: Locomotion::new(robot, &config, seed.derive("walk", 0)),
            goal: quests.goals[0],
            quests,
            spec: spec(name, robot),
            generator: seed.derive("task", 0).generator(),
            ended: 0,
            time: 0,
        }
    }

    fn reward(&self, moved: Vector, action: &[f32]) -> f32 {
        let velocity = moved / TIME_STEP;
        let cost = self.quests.tries.control_cost * action.iter().map(|a| a * a).sum::<f32>();
        let task = match self.goal {
            Goal::Direction(angle) => velocity.x * angle.cos() + velocity.y * angle.sin(),
            Goal::Velocity(wanted) => -(velocity.x - wanted).abs(),
        };
        task - cost + self.quests.alive_bonus
    }
}

impl Environment for Quest {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let goals = &self.quests.goals;
        self.goal = goals[self.generator.random_range(0..goals.len())];
        (self.ended, self.time) = (0, 0);
        let (flag, walk) = observation.floats().split_last_mut().expect("a flag");
        *flag = 0.0;
        self.walk.reset(ObservationMut::F32(walk));
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let (flag, walk) = observation.floats().split_last_mut().expect("a flag");
        *flag = 0.0;
        let before = self.walk.torso();
        let outcome = self.walk.step(action, ObservationMut::F32(walk));
        if outcome.broken {
            return outcome;
        }
        let reward = self.reward(self.walk.torso() - before, action.vector());
        self.time += 1;
        let fell = outcome.ending.is_some();
        if !fell && self.time < self.quests.tries.max_steps {
            return Outcome::goes_on(reward);
        }
        self.ended += 1;
        if self.ended == self.quests.tries.inner_episodes {
            return if fell { Outcome::terminated(reward) } else { Outcome::truncated(reward) };
        }
        self.time = 0;
        *flag = 1.0;
        self.walk.restart(ObservationMut::F32(walk));
        Outcome::goes_on(reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        let (caption, arrow) = match self.goal {
            Goal::Direction(angle) => {
                (format!("run towards {angle:.2} rad"), [angle.cos(), angle.sin()])
            }
            Goal::Velocity(speed) => (format!("run at {speed:.2} m/s"), [speed / 2.0, 0.0]),
        };
        let (robot, body) = self.walk.parts();
        drawing::draw(canvas, robot, body, Some(arrow));
        canvas.set_caption(caption);
        let Tries { max_steps, inner_episodes, .. } = self.quests.tries;
        let parts = vec![max_steps; inner_episodes as usize];
        canvas.timeline(&parts, self.ended * max_steps + self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::super::robots::HALF_CHEETAH;
    use super::*;

    #[test]
    fn rewards_are_those_of_the_tables() {
        let tries = Tries {
            max_steps: 2,
            inner_episodes: 2,
            reset_noise: 0.0,
            gravity: Gravity::Fixed { strength: 9.8 },
            control_cost: 0.5,
        };
        let quest = |goal, alive_bonus| {
            let quests = Quests { tries: tries.clone(), goals: vec![goal], alive_bonus };
            Quest::new("test", &HALF_CHEETAH, quests, Seed::new(0))
        };
        // 3 m/s to the right, 1 m/s to the left side; Σ a² = 0.5.
        let moved = Vector::new(3.0, 1.0, 7.0) * TIME_STEP;
        let action = [0.5, -0.5];
        let half_pi = std::f32::consts::FRAC_PI_2;
        for (goal, bonus, expected) in [
            (Goal::Direction(0.0), 1.0, 3.0 - 0.25 + 1.0),
            (Goal::Direction(half_pi), 0.0, 1.0 - 0.25),
            (Goal::Velocity(2.0), 0.0, -1.0 - 0.25),
            (Goal::Velocity(5.0), 0.0, -2.0 - 0.25),
        ] {
            let reward = quest(goal, bonus).reward(moved, &action);
            assert!((reward - expected).abs() < 1e-5, "{goal:?}: {reward} is not {expected}");
        }
    }
}
