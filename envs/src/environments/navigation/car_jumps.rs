//! Car between heaven and hell that jumps: the road of [`car`](super::car) for high-level decisions
//! (Yang & Nguyen 2021, <https://arxiv.org/abs/2110.12628>).
//!
//! `car-heaven-hell-top`: an action is the next position, as a share of 1.1. The observation is the
//! position, and what the priest says there. The reward is 1 in heaven and -1 in hell.
//!
//! `car-heaven-hell-relative`: an action is added to the position, and the way there takes 20
//! moments, each of which is observed: position, 0, and what the priest says. At a reset all
//! moments but the last are zeros. A decision costs 1, one that comes to heaven nothing, and one
//! that comes to hell as much as all that are left.

use engram_mdp::{Action, ActionSpec, Dtype, EnvSpec, ObservationMut, ObservationSpec, Seed};
use serde::Deserialize;

use super::road::{Place, Trip};
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::ParameterError;

/// The furthest positions.
const LIMIT: f64 = 1.1;
/// Observed moments of a relative jump, and numbers of each.
const MOMENTS: usize = 20;
const MOMENT_NUMBERS: usize = 3;

/// The parameters of the car that jumps to a position.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarTopConfig {
    /// Decisions after which an episode is cut off; 10 in the original.
    pub max_steps: u32,
    /// Distance from the priest within which he is heard; 0.2 (v0) or 0.05 (v1) in the original.
    pub priest_reach: f64,
}

/// The parameters of the car that jumps by a distance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarRelativeConfig {
    /// Decisions after which an episode is cut off; 8 in the original.
    pub max_steps: u32,
    /// Distance from the priest within which he is heard; 0.2 in the original.
    pub priest_reach: f64,
}

/// Meaning of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jump {
    ToPosition,
    ByDistance,
}

impl EnvironmentParameters for CarTopConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        Trip::check(self.max_steps, self.priest_reach)
    }

    fn spec(&self) -> EnvSpec {
        Jump::ToPosition.spec()
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(JumpingCar::new(Jump::ToPosition, self.max_steps, self.priest_reach, seed))
    }

    /// One jump to the priest, one to heaven.
    fn optimum(&self) -> Option<f32> {
        (self.max_steps >= 2).then_some(1.0)
    }
}

impl EnvironmentParameters for CarRelativeConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        Trip::check(self.max_steps, self.priest_reach)
    }

    fn spec(&self) -> EnvSpec {
        Jump::ByDistance.spec()
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(JumpingCar::new(Jump::ByDistance, self.max_steps, self.priest_reach, seed))
    }

    /// A jump to the priest, then one to the heaven beside him or two to the other one. With few
    /// decisions hell is cheap, and trying one's luck is better.
    fn optimum(&self) -> Option<f32> {
        (self.max_steps >= 4).then_some(-1.5)
    }
}

impl Jump {
    fn spec(self) -> EnvSpec {
        let (name, numbers) = match self {
            Jump::ToPosition => ("car-heaven-hell-top", 2),
            Jump::ByDistance => ("car-heaven-hell-relative", MOMENTS * MOMENT_NUMBERS),
        };
        EnvSpec {
            name: name.into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![numbers] },
            action: ActionSpec::Continuous { dimensions: 1 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }
}

struct JumpingCar {
    spec: EnvSpec,
    jump: Jump,
    trip: Trip,
}

impl JumpingCar {
    fn new(jump: Jump, max_steps: u32, priest_reach: f64, seed: Seed) -> Self {
        JumpingCar { spec: jump.spec(), jump, trip: Trip::new(max_steps, priest_reach, seed) }
    }

    fn reward(&self, place: Option<Place>) -> f32 {
        match (self.jump, place) {
            (Jump::ToPosition, Some(Place::Heaven)) => 1.0,
            (Jump::ToPosition, Some(Place::Hell)) => -1.0,
            (Jump::ToPosition, None) | (Jump::ByDistance, Some(Place::Heaven)) => 0.0,
            (Jump::ByDistance, Some(Place::Hell)) => -self.trip.left(),
            (Jump::ByDistance, None) => -1.0,
        }
    }

