//! Walker2D: a torso on two legs. Both lie in one plane and pass through one another.

use std::f32::consts::FRAC_PI_4;

use super::super::robot::{Limb, Link, Parent, Robot, Root, Side, Stance};
use super::super::shape::Shape;

const THIGH: [Shape; 1] = [rod([0.0, 0.0, 1.05], [0.0, 0.0, 0.6], 0.05)];
const LEG: [Shape; 1] = [rod([0.0, 0.0, 0.6], [0.0, 0.0, 0.1], 0.04)];
const FOOT: [Shape; 1] = [rod([0.0, 0.0, 0.1], [0.2, 0.0, 0.1], 0.06)];

/// The right leg, then the left one in the same place.
pub(crate) static WALKER: Robot = Robot {
    name: "walker2d",
    caption: "walk to the right without falling",
    root: Root::Planar([0.0, 0.0, 0.0]),
    torso: Link::rod(&[rod([0.0, 0.0, 1.45], [0.0, 0.0, 1.05], 0.05)]),
    welded: &[],
    limbs: &[
        thigh(Side::Near),
        leg(0, Side::Near),
        foot(1, Side::Near),
        thigh(Side::Far),
        leg(3, Side::Far),
        foot(4, Side::Far),
    ],
    feet: &[2, 5],
    friction: 0.8,
    stance: Stance::Upright { min_height: 0.8, max_pitch: 1.0 },
};

const fn thigh(side: Side) -> Limb {
    Limb {
        name: match side {
            Side::Near => "thigh",
            Side::Far => "thigh_left",
        },
        parent: Parent::Torso,
        hinge: [0.0, 0.0, 1.05],
        axis: [0.0, -1.0, 0.0],
        limits: [-2.618, 0.0],
        torque: 40.0,
        link: Link::rod(&THIGH),
        side,
    }
}

const fn leg(thigh: usize, side: Side) -> Limb {
    Limb {
        name: match side {
            Side::Near => "leg",
            Side::Far => "leg_left",
        },
        parent: Parent::Limb(thigh),
        hinge: [0.0, 0.0, 0.6],
        axis: [0.0, -1.0, 0.0],
        limits: [-2.618, 0.0],
        torque: 40.0,
        link: Link::rod(&LEG),
        side,
    }
}

const fn foot(leg: usize, side: Side) -> Limb {
    Limb {
        name: match side {
            Side::Near => "foot",
            Side::Far => "foot_left",
        },
        parent: Parent::Limb(leg),
        hinge: [0.0, 0.0, 0.1],
        axis: [0.0, -1.0, 0.0],
        limits: [-FRAC_PI_4, FRAC_PI_4],
        torque: 12.0,
        link: Link::rod(&FOOT),
        side,
    }
}

const fn rod(from: [f32; 3], to: [f32; 3], radius: f32) -> Shape {
    Shape::Rod { from, to, radius }
}
