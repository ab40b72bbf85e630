//! Soft end of a joint's range: MuJoCo's constraint with the impedance of its defaults
//! (<https://mujoco.readthedocs.io/en/stable/modeling.html#solver-parameters>), `solimp` 0.9, 0.95,
//! 0.001, and critical damping.

const SOFTEST: f64 = 0.9;
const STIFFEST: f64 = 0.95;
/// Distance beyond the end at which it is stiffest.
const WIDTH: f64 = 0.001;

/// Ends of a joint's range, at the same distance on both sides of zero.
pub(super) struct SoftLimit {
    /// Distance of the ends.
    pub(super) end: f64,
    /// Time constant of the way back, in seconds: the first number of `solref`.
    pub(super) seconds: f64,
}

/// A joint at a moment.
pub(super) struct Joint {
    pub(super) position: f64,
    pub(super) velocity: f64,
    /// Its acceleration without the end of its range.
    pub(super) free: f64,
    /// Acceleration per unit of force.
    pub(super) mobility: f64,
}

impl SoftLimit {
    /// True if a position is beyond an end.
    pub(super) fn is_passed(&self, position: f64) -> bool {
        position.abs() > self.end
    }

    /// The force upon a joint beyond an end; `rest_mobility` is its mobility in the pose of rest.
    pub(super) fn force(&self, joint: &Joint, rest_mobility: f64) -> f64 {
        let inwards = -joint.position.signum();
        let beyond = joint.position.abs() - self.end;
        let depth = (beyond / WIDTH).min(1.0);
        let curve =
            if depth < 0.5 { 2.0 * depth.powi(2) } else { 1.0 - 2.0 * (1.0 - depth).powi(2) };
        let impedance = SOFTEST + (STIFFEST - SOFTEST) * curve;
        let stiffness = 1.0 / (STIFFEST * self.seconds).powi(2);
        let damping = 2.0 / (STIFFEST * self.seconds);
        let wanted = -damping * inwards * joint.velocity + stiffness * impedance * beyond;
        let softness = (1.0 - impedance) / impedance * rest_mobility;
        inwards * ((wanted - inwards * joint.free) / (joint.mobility + softness)).max(0.0)
    }
}
