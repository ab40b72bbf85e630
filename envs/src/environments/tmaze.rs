//! The T-Maze: an oracle at one end of a corridor tells which way to turn at the other (Bakker
//! 2001; passive and active as in Ni et al. 2023, <https://arxiv.org/abs/2307.03864>).
//!
//! ```text
//!                          x = J     y = +1  goal if the oracle says so
//!  oracle  x = 0 ──── … ────────     y =  0
//!          (start, passive) J        y = -1  goal otherwise
//! ```
//!
//! The corridor has `corridor_length` cells between start and junction. *Passive*: the agent starts
//! at the oracle. *Active*: it starts one cell to the right, and must walk back first; so the task
//! asks for credit assignment over the whole corridor as well as memory. An episode lasts exactly
//! as long as the optimal policy takes, and the last decision is paid 1 at the goal and 0
//! elsewhere.
//!
//! The observation is `[0, goal]` the first time the oracle's cell is seen, `[0, 0]` in the
//! corridor and at the oracle afterwards, and `[1, y]` at the junction and the goals: the agent is
//! not told how far it has come.

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, SIGHT, mix};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// Actions: right, up, left, down.
const MOVES: [(i32, i32); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
/// The move along the corridor.
const RIGHT: usize = 0;

/// The parameters of the T-Maze.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TmazeConfig {
    /// Moves between the start and the junction.
    pub corridor_length: u32,
    /// Position of the oracle.
    pub oracle: Oracle,
    /// Time at which a wrong move costs `1 / corridor_length`.
    pub penalty: Penalty,
    /// The reward of every step but the last that ends at the oracle; 0 in the paper.
    pub distract_reward: f32,
}

/// Position of the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oracle {
    /// At the start: it is seen without doing anything.
    Passive,
    /// One cell behind the start: it must be visited.
    Active,
}

/// Time of a penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Penalty {
    /// At every step that ends behind the optimal pace: one wrong move is paid for until the end
    /// of the episode, since a lost step can never be caught up. The paper's.
    Behind,
    /// At the wrong move only: once the oracle was seen, at every move in the corridor that is not
    /// to the right. Kinder to exploration.
    WrongAction,
}

impl Oracle {
    fn name(self) -> &'static str {
        match self {
            Oracle::Passive => "passive",
            Oracle::Active => "active",
        }
    }

    /// Its distance behind the start.
    fn offset(self) -> i32 {
        match self {
            Oracle::Passive => 0,
            Oracle::Active => 1,
        }
    }
}

impl EnvironmentParameters for TmazeConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("corridor_length", self.corridor_length, 1..=1_000_000)?;
        within("distract_reward", self.distract_reward, -1.0..=1.0)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("tmaze(oracle={})", self.oracle.name()),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![2] },
            action: ActionSpec::Discrete { count: MOVES.len() },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let offset = self.oracle.offset();
        let corridor_length = self.corridor_length as i32;
        Box::new(Tmaze {
            spec: self.spec(),
            offset,
            junction: offset + corridor_length,
            episode_length: corridor_length + 2 * offset + 1,
            penalty: self.penalty,
            penalty_reward: -1.0 / self.corridor_length as f32,
            distract_reward: self.distract_reward,
            generator: seed.generator(),
            goal: 1,
            position: (0, 0),
            time: 0,
            oracle_seen: false,
        })
    }

    fn optimum(&self) -> Option<f32> {
        (self.distract_reward == 0.0).then_some(1.0)
    }

    fn memoryless(&self) -> Option<f32> {
        // One of two goals is guessed.
        Some(0.5)
    }
}

struct Tmaze {
    spec: EnvSpec,
    offset: i32,
    junction: i32,
    episode_length: i32,
    penalty: Penalty,
    penalty_reward: f32,
    distract_reward: f32,
    generator: Generator,
    /// Up or down: 1 or -1.
    goal: i32,
    position: (i32, i32),
    /// Decisions taken.
    time: i32,
    oracle_seen: bool,
}