    /// Moves to a position, and writes what is seen on the way.
    fn travel(&mut self, position: f64, row: &mut [f32]) {
        let (from, way) = (self.trip.position, position - self.trip.position);
        self.trip.position = position;
        if self.jump == Jump::ToPosition {
            row.copy_from_slice(&[position, self.trip.priest(position)].map(|x| x as f32));
            return;
        }
        for (moment, numbers) in row.chunks_exact_mut(MOMENT_NUMBERS).enumerate() {
            let at = from + way * (moment + 1) as f64 / MOMENTS as f64;
            numbers.copy_from_slice(&[at, 0.0, self.trip.priest(at)].map(|x| x as f32));
        }
    }
}

impl Environment for JumpingCar {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.trip.begin();
        let row = observation.floats();
        row.fill(0.0);
        let place = match self.jump {
            Jump::ToPosition => 0,
            Jump::ByDistance => row.len() - MOMENT_NUMBERS,
        };
        row[place] = self.trip.position as f32;
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let action = f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let target = match self.jump {
            Jump::ToPosition => LIMIT * action,
            Jump::ByDistance => (self.trip.position + action).clamp(-LIMIT, LIMIT),
        };
        self.travel(target, observation.floats());
        self.trip.time += 1;
        let place = self.trip.place();
        self.trip.outcome(place, self.reward(place))
    }

    fn success(&self) -> Option<bool> {
        Some(self.trip.succeeded())
    }

    fn render(&self, canvas: &mut Canvas) {
        self.trip.draw(canvas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an episode to its end, and returns its rewards.
    fn play(jump: Jump, reach: f64, seed: u64, mut policy: impl FnMut(&[f32]) -> f32) -> Vec<f32> {
        let mut car = JumpingCar::new(jump, 8, reach, Seed::new(seed));
        let mut row = vec![0.0; car.spec.observation.len()];
        car.reset(ObservationMut::F32(&mut row));
        let mut rewards = Vec::new();
        loop {
            let action = [policy(&row)];
            let outcome = car.step(Action::Continuous(&action), ObservationMut::F32(&mut row));
            rewards.push(outcome.reward);
            if outcome.ending.is_some() {
                assert_eq!(car.success().unwrap(), *rewards.last().unwrap() >= 0.0);
                return rewards;
            }
        }
    }

    #[test]
    fn one_jump_to_the_priest_and_one_to_heaven_earn_one_even_if_he_whispers() {
        for reach in [0.2, 0.05] {
            for seed in 0..100 {
                let by_word = |row: &[f32]| if row[1] == 0.0 { 0.5 / 1.1 } else { row[1] };
                assert_eq!(play(Jump::ToPosition, reach, seed, by_word), [0.0, 1.0]);
            }
        }
    }

    #[test]
    fn a_jump_of_luck_earns_nothing_on_average() {
        let sum: f32 = (0..1000).map(|seed| play(Jump::ToPosition, 0.2, seed, |_| 1.0)[0]).sum();
        assert!(sum.abs() < 80.0, "{sum} in 1000");
    }

    #[test]
    fn the_best_way_by_distances_costs_one_or_two() {
        let mut sum = 0.0;
        for seed in 0..1000 {
            let mut heaven = 0.0;
            let policy = |row: &[f32]| {
                let heard = row.chunks_exact(3).map(|moment| moment[2]).find(|&heard| heard != 0.0);
                heaven = heard.unwrap_or(heaven);
                let position = row[57];
                if heaven == 0.0 {
                    0.35 - position
                } else {
                    (1.05 * heaven - position).clamp(-1.0, 1.0)
                }
            };
            let total: f32 = play(Jump::ByDistance, 0.2, seed, policy).iter().sum();
            assert!(total == -1.0 || total == -2.0, "{total}");
            sum += total;
        }
        assert!((sum / 1000.0 + 1.5).abs() < 0.05, "{sum} in 1000");
    }

    #[test]
    fn a_jump_shows_twenty_moments_and_the_priest_on_the_way() {
        let mut rows = Vec::new();
        let mut jumps = [0.5, 0.45, 0.0].into_iter();
        play(Jump::ByDistance, 0.2, 2, |row| {
            rows.push(row.to_vec());
            jumps.next().unwrap_or(-1.0)
        });
        let start = rows[0][57];
        assert!(rows[0][..57].iter().all(|&x| x == 0.0) && start != 0.0);
        let first = &rows[1];
        assert!((first[0] - start - 0.025).abs() < 1e-6 && (first[57] - start - 0.5).abs() < 1e-6);
        for moment in first.chunks_exact(3) {
            assert_eq!(moment[2] != 0.0, (moment[0] - 0.5).abs() <= 0.2, "{moment:?}");
        }
    }
}
