//! Finger and bumps: a finger on a hinge slides along a bench, and feels and pushes bumps that it
//! cannot see (Yang & Nguyen 2021, <https://arxiv.org/abs/2110.12628>, on the physics of rapier).
//!
//! A decision moves the finger's base along the bench, by up to 5 cm, and sets the stiffness of the
//! hinge: a soft finger bends over a bump and feels it, a stiff one pushes it. The agent sees the
//! finger's tip and angle.
//!
//! | environment | file | task |
//! |---|---|---|
//! | `bumps` | `push.rs` | push the right one of two bumps to the right, and touch nothing else |
//! | `bump-target` | `target.rs` | push a bump to a place that is shown |
//!
//! The bench, its bumps and the finger are in `bench.rs`.

pub mod push;
pub mod target;

mod bench;

use engram_mdp::{Action, Generator, ObservationMut};
use rand::RngExt;

use crate::environment::Outcome;
use bench::Bench;

/// Half the length of the bench.
const HALF_BENCH: f32 = 0.4;
/// The longest move of a decision.
const STEP: f32 = 0.05;
/// Torque of the softest hinge, in newton meters.
const SOFTEST: f32 = 0.007;

/// A draw from the union of intervals; those that are empty count for nothing.
fn draw(generator: &mut Generator, intervals: &[[f32; 2]]) -> f32 {
    let length = |&[low, high]: &[f32; 2]| (high - low).max(0.0);
    let mut at = generator.random_range(0.0..1.0) * intervals.iter().map(length).sum::<f32>();
    for interval in intervals {
        if at < length(interval) {
            return interval[0] + at;
        }
        at -= length(interval);
    }
    intervals.iter().rfind(|interval| length(interval) > 0.0).expect("there is room")[1]
}

/// Moves the finger as an action says: a share of the longest move, and the stiffness between the
/// softest (-1) and `stiffest` (1). Where the physics broke, the episode's end is the error, and what
/// is observed are zeros: a frame must hold numbers.
fn act(
    bench: &mut Bench,
    action: Action<'_>,
    stiffest: f32,
    observation: &mut ObservationMut<'_>,
) -> Result<(), Outcome> {
    let [step, stiffness] = [0, 1].map(|i| action.vector()[i].clamp(-1.0, 1.0));
    let torque = SOFTEST + 0.5 * (stiffness + 1.0) * (stiffest - SOFTEST);
    bench.move_by(STEP * step, torque);
    if bench.is_finite() {
        return Ok(());
    }
    if let ObservationMut::F32(row) = observation {
        row.fill(0.0);
    }
    Err(Outcome::broken())
}
