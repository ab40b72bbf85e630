//! Numbers of a robot's body, for tables.

use super::robots::ROBOTS;

/// A rigid part of a robot, and the hinge above it.
#[derive(Clone, Debug)]
pub struct LinkNumbers {
    /// Its name in the original.
    pub name: &'static str,
    /// Kilograms.
    pub mass: f32,
    /// Moments of inertia around x, y and z through its center of mass, in kg m².
    pub inertia: [f32; 3],
    /// Least and greatest angle of the hinge, in radians; none above the torso.
    pub limits: Option<[f32; 2]>,
    /// Torque of the hinge at an action of 1, in N m; 0 above the torso.
    pub torque: f32,
}

/// The links of a robot, the torso first; none if there is no such robot.
pub fn anatomy(robot: &str) -> Option<Vec<LinkNumbers>> {
    let robot = ROBOTS.iter().find(|known| known.name == robot)?;
    let torso = LinkNumbers {
        name: "torso",
        mass: robot.torso.mass(),
        inertia: robot.torso.inertia().into(),
        limits: None,
        torque: 0.0,
    };
    let limbs = robot.limbs.iter().map(|limb| LinkNumbers {
        name: limb.name,
        mass: limb.link.mass(),
        inertia: limb.link.inertia().into(),
        limits: Some(limb.limits),
        torque: limb.torque,
    });
    Some(std::iter::once(torso).chain(limbs).collect())
}
