//! Pendulums that are seen in part: Position Only, Noisy Position Only. The physics are those of
//! [`control::pendulum`](crate::environments::control::pendulum); rewards and limits are POPGym's:
//! Gymnasium's reward, of 0 to -16.27, is scaled to plus or minus 1 / decisions.
//!
//! The observation is the cosine and the sine of the angle. Noise is normal, and what is seen is held
//! within ± 1.

use std::f64::consts::PI;
use std::fmt::Debug;
use std::marker::PhantomData;

use engram_mdp::{Action, ActionSpec};

use super::{Level, World};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::Outcome;
use crate::environments::control::pendulum::{LENGTH, MAX_TORQUE, advance, cost, draw};

/// Half of the greatest cost of a decision, as the package has it.
const HALF_COST: f64 = 16.273_604_4 / 2.0;

/// A pendulum that is seen through `S`.
#[derive(Debug)]
pub struct Pendulum<S> {
    max_steps: u32,
    /// Standard deviation of the noise.
    sigma: f64,
    /// Angle and speed.
    state: [f64; 2],
    torque: f64,
    time: u32,
    sense: PhantomData<S>,
}

/// Position Only Pendulum.
pub type PositionOnlyPendulum = Pendulum<Positions>;
/// Noisy Position Only Pendulum.
pub type NoisyPositionOnlyPendulum = Pendulum<NoisyPositions>;

/// Sense for positions.
#[derive(Debug)]
pub struct Positions;
/// Sense for positions, with noise.
#[derive(Debug)]
pub struct NoisyPositions;

/// Sense for a pendulum, and the numbers that go with it.
pub(crate) trait Sense: Debug + Send + Sync + 'static {
    const NAME: &'static str;
    /// Decisions of an episode, and the standard deviation of the noise.
    const LEVELS: [(u32, f64); 3];
}

impl Sense for Positions {
    const NAME: &'static str = "popgym-position-only-pendulum";
    const LEVELS: [(u32, f64); 3] = [(200, 0.0), (150, 0.0), (100, 0.0)];
}

impl Sense for NoisyPositions {
    const NAME: &'static str = "popgym-noisy-position-only-pendulum";
    const LEVELS: [(u32, f64); 3] = [(200, 0.1), (200, 0.2), (200, 0.3)];
}

impl<S: Sense> World for Pendulum<S> {
    const NAME: &'static str = S::NAME;

    fn at(level: Level) -> Self {
        let (max_steps, sigma) = level.of(S::LEVELS);
        Pendulum { max_steps, sigma, state: [0.0; 2], torque: 0.0, time: 0, sense: PhantomData }
    }

    fn width(&self) -> usize {
        2
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Continuous { dimensions: 1 }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.state = [chance.within(PI), chance.within(1.0)];
        (self.torque, self.time) = (0.0, 0);
        show(self.state[0], self.sigma, chance, row);
    }

    fn step(&mut self, action: Action<'_>, chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        self.torque = MAX_TORQUE * f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let [angle, speed] = self.state;
        let scaled = (HALF_COST - cost(angle, speed, self.torque)) / HALF_COST;
        self.state = advance(self.state, self.torque, LENGTH);
        self.time += 1;
        show(self.state[0], self.sigma, chance, row);
        Outcome::until(self.max_steps, self.time, (scaled / f64::from(self.max_steps)) as f32)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("swing the pendulum up and hold it there");
        draw(canvas, self.state[0], self.torque, 1.0);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// Shows an angle, with noise where there is any.
fn show(angle: f64, sigma: f64, chance: &mut impl Chance, row: &mut [f32]) {
    let (sin, cos) = angle.sin_cos();
    for (shown, number) in row.iter_mut().zip([cos, sin]) {
        *shown = number as f32;
        if sigma > 0.0 {
            let noise = (sigma * chance.normal()) as f32;
            *shown = (*shown + noise).clamp(-1.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{Physical, replay_physics};

    impl<S: Sense> Physical for Pendulum<S> {
        fn set_state(&mut self, draw: impl FnMut(f64) -> f64, _even: bool) {
            self.state = [9.0, 8.0].map(draw);
        }
    }

    #[test]
    fn decisions_are_the_packages() {
        replay_physics::<PositionOnlyPendulum>();
        replay_physics::<NoisyPositionOnlyPendulum>();
    }
}
