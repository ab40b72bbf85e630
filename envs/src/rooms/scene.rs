//! A scene: a plan, the player, and figures that stand about.

use super::figure::Figure;
use super::plan::Plan;
use super::walker::{EYES, Walker};
use crate::canvas::Color;

/// A figure at its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Thing {
    pub(crate) figure: Figure,
    pub(crate) place: [f32; 2],
}

/// A world at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    pub(crate) player: Walker,
    pub(crate) things: Vec<Thing>,
    /// Height by which the floor below the player has risen.
    pub(crate) lift: f32,
    /// Color of a square in the upper left corner of the picture: what the player carries.
    pub(crate) carried: Option<Color>,
}

impl Scene {
    /// A world with nothing in it but the player.
    pub(crate) fn new(plan: Plan, player: Walker) -> Scene {
        Scene { plan, player, things: Vec::new(), lift: 0.0, carried: None }
    }

    /// Height of the player's eyes as a share of a cell's side.
    pub(super) fn eyes(&self) -> f32 {
        (EYES + self.lift) / self.plan.cell
    }

    /// True if the player stands within `reach` of a place.
    pub(crate) fn reaches(&self, place: [f32; 2], reach: f32) -> bool {
        distance(self.player.place, place) < reach
    }
}

/// A disc on the map, for people.
pub(crate) struct Mark {
    pub(crate) place: [f32; 2],
    pub(crate) radius: f32,
    pub(crate) color: Color,
}

/// Distance between two places.
pub(crate) fn distance(one: [f32; 2], two: [f32; 2]) -> f32 {
    (one[0] - two[0]).hypot(one[1] - two[1])
}
