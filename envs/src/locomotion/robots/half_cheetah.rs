//! HalfCheetah: a back with a head, a hind and a front leg.
//!
//! The original's model gives its limbs by center and angle. Bullet then leaves their center of
//! mass at the joint, and takes the weight of 10 kg that is written at the feet: both are kept.

use super::super::robot::{Limb, Link, Parent, Robot, Root, Side, Stance};
use super::super::shape::Shape;

/// Half the thickness of every part.
const RADIUS: f32 = 0.046;

/// Joints of the hind leg, then of the front leg.
pub(crate) static HALF_CHEETAH: Robot = Robot {
    name: "half-cheetah",
    caption: "run to the right on the feet",
    root: Root::Planar([0.0, 0.0, 0.7]),
    torso: Link {
        shapes: &[
            Shape::Rod { from: [-0.5, 0.0, 0.7], to: [0.5, 0.0, 0.7], radius: RADIUS },
            turned([0.6, 0.8], 0.87, 0.15),
        ],
        center: Some([0.0, 0.0, 0.7]),
        mass: None,
    },
    welded: &[],
    limbs: &[
        limb(
            "bthigh",
            Parent::Torso,
            [-0.5, 0.7],
            [-0.52, 1.05],
            108.0,
            &[turned([-0.4, 0.57], -3.8, 0.145)],
        ),
        limb(
            "bshin",
            Parent::Limb(0),
            [-0.34, 0.45],
            [-0.785, 0.785],
            81.0,
            &[turned([-0.48, 0.38], -2.03, 0.15)],
        ),
        foot(
            "bfoot",
            1,
            [-0.62, 0.31],
            [-0.4, 0.785],
            54.0,
            &[turned([-0.59, 0.213], -0.27, 0.094)],
        ),
        limb(
            "fthigh",
            Parent::Torso,
            [0.5, 0.7],
            [-1.5, 0.8],
            126.0,
            &[turned([0.43, 0.58], 0.52, 0.133)],
        ),
        limb(
            "fshin",
            Parent::Limb(3),
            [0.36, 0.46],
            [-1.2, 1.1],
            54.0,
            &[turned([0.425, 0.37], -0.6, 0.106)],
        ),
        foot("ffoot", 4, [0.49, 0.28], [-3.1, -0.3], 27.0, &[turned([0.535, 0.21], -0.6, 0.07)]),
    ],
    // Front foot, shin, thigh; hind foot, shin, thigh.
    feet: &[5, 4, 3, 2, 1, 0],
    friction: 0.8,
    stance: Stance::OnFeet { max_pitch: 1.0, feet: [0, 3] },
};

const fn limb(
    name: &'static str,
    parent: Parent,
    [x, z]: [f32; 2],
    limits: [f32; 2],
    torque: f32,
    shapes: &'static [Shape; 1],
) -> Limb {
    Limb {
        name,
        parent,
        hinge: [x, 0.0, z],
        axis: [0.0, 1.0, 0.0],
        limits,
        torque,
        link: Link { shapes, center: Some([x, 0.0, z]), mass: None },
        side: Side::Near,
    }
}

const fn foot(
    name: &'static str,
    shin: usize,
    hinge: [f32; 2],
    limits: [f32; 2],
    torque: f32,
    shapes: &'static [Shape; 1],
) -> Limb {
    let mut foot = limb(name, Parent::Limb(shin), hinge, limits, torque, shapes);
    foot.link.mass = Some(10.0);
    foot
}

const fn turned([x, z]: [f32; 2], turn: f32, half_length: f32) -> Shape {
    Shape::Turned { middle: [x, 0.0, z], turn, half_length, radius: RADIUS }
}
