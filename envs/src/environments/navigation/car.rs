//! Car between heaven and hell: a car on a line, with heaven at one end and hell at the other. Only
//! a priest on the way to the right end knows which is which (Yang & Nguyen 2021,
//! <https://arxiv.org/abs/2110.12628>; after Bonet & Geffner 1998).
//!
//! The state is position, velocity, and what the priest says: the side of heaven (-1 or 1) within
//! `priest_reach` of him, else 0. The action accelerates the car by up to 0.0015 per step; its speed
//! is at most 0.2. Either end of the road ends the episode; time cuts it off (160 steps in the
//! original). A car whose velocity is seen can use it as its memory; without it (`pd`) the side
//! must be remembered.

use engram_mdp::{Action, ActionSpec, EnvSpec, ObservationMut, Seed};
use serde::Deserialize;

use super::road::{Place, Trip};
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::ParameterError;
use crate::observe::{Part, Parts, StateLayout, View};

const POWER: f64 = 0.0015;
const MAX_SPEED: f64 = 0.2;

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "position", indices: &[0] },
        Part { letter: 'v', name: "velocity", indices: &[1] },
        Part { letter: 'd', name: "direction of heaven", indices: &[2] },
    ],
    full: "pvd",
};

/// The parameters of the car.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Distance from the priest within which he is heard; 0.2 in the original.
    pub priest_reach: f64,
    /// Reward of a step.
    pub reward: CarReward,
    /// Observed parts of the state: letters of `pvd`, or `full`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// Reward of a car's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CarReward {
    /// 1 in heaven, 0 elsewhere.
    Heaven,
    /// -1 for every step, and for all that are left when the car comes to hell.
    Time,
}

impl EnvironmentParameters for CarConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        Trip::check(self.max_steps, self.priest_reach)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("car-heaven-hell", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Car::new(self, seed))
    }

    /// There is time enough to see the priest and to turn around.
    fn optimum(&self) -> Option<f32> {
        (self.reward == CarReward::Heaven && self.max_steps >= 160).then_some(1.0)
    }
}

struct Car {
    spec: EnvSpec,
    view: View,
    reward: CarReward,
    trip: Trip,
    velocity: f64,
}

impl Car {
    fn new(config: &CarConfig, seed: Seed) -> Self {
        Car {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            reward: config.reward,
            trip: Trip::new(config.max_steps, config.priest_reach, seed),
            velocity: 0.0,
        }
    }

    fn state(&self) -> [f32; 3] {
        let position = self.trip.position;
        [position, self.velocity, self.trip.priest(position)].map(|x| x as f32)
    }
}

impl Environment for Car {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.trip.begin();
        self.velocity = 0.0;
        self.view.begin(&self.state(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let push = POWER * f64::from(action.vector()[0].clamp(-1.0, 1.0));
        self.velocity = (self.velocity + push).clamp(-MAX_SPEED, MAX_SPEED);
        self.trip.position += self.velocity;
        self.trip.time += 1;
        self.view.show(&self.state(), observation);
        let place = self.trip.place();
        let reward = match (self.reward, place) {
            (CarReward::Heaven, Some(Place::Heaven)) => 1.0,
            (CarReward::Heaven, _) => 0.0,
            (CarReward::Time, Some(Place::Hell)) => -1.0 - self.trip.left(),
            (CarReward::Time, _) => -1.0,
        };
        self.trip.outcome(place, reward)
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
    use engram_mdp::Ending;

    use super::*;

    /// Plays an episode: its return, its steps, whether the car came to heaven.
    fn play(
        reward: CarReward,
        observe: &str,
        seed: u64,
        mut policy: impl FnMut(&[f32]) -> f32,
    ) -> (f32, u32, bool) {
        let (observe, concat) = (observe.into(), None);
        let config = CarConfig { max_steps: 160, priest_reach: 0.2, reward, observe, concat };
        let mut car = Car::new(&config, Seed::new(seed));
        let mut row = vec![0.0; car.spec.observation.len()];
        car.reset(ObservationMut::F32(&mut row));
        let mut sum = 0.0;
        loop {
            let action = [policy(&row)];
            let outcome = car.step(Action::Continuous(&action), ObservationMut::F32(&mut row));
            sum += outcome.reward;
            if let Some(ending) = outcome.ending {
                let cut_off = ending == Ending::Truncated;
                assert_eq!(cut_off, car.trip.position.abs() < 1.0, "the ends terminate");
                return (sum, car.trip.time, car.success().unwrap());
            }
        }
    }

    /// Drives to the priest, and from there to where he says.
    fn believer() -> impl FnMut(&[f32]) -> f32 {
        let mut heading = 1.0;
        move |row| {
            let heard = *row.last().unwrap();
            if heard != 0.0 {
                heading = heard;
            }
            heading
        }
    }

    #[test]
    fn who_visits_the_priest_and_remembers_always_comes_to_heaven() {
        for seed in 0..200 {
            for observe in ["full", "pd"] {
                let (sum, steps, heaven) = play(CarReward::Heaven, observe, seed, believer());
                assert!(sum == 1.0 && heaven && steps < 160, "{sum} after {steps}");
            }
        }
    }

    #[test]
    fn without_velocity_and_memory_every_other_car_comes_to_heaven() {
        let forgetful = |row: &[f32]| if row[1] == 0.0 { 1.0 } else { row[1] };
        let heaven = |seed| play(CarReward::Heaven, "pd", seed, forgetful).2;
        let found = (0..400).filter(|&seed| heaven(seed)).count();
        assert!((160..240).contains(&found), "{found} of 400");
    }

    #[test]
    fn a_velocity_that_is_seen_can_stand_for_memory() {
        let by_velocity = |row: &[f32]| match row[2] {
            0.0 if row[1] < 0.0 => -1.0,
            // Slowly enough to turn around while the priest is heard.
            0.0 if row[1] > 0.03 => 0.0,
            0.0 => 1.0,
            heard => heard,
        };
        assert!((0..200).all(|seed| play(CarReward::Heaven, "full", seed, by_velocity).2));
    }

    #[test]
    fn time_costs_one_a_step_and_hell_costs_all_that_is_left() {
        for seed in 0..50 {
            let (sum, steps, heaven) = play(CarReward::Time, "full", seed, |_| 1.0);
            let cost = if heaven { steps } else { 160 };
            assert_eq!(sum, -(cost as f32));
            let (sum, steps, _) = play(CarReward::Time, "full", seed, |_| 0.0);
            assert_eq!((sum, steps), (-160.0, 160));
        }
    }

    #[test]
    fn from_rest_n_full_pushes_move_the_car_by_n_times_n_plus_one_halves_of_the_power() {
        let mut positions = Vec::new();
        play(CarReward::Heaven, "p", 3, |row| {
            positions.push(row[0]);
            1.0
        });
        let moved = positions[10] - positions[0];
        assert!((moved - 55.0 * 0.0015).abs() < 1e-6, "{moved}");
    }
}
