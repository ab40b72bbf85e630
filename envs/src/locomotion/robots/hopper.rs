//! Hopper: a torso on one leg with thigh, leg and foot.

use std::f32::consts::FRAC_PI_4;

use super::super::robot::{Limb, Link, Parent, Robot, Root, Side, Stance};
use super::super::shape::Shape;

/// Thigh, leg and foot hang below one another in the plane y = 0.
pub(crate) static HOPPER: Robot = Robot {
    name: "hopper",
    caption: "hop to the right without falling",
    root: Root::Planar([0.0, 0.0, 0.0]),
    torso: Link::rod(&[rod([0.0, 0.0, 1.45], [0.0, 0.0, 1.05], 0.05)]),
    welded: &[],
    limbs: &[
        Limb {
            name: "thigh",
            parent: Parent::Torso,
            hinge: [0.0, 0.0, 1.05],
            axis: [0.0, -1.0, 0.0],
            limits: [-2.618, 0.0],
            torque: 75.0,
            link: Link::rod(&[rod([0.0, 0.0, 1.05], [0.0, 0.0, 0.6], 0.05)]),
            side: Side::Near,
        },
        Limb {
            name: "leg",
            parent: Parent::Limb(0),
            hinge: [0.0, 0.0, 0.6],
            axis: [0.0, -1.0, 0.0],
            limits: [-2.618, 0.0],
            torque: 75.0,
            link: Link::rod(&[rod([0.0, 0.0, 0.6], [0.0, 0.0, 0.1], 0.04)]),
            side: Side::Near,
        },
        Limb {
            name: "foot",
            parent: Parent::Limb(1),
            hinge: [0.0, 0.0, 0.1],
            axis: [0.0, -1.0, 0.0],
            limits: [-FRAC_PI_4, FRAC_PI_4],
            torque: 75.0,
            link: Link::rod(&[rod([-0.13, 0.0, 0.1], [0.26, 0.0, 0.1], 0.06)]),
            side: Side::Near,
        },
    ],
    feet: &[2],
    friction: 0.8,
    stance: Stance::Upright { min_height: 0.8, max_pitch: 1.0 },
};

const fn rod(from: [f32; 3], to: [f32; 3], radius: f32) -> Shape {
    Shape::Rod { from, to, radius }
}

#[cfg(test)]
mod tests {
    use super::super::super::body::flight;
    use super::*;

    #[test]
    fn in_flight_the_center_of_mass_falls_freely_whatever_the_legs_do() {
        // 36 substeps of 4 ms: 0.111 m. The turning leg costs the integrator a few percent of it;
        // Bullet's falls 0.130 m and drifts 8 mm under the same torques.
        let (fall, drift) = flight(&HOPPER, &[-0.3, -0.5, 0.2], 9);
        assert!((fall - 0.111).abs() < 0.012, "it fell {fall}");
        assert!(drift.abs() < 0.002, "it drifted {drift}");
    }
}
