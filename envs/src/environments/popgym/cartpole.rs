//! Cart-poles that are seen in part: Position Only, Velocity Only, Noisy Position Only. The physics
//! are those of [`control::cartpole`](crate::environments::control::cartpole); views, rewards and
//! limits are POPGym's. Every decision is worth 1 / decisions of a whole episode.
//!
//! As in the package, Velocity Only shows the position and the angle in its first observation, and
//! velocities from then on. Noise is normal, and what is seen is held within twice the limits.

use std::fmt::Debug;
use std::marker::PhantomData;

use engram_mdp::{Action, ActionSpec};

use super::{Level, World};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::Outcome;
use crate::environments::control::cartpole::{
    ANGLE_LIMIT, DISCRETE_FORCE, POSITION_LIMIT, advance, draw, falls,
};

/// A cart-pole that is seen through `S`.
#[derive(Debug)]
pub struct CartPole<S> {
    max_steps: u32,
    /// Standard deviation of the noise.
    sigma: f64,
    /// Cart position and velocity, pole angle and angular velocity.
    state: [f64; 4],
    /// The last push, as a share of the strongest.
    push: f32,
    time: u32,
    sense: PhantomData<S>,
}

/// Position Only CartPole.
pub type PositionOnlyCartPole = CartPole<Positions>;
/// Velocity Only CartPole.
pub type VelocityOnlyCartPole = CartPole<Velocities>;
/// Noisy Position Only CartPole.
pub type NoisyPositionOnlyCartPole = CartPole<NoisyPositions>;

/// Sense for positions.
#[derive(Debug)]
pub struct Positions;
/// Sense for velocities.
#[derive(Debug)]
pub struct Velocities;
/// Sense for positions, with noise.
#[derive(Debug)]
pub struct NoisyPositions;

/// Part of a cart-pole that is seen, and the numbers that go with it.
pub(crate) trait Sense: Debug + Send + Sync + 'static {
    const NAME: &'static str;
    /// Indices in the state, in the first observation and in the others.
    const SEEN: [[usize; 2]; 2];
    /// Decisions of a whole episode, and the standard deviation of the noise.
    const LEVELS: [(u32, f64); 3];
    /// The expected return of an optimal policy, where it is known.
    const OPTIMUM: Option<f32>;
}

impl Sense for Positions {
    const NAME: &'static str = "popgym-position-only-cartpole";
    const SEEN: [[usize; 2]; 2] = [[0, 2], [0, 2]];
    const LEVELS: [(u32, f64); 3] = [(200, 0.0), (400, 0.0), (600, 0.0)];
    const OPTIMUM: Option<f32> = Some(1.0);
}

impl Sense for Velocities {
    const NAME: &'static str = "popgym-velocity-only-cartpole";
    const SEEN: [[usize; 2]; 2] = [[0, 2], [1, 3]];
    const LEVELS: [(u32, f64); 3] = Positions::LEVELS;
    const OPTIMUM: Option<f32> = Some(1.0);
}

impl Sense for NoisyPositions {
    const NAME: &'static str = "popgym-noisy-position-only-cartpole";
    const SEEN: [[usize; 2]; 2] = Positions::SEEN;
    const LEVELS: [(u32, f64); 3] = [(200, 0.1), (200, 0.2), (200, 0.3)];
    const OPTIMUM: Option<f32> = None;
}

impl<S: Sense> World for CartPole<S> {
    const NAME: &'static str = S::NAME;

    fn at(level: Level) -> Self {
        let (max_steps, sigma) = level.of(S::LEVELS);
        let sense = PhantomData;
        CartPole { max_steps, sigma, state: [0.0; 4], push: 0.0, time: 0, sense }
    }

    fn width(&self) -> usize {
        2
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: 2 }
    }

    fn optimum(&self) -> Option<f32> {
        S::OPTIMUM
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.state = std::array::from_fn(|_| chance.within(0.05));
        (self.push, self.time) = (0.0, 0);
        show(self.state, S::SEEN[0], self.sigma, chance, row);
    }

    fn step(&mut self, action: Action<'_>, chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let direction = if action.index() == 1 { 1.0 } else { -1.0 };
        self.push = direction as f32;
        self.state = advance(self.state, direction * DISCRETE_FORCE);
        self.time += 1;
        show(self.state, S::SEEN[1], self.sigma, chance, row);
        let reward = (1.0 / f64::from(self.max_steps)) as f32;
        if falls(self.state) {
            Outcome::terminated(reward)
        } else {
            Outcome::until(self.max_steps, self.time, reward)
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("push the cart so that the pole stays upright");
        draw(canvas, self.state, self.push / 3.0);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// Shows two numbers of a state, with noise where there is any.
fn show(state: [f64; 4], seen: [usize; 2], sigma: f64, chance: &mut impl Chance, row: &mut [f32]) {
    const LIMITS: [f32; 4] =
        [2.0 * POSITION_LIMIT as f32, f32::MAX, 2.0 * ANGLE_LIMIT as f32, f32::MAX];
    for (shown, index) in row.iter_mut().zip(seen) {
        *shown = state[index] as f32;
        if sigma > 0.0 {
            let noise = (sigma * chance.normal()) as f32;
            *shown = (*shown + noise).clamp(-LIMITS[index], LIMITS[index]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{Physical, replay_physics};

    impl<S: Sense> Physical for CartPole<S> {
        fn set_state(&mut self, draw: impl FnMut(f64) -> f64, even: bool) {
            let never_falls = [2.2, 3.0, 0.1, 3.0];
            self.state = if even { never_falls } else { [2.41, 3.0, 0.21, 3.0] }.map(draw);
        }
    }

    #[test]
    fn decisions_are_the_packages() {
        replay_physics::<PositionOnlyCartPole>();
        replay_physics::<VelocityOnlyCartPole>();
    }

    #[test]
    fn decisions_under_the_same_noise_are_the_packages() {
        replay_physics::<NoisyPositionOnlyCartPole>();
    }
}