impl Tmaze {
    fn observe(&mut self, observation: ObservationMut<'_>) {
        let (x, y) = self.position;
        let seen = if x == 0 && !self.oracle_seen {
            self.oracle_seen = true;
            [0, self.goal]
        } else if x == self.junction {
            [1, y]
        } else {
            [0, 0]
        };
        observation.floats().copy_from_slice(&seen.map(|number| number as f32));
    }

    /// Walls do not move the agent: everything but the corridor and the two goals is wall.
    fn walk(&mut self, (dx, dy): (i32, i32)) {
        let (x, y) = (self.position.0 + dx, self.position.1 + dy);
        let corridor = y == 0 && (0..=self.junction).contains(&x);
        let arms = x == self.junction && y.abs() == 1;
        if corridor || arms {
            self.position = (x, y);
        }
    }

    /// True if a step that is not the last is penalized.
    fn penalized(&self, action: usize, from: i32, oracle_was_seen: bool) -> bool {
        match self.penalty {
            Penalty::Behind => self.position.0 < self.time - self.offset,
            Penalty::WrongAction => oracle_was_seen && from < self.junction && action != RIGHT,
        }
    }
}

impl Environment for Tmaze {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.goal = if self.generator.random_bool(0.5) { 1 } else { -1 };
        self.position = (self.offset, 0);
        self.time = 0;
        self.oracle_seen = false;
        self.observe(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let action = action.index();
        let (from, oracle_was_seen) = (self.position.0, self.oracle_seen);
        self.walk(MOVES[action]);
        self.time += 1;
        self.observe(observation);
        if self.time == self.episode_length {
            return Outcome::terminated(f32::from(u8::from(self.position.1 == self.goal)));
        }
        let mut reward = 0.0;
        if self.penalized(action, from, oracle_was_seen) {
            reward += self.penalty_reward;
        }
        if self.position.0 == 0 {
            reward += self.distract_reward;
        }
        Outcome::goes_on(reward)
    }

    fn success(&self) -> Option<bool> {
        Some(self.position.1 == self.goal)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.goal {
            1 => "the oracle (blue) says: turn up at the junction",
            _ => "the oracle (blue) says: turn down at the junction",
        });
        let grid = canvas.grid(3, self.junction as usize + 1);
        for x in 0..=self.junction {
            grid.fill(canvas, 1, x, FAINT);
        }
        // Up is drawn above: y = 1 in the first row.
        for y in [-1, 1] {
            grid.fill(canvas, 1 - y, self.junction, if y == self.goal { GOAL } else { FAINT });
        }
        grid.fill(canvas, 1, 0, if self.oracle_seen { mix(FAINT, SIGHT, 0.35) } else { SIGHT });
        let (x, y) = self.position;
        canvas.disc(grid.center(1 - y, x), (0.36 * grid.side).max(2.0), ACTOR);
        canvas.timeline(&[self.episode_length as u32], self.time as u32);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;

    fn config(oracle: Oracle, corridor_length: u32, penalty: Penalty) -> TmazeConfig {
        TmazeConfig { corridor_length, oracle, penalty, distract_reward: 0.0 }
    }

    /// Plays one episode and returns its return, its length, and whether it was solved. The policy
    /// is told the index of the decision and everything seen so far.
    fn play(
        environment: &mut dyn Environment,
        mut policy: impl FnMut(usize, &[[f32; 2]]) -> usize,
    ) -> (f32, usize, bool) {
        let mut seen = vec![[0.0; 2]];
        environment.reset(ObservationMut::F32(&mut seen[0]));
        let mut total = 0.0;
        for t in 0.. {
            let action = Action::Discrete(policy(t, &seen));
            let mut row = [0.0; 2];
            let outcome = environment.step(action, ObservationMut::F32(&mut row));
            seen.push(row);
            total += outcome.reward;
            if let Some(ending) = outcome.ending {
                assert_eq!(ending, Ending::Terminated);
                return (total, t + 1, environment.success().unwrap());
            }
        }
        unreachable!()
    }

