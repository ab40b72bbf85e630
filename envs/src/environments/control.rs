//! Classic control: carts with poles, pendulums, and an arm.
//!
//! | environment | after |
//! |---|---|
//! | `cartpole` | Gymnasium's CartPole-v1 |
//! | `cartpole-continuous` | the same cart, pushed by as much as the action says (Yang & Nguyen 2021) |
//! | `cartpole-swingup-variable-length` | a pole of unknown length swings up (Yang & Nguyen 2021) |
//! | `dmc-cartpole` | the DeepMind Control Suite's balance and swing-up, of up to three poles |
//! | `dmc-cartpole-pixels` | the same, in pictures |
//! | `dmc-pendulum` | the DeepMind Control Suite's swing-up |
//! | `pendulum` | Gymnasium's Pendulum-v1 |
//! | `pendulum-variable-length` | a pendulum of unknown length (Yang & Nguyen 2021) |
//! | `reacher` | Gymnasium's Reacher-v4; its goal may be hidden after the first look (Yang & Nguyen 2021) |
//!
//! Yang & Nguyen 2021: <https://arxiv.org/abs/2110.12628>. Each is seen in full, by positions or
//! velocities alone, with the last action, or through a window into the past (`observe`, `concat`).

pub mod cartpole;
pub mod cartpole_swingup;
pub mod dmc_cartpole;
pub mod dmc_pendulum;
pub mod pendulum;
pub mod reacher;

mod dmc_cart;
mod film;
mod soft_limit;

use crate::canvas::{ACTOR, Area, Canvas, FAINT, GOAL, INK, PAPER, SIGHT};
use crate::error::{ParameterError, within};

/// A cart on a track, and the pole on it, as they are drawn.
struct CartDrawing<'a> {
    /// The cart's position, and how far it may go to either side.
    position: f32,
    limit: f32,
    /// Height of the track, as a share of the canvas.
    track: f32,
    /// The way from hinge to tip of every pole, each on the tip of the one before: right, up.
    poles: &'a [[f32; 2]],
    /// The push, as a share of the strongest.
    push: f32,
}

impl CartDrawing<'_> {
    fn draw(&self, canvas: &mut Canvas) {
        let Area { width, height, .. } = canvas.area();
        let track = self.track * height;
        let reach: f32 = self.poles.iter().map(|[right, up]| right.hypot(*up)).sum();
        let scale = (width / (2.0 * self.limit + 1.0)).min(0.9 * track / reach);
        let x = width / 2.0 + self.position * scale;
        canvas.line([0.0, track], [width, track], 2.0, FAINT);
        for limit in [-self.limit, self.limit] {
            let x = width / 2.0 + limit * scale;
            canvas.line([x, track - 8.0], [x, track + 8.0], 2.0, INK);
        }
        canvas.rectangle([x - 24.0, track - 26.0], [48.0, 20.0], INK);
        canvas.disc([x - 14.0, track - 5.0], 5.0, INK);
        canvas.disc([x + 14.0, track - 5.0], 5.0, INK);
        let mut hinge = [x, track - 26.0];
        for [right, up] in self.poles {
            let tip = [hinge[0] + right * scale, hinge[1] - up * scale];
            canvas.line(hinge, tip, 8.0, ACTOR);
            canvas.disc(hinge, 3.0, PAPER);
            hinge = tip;
        }
        let side = x + 28.0_f32.copysign(self.push);
        canvas.arrow([side, track - 16.0], [side + 60.0 * self.push, track - 16.0], SIGHT);
    }
}

/// A pendulum as it is drawn.
struct PendulumDrawing {
    /// Zero is upright, counterclockwise is positive.
    angle: f32,
    /// The length, as a share of the greatest.
    length: f32,
    /// The torque, as a share of the greatest.
    torque: f32,
}

impl PendulumDrawing {
    fn draw(&self, canvas: &mut Canvas) {
        let Area { width, height, .. } = canvas.area();
        let hinge = [width / 2.0, height / 2.0];
        let radius = 0.42 * height * self.length;
        canvas.disc(hinge, radius + 2.0, FAINT);
        canvas.disc(hinge, radius, PAPER);
        let above = |pixels: f32| [hinge[0], hinge[1] - radius - pixels];
        canvas.line(above(6.0), above(-6.0), 3.0, GOAL);
        let (sin, cos) = self.angle.sin_cos();
        let tip = [hinge[0] - radius * sin, hinge[1] - radius * cos];
        canvas.line(hinge, tip, 12.0, ACTOR);
        canvas.disc(hinge, 4.0, INK);
        draw_torque(canvas, hinge, 0.12 * height, self.torque);
    }
}

/// Draws an arrow around the hinge, counterclockwise for a positive share of the greatest torque.
fn draw_torque(canvas: &mut Canvas, hinge: [f32; 2], radius: f32, share: f32) {
    const PIECES: u8 = 12;
    if share.abs() < 0.05 {
        return;
    }
    let at = |piece: u8| {
        let turn = share * 2.4 * f32::from(piece) / f32::from(PIECES);
        [hinge[0] - radius * turn.sin(), hinge[1] - radius * turn.cos()]
    };
    for piece in 1..PIECES {
        canvas.line(at(piece - 1), at(piece), 2.0, SIGHT);
    }
    let ([x0, y0], [x1, y1]) = (at(PIECES - 1), at(PIECES));
    let length = (x1 - x0).hypot(y1 - y0).max(1e-6);
    // A straight end that is long enough for a head.
    let end = [x0 + (x1 - x0) / length * 6.0, y0 + (y1 - y0) / length * 6.0];
    canvas.arrow([x0, y0], end, SIGHT);
}

/// Checks lengths, in meters, of which every episode draws one.
fn check_lengths(lengths: &[f64]) -> Result<(), ParameterError> {
    if lengths.is_empty() || lengths.len() > 16 {
        let range = "a list of 1 to 16 lengths in meters";
        return Err(ParameterError::new("lengths", format!("{lengths:?}"), range));
    }
    lengths.iter().try_for_each(|&length| within("lengths", length, 0.05..=10.0))
}
