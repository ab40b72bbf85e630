//! Classic control: carts with poles, and pendulums.
//!
//! | environment | after |
//! |---|---|
//! | `cartpole` | Gymnasium's CartPole-v1 |
//! | `cartpole-continuous` | the same cart, pushed by as much as the action says (Yang & Nguyen 2021) |
//! | `cartpole-swingup-variable-length` | a pole of unknown length swings up (Yang & Nguyen 2021) |
//! | `dmc-cartpole` | the DeepMind Control Suite's balance and swing-up |
//! | `pendulum` | Gymnasium's Pendulum-v1 |
//! | `pendulum-variable-length` | a pendulum of unknown length (Yang & Nguyen 2021) |
//!
//! Yang & Nguyen 2021: <https://arxiv.org/abs/2110.12628>. Each is seen in full, by positions or
//! velocities alone, with the last action, or through a window into the past (`observe`, `concat`).

pub mod cartpole;
pub mod cartpole_swingup;
pub mod dmc_cartpole;
pub mod pendulum;

use std::f64::consts::TAU;

use engram_mdp::Generator;
use rand::RngExt;

use crate::canvas::{ACTOR, Area, Canvas, FAINT, INK, PAPER, SIGHT};
use crate::error::{ParameterError, within};

/// A cart on a track, and the pole on it, as they are drawn.
struct CartDrawing {
    /// The cart's position, and how far it may go to either side.
    position: f32,
    limit: f32,
    /// Height of the track, as a share of the canvas.
    track: f32,
    /// The pole's tip above the cart's hinge: right, up.
    tip: [f32; 2],
    /// The push, as a share of the strongest.
    push: f32,
}

impl CartDrawing {
    fn draw(&self, canvas: &mut Canvas) {
        let Area { width, height, .. } = canvas.area();
        let scale = width / (2.0 * self.limit + 1.0);
        let track = self.track * height;
        let x = width / 2.0 + self.position * scale;
        canvas.line([0.0, track], [width, track], 2.0, FAINT);
        for limit in [-self.limit, self.limit] {
            let x = width / 2.0 + limit * scale;
            canvas.line([x, track - 8.0], [x, track + 8.0], 2.0, INK);
        }
        canvas.rectangle([x - 24.0, track - 26.0], [48.0, 20.0], INK);
        canvas.disc([x - 14.0, track - 5.0], 5.0, INK);
        canvas.disc([x + 14.0, track - 5.0], 5.0, INK);
        let hinge = [x, track - 26.0];
        let tip = [x + self.tip[0] * scale, hinge[1] - self.tip[1] * scale];
        canvas.line(hinge, tip, 8.0, ACTOR);
        canvas.disc(hinge, 3.0, PAPER);
        let side = x + 28.0_f32.copysign(self.push);
        canvas.arrow([side, track - 16.0], [side + 60.0 * self.push, track - 16.0], SIGHT);
    }
}

/// Checks lengths, in meters, of which every episode draws one.
fn check_lengths(lengths: &[f64]) -> Result<(), ParameterError> {
    if lengths.is_empty() || lengths.len() > 16 {
        let range = "a list of 1 to 16 lengths in meters";
        return Err(ParameterError::new("lengths", format!("{lengths:?}"), range));
    }
    lengths.iter().try_for_each(|&length| within("lengths", length, 0.05..=10.0))
}

/// A draw from the standard normal distribution (Box & Muller 1958).
fn normal(generator: &mut Generator) -> f64 {
    let radius = (-2.0 * (1.0 - generator.random_range(0.0..1.0_f64)).ln()).sqrt();
    radius * generator.random_range(0.0..TAU).cos()
}
