//! A group of environments in columns, with automatic reset.
//!
//! ```text
//! step       frames of one row       its action
//! (new)      First                   a0
//! 1          Mid     after a0        a1
//! 2          Last    after a1        ignored
//! 3          First   of the next     a3
//! ```
//!
//! Nothing is thrown away at a reset: the Last frame is shown like any other, and the First one of
//! the next episode takes a step of its own. The step loop does not allocate.
//!
//! Environments are rows in this process, or rows of [`gym`](crate::gym) servers. From outside both
//! look the same.

use std::ops::{Range, RangeInclusive};

use engram_mdp::{
    Action, ActionSpec, Actions, Ending, EnvSpec, Episode, Finish, Frames, Generator, Seed,
    StepType,
};
use rand::RngExt;

use crate::canvas::Canvas;
use crate::config::{EnvConfig, EnvKind};
use crate::environment::{Environment, Outcome};
use crate::error::EnvError;
use crate::gym::{Order, RowEnd, ServedGroup};

/// A group of environments that are stepped together.
pub struct VectorEnv {
    spec: EnvSpec,
    observation_len: usize,
    rows: Rows,
    /// Current frames, one row per environment.
    frames: Frames,
    /// The episodes in progress, one per row.
    progress: Vec<EpisodeInProgress>,
    /// The episodes that ended in the last call.
    episodes: Vec<Episode>,
    stagger: Option<Stagger>,
    mishaps: Mishaps,
}

/// Rule by which environments that begin together get out of step.
struct Stagger {
    /// Least and most steps of their next episode, at most.
    steps: RangeInclusive<u32>,
    /// One per row.
    generators: Vec<Generator>,
}

/// The environments of a group.
enum Rows {
    /// In this process.
    Rust(Vec<Box<dyn Environment>>),
    /// In others; and the orders of a step.
    Served(Box<ServedGroup>, Vec<Order>),
}

/// Number of times that something was mended, since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mishaps {
    /// Decisions with a continuous action beyond its range.
    pub clipped_actions: u64,
    /// Episodes cut off because an action was not a number, or because an environment failed.
    pub broken_episodes: u64,
}

/// An episode in progress.
#[derive(Clone, Copy, Debug)]
struct EpisodeInProgress {
    env_index: u32,
    env_steps: u32,
    episode_return: f64,
    /// Step at which the episode is cut off, if it has not ended before.
    limit: Option<u32>,
}