    /// Visits the oracle, walks to the junction, and turns as it was told.
    fn optimal(oracle: Oracle) -> impl FnMut(usize, &[[f32; 2]]) -> usize {
        move |t, seen| {
            let now = seen[t];
            if oracle == Oracle::Active && t == 0 {
                2
            } else if now[0] == 1.0 {
                let goal: f32 =
                    seen.iter().filter(|frame| frame[0] == 0.0).map(|frame| frame[1]).sum();
                if goal > 0.0 { 1 } else { 3 }
            } else {
                RIGHT
            }
        }
    }

    #[test]
    fn the_optimal_policy_earns_one_and_takes_the_whole_episode() {
        for penalty in [Penalty::Behind, Penalty::WrongAction] {
            for (oracle, length) in [(Oracle::Passive, 51), (Oracle::Active, 53)] {
                let mut environment = config(oracle, 50, penalty).make(Seed::new(2));
                for _ in 0..20 {
                    assert_eq!(play(&mut *environment, optimal(oracle)), (1.0, length, true));
                }
            }
        }
    }

    #[test]
    fn random_policies_return_what_the_reference_measured() {
        for (oracle, corridor_length, expected) in
            [(Oracle::Passive, 50, -0.994), (Oracle::Active, 20, -0.989)]
        {
            let environment = config(oracle, corridor_length, Penalty::Behind);
            let mut environment = environment.make(Seed::new(3));
            let mut generator = Seed::new(4).generator();
            let returns: f32 = (0..2000)
                .map(|_| play(&mut *environment, |_, _| generator.random_range(0..4)).0)
                .sum();
            let mean = returns / 2000.0;
            assert!((mean - expected).abs() < 0.003, "{oracle:?}: {mean} is not {expected}");
        }
    }

    #[test]
    fn one_wrong_move_is_paid_once_or_until_the_end() {
        let slip = |t: usize, _: &[[f32; 2]]| if t == 4 { 1 } else { RIGHT };
        let behind = config(Oracle::Passive, 10, Penalty::Behind);
        let (total, ..) = play(&mut *behind.make(Seed::new(5)), slip);
        assert!((total - -0.6).abs() < 1e-6, "steps 5 to 10 are behind: {total}");
        let wrong_action = config(Oracle::Passive, 10, Penalty::WrongAction);
        let (total, ..) = play(&mut *wrong_action.make(Seed::new(5)), slip);
        assert!((total - -0.1).abs() < 1e-6, "one wrong move: {total}");
    }

    #[test]
    fn before_the_oracle_was_seen_no_move_is_wrong() {
        let environment = config(Oracle::Active, 10, Penalty::WrongAction);
        let (total, ..) = play(&mut *environment.make(Seed::new(5)), |_, _| 1);
        assert_eq!(total, 0.0, "standing before the oracle costs nothing");
        let at_oracle = |t: usize, _: &[[f32; 2]]| if t == 0 { 2 } else { 1 };
        let (total, ..) = play(&mut *environment.make(Seed::new(5)), at_oracle);
        assert!((total - -1.1).abs() < 1e-5, "eleven wrong moves after it: {total}");
    }

    #[test]
    fn the_oracle_speaks_once_and_the_junction_shows_the_arm() {
        let mut frames = Vec::new();
        let mut environment = config(Oracle::Passive, 2, Penalty::Behind).make(Seed::new(6));
        let path = [2, RIGHT, RIGHT];
        play(&mut *environment, |t, seen| {
            frames = seen.to_vec();
            path[t]
        });
        assert_eq!(frames[0][0], 0.0);
        assert_eq!(frames[0][1].abs(), 1.0, "the first frame tells");
        assert_eq!(frames[1], [0.0, 0.0], "the second look at the oracle does not");

        let mut environment = config(Oracle::Passive, 3, Penalty::Behind).make(Seed::new(6));
        let path = [RIGHT, RIGHT, RIGHT, 1];
        let mut row = [0.0; 2];
        environment.reset(ObservationMut::F32(&mut row));
        for action in path {
            environment.step(Action::Discrete(action), ObservationMut::F32(&mut row));
        }
        assert_eq!(row, [1.0, 1.0]);
    }
}
