//! Every robot, one file of numbers each.

mod ant;
mod half_cheetah;
mod hopper;
mod walker2d;

use super::robot::Robot;
pub(crate) use ant::ANT;
pub(crate) use half_cheetah::HALF_CHEETAH;
pub(crate) use hopper::HOPPER;
pub(crate) use walker2d::WALKER;

/// All of them.
pub(super) static ROBOTS: [&Robot; 4] = [&HOPPER, &WALKER, &HALF_CHEETAH, &ANT];