impl VectorEnv {
    /// Makes the environments numbered `indices`, and starts an episode in each. Number `i` draws
    /// from `seed.derive("env", i)`, whatever group it is in. Panics if a server or a library is
    /// needed and cannot be used: see [`open`](Self::open).
    pub fn new(config: &EnvConfig, indices: Range<u32>, seed: Seed) -> Self {
        Self::open(config, indices, seed).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, with the reason if a server or a library is needed and cannot be used.
    pub fn open(config: &EnvConfig, indices: Range<u32>, seed: Seed) -> Result<Self, EnvError> {
        let spec = config.try_spec()?;
        let seeds = indices.clone().map(|index| seed.derive("env", u64::from(index)));
        let count = indices.len();
        let rows = match &config.kind {
            EnvKind::Rust(parameters) => {
                Rows::Rust(seeds.map(|seed| parameters.make(seed)).collect())
            }
            EnvKind::Gym(environment) => {
                let group = environment.group(seeds.collect())?;
                Rows::Served(Box::new(group), vec![Order::Reset; count])
            }
        };
        let start = |env_index| EpisodeInProgress {
            env_index,
            env_steps: 0,
            episode_return: 0.0,
            limit: None,
        };
        let mut group = VectorEnv {
            observation_len: spec.observation.len(),
            frames: Frames::first(&spec, count),
            spec,
            rows,
            progress: indices.map(start).collect(),
            episodes: Vec::with_capacity(count),
            stagger: None,
            mishaps: Mishaps::default(),
        };
        group.reset_all();
        match group.failure() {
            Some(error) => Err(error.clone()),
            None => Ok(group),
        }
    }

    /// Cuts off the first episode of every environment after a number of steps that is drawn from
    /// 1 to `steps` (0: none is cut off), so that environments whose episodes all last equally
    /// long do not stay in step; and so after every interruption. It is truncated, and reported as
    /// interrupted.
    pub fn staggered(mut self, steps: u32, seed: Seed) -> Self {
        let generator = |progress: &EpisodeInProgress| {
            seed.derive("stagger", u64::from(progress.env_index)).generator()
        };
        let generators = self.progress.iter().map(generator).collect();
        self.stagger = (steps > 0).then_some(Stagger { steps: 1..=steps, generators });
        self.put_out_of_step();
        self
    }

    fn put_out_of_step(&mut self) {
        let Some(Stagger { steps, generators }) = &mut self.stagger else { return };
        for (progress, generator) in self.progress.iter_mut().zip(generators) {
            progress.limit = Some(generator.random_range(steps.clone()));
        }
    }

    /// True if a step asks a server, which may take its time.
    pub fn is_served(&self) -> bool {
        matches!(self.rows, Rows::Served(..))
    }

    /// Observations and actions of every environment of the group.
    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Current frames, one row per environment.
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Number of times that something was mended, since the group was made.
    pub fn mishaps(&self) -> Mishaps {
        self.mishaps
    }

    /// Reason why the group cannot go on: its server was lost, and could not be replaced. Its frames
    /// mean nothing then.
    pub fn failure(&self) -> Option<&EnvError> {
        match &self.rows {
            Rows::Rust(_) => None,
            Rows::Served(group, _) => group.failure(),
        }
    }

    /// Draws one environment for people, into an empty canvas. A row at a Last frame is drawn as
    /// it ended.
    pub fn render(&self, row: usize, canvas: &mut Canvas) {
        match &self.rows {
            Rows::Rust(environments) => environments[row].render(canvas),
            Rows::Served(group, _) => group.render(row, canvas),
        }
    }

    /// Steps every environment, and returns the episodes that this ended. A row at a Last frame
    /// ignores its action and shows the First frame of a new episode. Continuous actions are
    /// clamped to `[-1, 1]`, and recorded so. An action that is not a number is recorded as 0, and
    /// ends its episode as truncated, where it stood; the others go on. So does an episode whose
    /// server was lost; it is reported as interrupted.
    pub fn step(&mut self, actions: &Actions) -> &[Episode] {
        let rows = self.frames.rows();
        assert_eq!(actions.len(), rows * self.spec.action.len(), "one action per environment");
        self.episodes.clear();
        if let Rows::Served(..) = self.rows {
            self.step_served(actions);
            return &self.episodes;
        }
        for row in 0..rows {
            if self.frames.step_types[row].is_last() {
                self.reset(row);
            } else {
                self.advance(row, actions);
            }
        }
        &self.episodes
    }

    /// Resets every environment: the agent was cut off from its policy. Returns the episodes in
    /// which it had taken a decision and which had not ended. Where they are to be out of step, they
    /// are put so again.
    pub fn interrupt(&mut self) -> &[Episode] {
        self.episodes.clear();
        for row in 0..self.frames.rows() {
            if self.progress[row].env_steps > 0 && !self.frames.step_types[row].is_last() {
                self.episodes.push(self.progress[row].episode(None, Finish::Interrupted));
            }
        }
        self.reset_all();
        self.put_out_of_step();
        &self.episodes
    }

    fn reset_all(&mut self) {
        if let Rows::Served(group, orders) = &mut self.rows {
            orders.fill(Order::Reset);
            group.step(orders, &self.frames.previous_actions, &mut self.frames.observations);
            (0..self.frames.rows()).for_each(|row| self.begin(row));
        } else {
            (0..self.frames.rows()).for_each(|row| self.reset(row));
        }
    }

    fn reset(&mut self, row: usize) {
        let Rows::Rust(environments) = &mut self.rows else { unreachable!("rows of this process") };
        let observation = self.frames.observations.row_mut(row, self.observation_len);
        environments[row].reset(observation);
        self.begin(row);
    }

    /// An episode begins, whose first observation is there.
    fn begin(&mut self, row: usize) {
        let frames = &mut self.frames;
        frames.previous_actions.set_row(row, None, self.spec.action.len());
        frames.previous_rewards[row] = 0.0;
        frames.step_types[row] = StepType::First;
        self.progress[row].env_steps = 0;
        self.progress[row].episode_return = 0.0;
    }

    fn advance(&mut self, row: usize, actions: &Actions) {
        let Rows::Rust(environments) = &mut self.rows else { unreachable!("rows of this process") };
        let frames = &mut self.frames;
        let recorded = record(&mut frames.previous_actions, row, actions, self.spec.action);
        let observation = frames.observations.row_mut(row, self.observation_len);
        let outcome = match recorded {
            Ok((action, clipped)) => {
                self.mishaps.clipped_actions += u64::from(clipped);
                environments[row].step(action, observation)
            }
            Err(NotANumber) => Outcome::broken(),
        };
        let success = outcome.ending.and_then(|_| environments[row].success());
        let finish = outcome.ending.map(Finish::Ended);
        self.conclude(row, outcome, success, finish);
    }

    /// One step of rows that are elsewhere.
    fn step_served(&mut self, actions: &Actions) {
        let Rows::Served(group, orders) = &mut self.rows else { unreachable!("served rows") };
        let frames = &mut self.frames;
        for (row, order) in orders.iter_mut().enumerate() {
            *order = Order::Reset;
            if frames.step_types[row].is_last() {
                continue;
            }
            let recorded = record(&mut frames.previous_actions, row, actions, self.spec.action);
            *order = if recorded.is_ok() { Order::Step } else { Order::Skip };
            let clipped = recorded.is_ok_and(|(_, clipped)| clipped);
            self.mishaps.clipped_actions += u64::from(clipped);
        }
        group.step(orders, &frames.previous_actions, &mut frames.observations);
        for row in 0..self.frames.rows() {
            let Rows::Served(group, orders) = &self.rows else { unreachable!("served rows") };
            let (order, report) = (orders[row], group.reports()[row]);
            let ended = |ending| Some(Finish::Ended(ending));
            let (outcome, finish) = match (order, report.end) {
                (Order::Skip, _) | (_, RowEnd::Broken) => {
                    (Outcome::broken(), ended(Ending::Truncated))
                }
                (Order::Reset, RowEnd::First) => {
                    self.begin(row);
                    continue;
                }
                // It could not be reset: the group has failed.
                (Order::Reset, _) => continue,
                (_, RowEnd::Lost) => (Outcome::broken(), Some(Finish::Interrupted)),
                (_, RowEnd::Last(ending)) => {
                    let outcome =
                        Outcome { ending: Some(ending), ..Outcome::goes_on(report.reward) };
                    (outcome, ended(ending))
                }
                (_, RowEnd::First | RowEnd::Mid) => (Outcome::goes_on(report.reward), None),
            };
            self.conclude(row, outcome, report.success, finish);
        }
    }

    /// A decision has led to an outcome; `finish` says how the episode ended, if it did.
    fn conclude(
        &mut self,
        row: usize,
        outcome: Outcome,
        success: Option<bool>,
        finish: Option<Finish>,
    ) {
        let frames = &mut self.frames;
        frames.previous_rewards[row] = outcome.reward;
        let progress = &mut self.progress[row];
        progress.env_steps += 1;
        progress.episode_return += f64::from(outcome.reward);
        if outcome.broken {
            self.mishaps.broken_episodes += 1;
            let environment = progress.env_index;
            tracing::warn!(environment, name = self.spec.name, "an episode broke and was cut off");
        }
        let step_type = if let (Some(ending), Some(finish)) = (outcome.ending, finish) {
            self.episodes.push(progress.episode(success, finish));
            StepType::Last(ending)
        } else if progress.limit == Some(progress.env_steps) {
            self.episodes.push(progress.episode(None, Finish::Interrupted));
            StepType::Last(Ending::Truncated)
        } else {
            return frames.step_types[row] = StepType::Mid;
        };
        frames.step_types[row] = step_type;
        progress.limit = None;
    }
}

impl EpisodeInProgress {
    fn episode(self, success: Option<bool>, finish: Finish) -> Episode {
        Episode {
            env_index: self.env_index,
            env_steps: self.env_steps,
            episode_return: self.episode_return as f32,
            success,
            finish,
        }
    }
}

/// An action holds something else than numbers.
struct NotANumber;

/// Writes one row's action, clamped, into the next frame; returns it, and whether it was clamped.
fn record<'a>(
    to: &'a mut Actions,
    row: usize,
    from: &Actions,
    spec: ActionSpec,
) -> Result<(Action<'a>, bool), NotANumber> {
    to.set_row(row, Some((from, row)), spec.len());
    match (to, spec) {
        (Actions::Discrete(indices), ActionSpec::Discrete { count }) => {
            let index = indices[row] as usize;
            assert!(index < count, "action {} is none of {spec}", indices[row]);
            Ok((Action::Discrete(index), false))
        }
        (Actions::Continuous(numbers), ActionSpec::Continuous { dimensions }) => {
            let vector = &mut numbers[row * dimensions..(row + 1) * dimensions];
            if vector.iter().any(|number| number.is_nan()) {
                vector.fill(0.0);
                return Err(NotANumber);
            }
            let clipped = vector.iter().any(|number| number.abs() > 1.0);
            vector.iter_mut().for_each(|number| *number = number.clamp(-1.0, 1.0));
            Ok((Action::Continuous(vector), clipped))
        }
        _ => unreachable!("the column was made for the spec"),
    }
}
