//! Ant: a ball on four legs, free to move in all directions.
//!
//! The axes of the ankles are longer than 1 in the original's model; `locomotion/robot.rs` says what
//! that means in Bullet. The ankles start outside of their limits.

use super::super::robot::{Limb, Link, Parent, Robot, Root, Side, Stance};
use super::super::shape::Shape;

/// Height of everything at rest.
const Z: f32 = 0.75;
const HIP_LIMITS: [f32; 2] = [-degrees(40.0), degrees(40.0)];
const DOWN: [f32; 2] = [degrees(30.0), degrees(100.0)];
const UP: [f32; 2] = [-degrees(100.0), -degrees(30.0)];
const TORQUE: f32 = 250.0;

/// Hip and ankle of the front left, front right, back left and back right leg, as the original
/// names them.
pub(crate) static ANT: Robot = Robot {
    name: "ant",
    caption: "walk to the right on four legs",
    root: Root::Free,
    torso: Link {
        shapes: &[Shape::Ball { center: [0.0, 0.0, Z], radius: 0.25 }],
        center: None,
        mass: None,
    },
    welded: &[
        rod([0.0, 0.0], [0.2, 0.2]),
        rod([0.0, 0.0], [-0.2, 0.2]),
        rod([0.0, 0.0], [-0.2, -0.2]),
        rod([0.0, 0.0], [0.2, -0.2]),
    ],
    limbs: &[
        hip("aux_1", [0.2, 0.2], &[rod([0.2, 0.2], [0.4, 0.4])], Side::Far),
        ankle(
            "front_left_foot",
            0,
            [0.4, 0.4],
            -1.0,
            DOWN,
            &[rod([0.4, 0.4], [0.8, 0.8])],
            Side::Far,
        ),
        hip("aux_2", [-0.2, 0.2], &[rod([-0.2, 0.2], [-0.4, 0.4])], Side::Far),
        ankle(
            "front_right_foot",
            2,
            [-0.4, 0.4],
            1.0,
            UP,
            &[rod([-0.4, 0.4], [-0.8, 0.8])],
            Side::Far,
        ),
        hip("aux_3", [-0.2, -0.2], &[rod([-0.2, -0.2], [-0.4, -0.4])], Side::Near),
        ankle(
            "left_back_foot",
            4,
            [-0.4, -0.4],
            -1.0,
            UP,
            &[rod([-0.4, -0.4], [-0.8, -0.8])],
            Side::Near,
        ),
        hip("aux_4", [0.2, -0.2], &[rod([0.2, -0.2], [0.4, -0.4])], Side::Near),
        ankle(
            "right_back_foot",
            6,
            [0.4, -0.4],
            1.0,
            DOWN,
            &[rod([0.4, -0.4], [0.8, -0.8])],
            Side::Near,
        ),
    ],
    feet: &[1, 3, 5, 7],
    friction: 1.5,
    stance: Stance::Above { min_height: 0.26 },
};

const fn hip(
    name: &'static str,
    [x, y]: [f32; 2],
    shapes: &'static [Shape; 1],
    side: Side,
) -> Limb {
    Limb {
        name,
        parent: Parent::Torso,
        hinge: [x, y, Z],
        axis: [0.0, 0.0, 1.0],
        limits: HIP_LIMITS,
        torque: TORQUE,
        link: Link::rod(shapes),
        side,
    }
}

const fn ankle(
    name: &'static str,
    hip: usize,
    [x, y]: [f32; 2],
    axis_x: f32,
    limits: [f32; 2],
    shapes: &'static [Shape; 1],
    side: Side,
) -> Limb {
    Limb {
        name,
        parent: Parent::Limb(hip),
        hinge: [x, y, Z],
        axis: [axis_x, 1.0, 0.0],
        limits,
        torque: TORQUE,
        link: Link::rod(shapes),
        side,
    }
}

const fn degrees(degrees: f32) -> f32 {
    degrees * std::f32::consts::PI / 180.0
}

const fn rod([x0, y0]: [f32; 2], [x1, y1]: [f32; 2]) -> Shape {
    Shape::Rod { from: [x0, y0, Z], to: [x1, y1, Z], radius: 0.08 }
}
