//! Robot: the numbers of a body, and how long a decision lasts.

/// Numbers of an observation before the joints'.
pub(super) const TORSO_NUMBERS: usize = 8;

/// Seconds between two decisions.
pub const TIME_STEP: f32 = 0.0165;

/// A robot: all numbers in meters, kilograms, newton meters, radians, in the pose of rest.
#[derive(Debug)]
pub(crate) struct Robot {
    /// Its name in the registry.
    pub(crate) name: &'static str,
    /// The body whose height and pitch are watched. It slides and turns in the plane y = 0, around
    /// an axis through the origin.
    pub(crate) torso: Capsule,
    /// The other links, each after its parent.
    pub(crate) limbs: &'static [Limb],
    /// Friction of every link; the floor's is 0.8, and the two are multiplied.
    pub(crate) friction: f32,
    /// Massless parts of the original at the root, which count in the mean of all parts.
    pub(crate) root_parts: usize,
    /// Below this height of the torso the robot has fallen.
    pub(crate) min_height: f32,
    /// Beyond this pitch of the torso the robot has fallen.
    pub(crate) max_pitch: f32,
}

/// A link below the torso, and the hinge it hangs on.
#[derive(Debug)]
pub(crate) struct Limb {
    /// The link above: the torso, or a limb before this one.
    pub(crate) parent: Parent,
    /// Position of the hinge.
    pub(crate) hinge: [f32; 3],
    /// The axis it turns around.
    pub(crate) axis: [f32; 3],
    /// The angles it can take.
    pub(crate) limits: [f32; 2],
    /// The torque of an action of 1.
    pub(crate) torque: f32,
    /// Its shape.
    pub(crate) capsule: Capsule,
    /// Visibility of its contact with the floor.
    pub(crate) ground_contact: GroundContact,
}

/// Parent of a limb.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    Torso,
    Limb(usize),
}

/// Visibility of a limb's contact with the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroundContact {
    Hidden,
    Observed,
}

/// A rod with round ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capsule {
    pub(crate) from: [f32; 3],
    pub(crate) to: [f32; 3],
    pub(crate) radius: f32,
}

impl Robot {
    /// Numbers of the full observation.
    pub(crate) fn observation_len(&self) -> usize {
        TORSO_NUMBERS + 2 * self.limbs.len() + self.feet().count()
    }

    /// The limbs whose contact with the floor is observed.
    pub(super) fn feet(&self) -> impl Iterator<Item = usize> {
        let limbs = self.limbs.iter().enumerate();
        limbs.filter(|(_, limb)| limb.ground_contact == GroundContact::Observed).map(|(i, _)| i)
    }

    pub(super) fn has_fallen(&self, height: f32, pitch: f32) -> bool {
        height <= self.min_height || pitch.abs() >= self.max_pitch
    }
}
