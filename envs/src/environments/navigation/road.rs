//! Road between heaven and hell, one of them at -1 and the other at 1. A priest at 0.5 tells which
//! to whoever is near. A trip is an episode on it, whatever moves the car.

use engram_mdp::{Generator, Seed};
use rand::RngExt;

use crate::canvas::{ACTOR, Canvas, Color, FAINT, GOAL, INK, PAPER, SIGHT, mix};
use crate::environment::Outcome;
use crate::error::{ParameterError, within};

const PRIEST: f64 = 0.5;
/// Starts are drawn from plus or minus this.
const START: f64 = 0.2;
const HELL: Color = [196, 62, 62];

/// A car's way along the road.
pub(super) struct Trip {
    max_steps: u32,
    generator: Generator,
    road: Road,
    pub(super) position: f64,
    /// Decisions that were taken.
    pub(super) time: u32,
}

/// A road, and the side of heaven in this episode.
#[derive(Clone, Copy, Debug)]
struct Road {
    /// Distance from the priest within which he is heard.
    priest_reach: f64,
    /// Position of heaven: -1 or 1.
    heaven: f64,
}

/// A place that ends an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Heaven,
    Hell,
}

impl Trip {
    pub(super) fn new(max_steps: u32, priest_reach: f64, seed: Seed) -> Self {
        Trip {
            max_steps,
            generator: seed.generator(),
            road: Road { priest_reach, heaven: 1.0 },
            position: 0.0,
            time: 0,
        }
    }

    /// Checks the keys `max_steps` and `priest_reach`.
    pub(super) fn check(max_steps: u32, priest_reach: f64) -> Result<(), ParameterError> {
        within("max_steps", max_steps, 1..=1_000_000)?;
        within("priest_reach", priest_reach, 0.05..=0.45)
    }

    /// Starts an episode.
    pub(super) fn begin(&mut self) {
        self.position = self.road.begin(&mut self.generator);
        self.time = 0;
    }

    /// The priest's word at a position.
    pub(super) fn priest(&self, position: f64) -> f64 {
        self.road.priest(position)
    }

    /// The end of the road that the car has come to.
    pub(super) fn place(&self) -> Option<Place> {
        self.road.place(self.position)
    }

    /// Decisions that are left.
    pub(super) fn left(&self) -> f32 {
        (self.max_steps - self.time) as f32
    }

    /// Result of a decision that led to `place` and pays `reward`: either end of the road ends the
    /// episode.
    pub(super) fn outcome(&self, place: Option<Place>, reward: f32) -> Outcome {
        match place {
            Some(_) => Outcome::terminated(reward),
            None => Outcome::until(self.max_steps, self.time, reward),
        }
    }

    pub(super) fn succeeded(&self) -> bool {
        self.place() == Some(Place::Heaven)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        self.road.draw(canvas, self.position);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

impl Road {
    /// Draws the side of heaven, and returns the position of a start.
    fn begin(&mut self, generator: &mut Generator) -> f64 {
        self.heaven = if generator.random() { 1.0 } else { -1.0 };
        generator.random_range(-START..START)
    }

    /// The end of the road that a position lies at or beyond.
    fn place(&self, position: f64) -> Option<Place> {
        match position * self.heaven {
            side if side >= 1.0 => Some(Place::Heaven),
            side if side <= -1.0 => Some(Place::Hell),
            _ => None,
        }
    }

    /// The priest's word at a position: the side of heaven, or 0 where he is not heard.
    fn priest(&self, position: f64) -> f64 {
        if (position - PRIEST).abs() <= self.priest_reach { self.heaven } else { 0.0 }
    }

    fn draw(&self, canvas: &mut Canvas, position: f64) {
        canvas.set_caption("the priest (blue) knows where heaven (green) is");
        let area = canvas.area();
        let (floor, scale) = (0.66 * area.height, area.width / 2.8);
        let place = |position: f64| area.width / 2.0 + position as f32 * scale;
        let reach = 2.0 * self.priest_reach as f32 * scale;
        let heard = mix(PAPER, SIGHT, if self.priest(position) == 0.0 { 0.12 } else { 0.35 });
        canvas.rectangle([place(PRIEST - self.priest_reach), floor - 90.0], [reach, 90.0], heard);
        canvas.rectangle([0.0, floor], [area.width, 4.0], FAINT);
        for (at, color) in [(self.heaven, GOAL), (-self.heaven, HELL), (PRIEST, SIGHT)] {
            let x = place(at);
            canvas.rectangle([x - 1.0, floor - 90.0], [2.0, 90.0], INK);
            canvas.rectangle([x + 1.0, floor - 90.0], [24.0, 16.0], color);
        }
        let x = place(position);
        canvas.rectangle([x - 20.0, floor - 24.0], [40.0, 16.0], ACTOR);
        canvas.disc([x - 11.0, floor - 6.0], 6.0, INK);
        canvas.disc([x + 11.0, floor - 6.0], 6.0, INK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_priest_is_heard_within_his_reach_and_tells_the_side_of_heaven() {
        let mut road = Road { priest_reach: 0.2, heaven: 1.0 };
        for heaven in [-1.0, 1.0] {
            road.heaven = heaven;
            let heard = [0.29, 0.31, 0.69, 0.71].map(|position| road.priest(position));
            assert_eq!(heard, [0.0, heaven, heaven, 0.0]);
            let places = [heaven, -heaven, 0.99].map(|position| road.place(position));
            assert_eq!(places, [Some(Place::Heaven), Some(Place::Hell), None]);
        }
    }

    #[test]
    fn heaven_is_on_either_side_as_often() {
        let mut road = Road { priest_reach: 0.2, heaven: 1.0 };
        let mut generator = Seed::new(1).generator();
        let mut right = 0;
        for _ in 0..1000 {
            assert!(road.begin(&mut generator).abs() <= 0.2);
            right += u32::from(road.heaven > 0.0);
        }
        assert!((450..550).contains(&right), "{right} of 1000");
    }
}
