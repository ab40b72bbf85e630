//! Robot: the numbers of a body, and how long a decision lasts.

use rapier3d::math::Vector;

use super::shape::Shape;

/// Numbers of an observation before the joints'.
pub(super) const TORSO_NUMBERS: usize = 8;

/// Seconds between two decisions.
pub const TIME_STEP: f32 = 0.0165;

/// Physics steps of one decision.
pub(super) const SUBSTEPS: usize = 4;

/// A robot: all numbers in meters, kilograms, newton meters, radians, in the pose of rest.
#[derive(Debug)]
pub(crate) struct Robot {
    /// Its name in the registry.
    pub(crate) name: &'static str,
    /// The task, in a few words.
    pub(crate) caption: &'static str,
    /// Freedom of the torso.
    pub(crate) root: Root,
    /// The body whose height and pitch are watched.
    pub(crate) torso: Link,
    /// Shapes that are welded to the torso; each has a mass of its own, and counts as a part.
    pub(crate) welded: &'static [Shape],
    /// The other links, each after its parent, in the order of actions.
    pub(crate) limbs: &'static [Limb],
    /// The limbs whose contact with the floor is observed, in the order of the observation.
    pub(crate) feet: &'static [usize],
    /// Friction of every link; the floor's is 0.8, and the two are multiplied.
    pub(crate) friction: f32,
    /// The rule by which it stands or has fallen.
    pub(crate) stance: Stance,
}

/// Freedom of a torso.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Root {
    /// It slides in x and z, and turns around y at this point.
    Planar([f32; 3]),
    /// It moves in every direction.
    Free,
}

/// A rigid part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) shapes: &'static [Shape],
    /// Its center of mass, where that is not the middle of its shape.
    pub(crate) center: Option<[f32; 3]>,
    /// Its mass, where that is not the shapes' volume times 1000.
    pub(crate) mass: Option<f32>,
}

/// A link below the torso, and the hinge it hangs on.
#[derive(Debug)]
pub(crate) struct Limb {
    /// Its name in the original.
    pub(crate) name: &'static str,
    /// The link above: the torso, or a limb before this one.
    pub(crate) parent: Parent,
    /// Position of the hinge.
    pub(crate) hinge: [f32; 3],
    /// The axis it turns around. Bullet takes an axis that is longer than 1 as it is: every
    /// force and speed is that of a hinge with a gear, and the angle that of one without.
    pub(crate) axis: [f32; 3],
    /// The angles it can take.
    pub(crate) limits: [f32; 2],
    /// The torque of an action of 1.
    pub(crate) torque: f32,
    /// The rigid part.
    pub(crate) link: Link,
    /// Side of the robot, for drawings.
    pub(crate) side: Side,
}

/// Parent of a limb.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    Torso,
    Limb(usize),
}

/// Side of a robot that a limb belongs to, seen from the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Near,
    Far,
}

/// The rule by which a robot stands or has fallen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stance {
    /// It ends when the torso is this low, or pitched as far.
    Upright { min_height: f32, max_pitch: f32 },
    /// It ends when the torso is this low.
    Above { min_height: f32 },
    /// It never ends; it pays to keep the pitch within this, and all but these feet, as numbered
    /// in the observation, off the floor.
    OnFeet { max_pitch: f32, feet: [usize; 2] },
}

impl Link {
    /// A link of one rod, its center of mass in the middle.
    pub(crate) const fn rod(shapes: &'static [Shape; 1]) -> Self {
        Link { shapes, center: None, mass: None }
    }

    pub(super) fn center(&self) -> Vector {
        let [from, to] = self.shapes[0].ends();
        self.center.map_or((from + to) / 2.0, Vector::from)
    }

    pub(super) fn mass(&self) -> f32 {
        self.mass.unwrap_or_else(|| self.shapes.iter().map(Shape::mass).sum())
    }

    /// Moments of inertia around the center of mass.
    pub(super) fn inertia(&self) -> Vector {
        Shape::inertia(self.shapes, self.mass())
    }
}

impl Robot {
    /// Numbers of the full observation.
    pub(crate) fn observation_len(&self) -> usize {
        TORSO_NUMBERS + 2 * self.limbs.len() + self.feet.len()
    }

    /// Indices of the numbers that are velocities; all others are positions or contacts.
    pub(super) fn velocities(&self) -> impl Iterator<Item = usize> {
        (3..6).chain((0..self.limbs.len()).map(|joint| TORSO_NUMBERS + 1 + 2 * joint))
    }

    /// Mass and moments of inertia of the torso with all that is welded to it. The latter lie
    /// symmetrically around its center, so that its axes remain those of inertia.
    pub(super) fn torso_mass(&self) -> (f32, Vector) {
        let center = self.torso.center();
        let mut total = (self.torso.mass(), self.torso.inertia());
        for shape in self.welded {
            let [from, to] = shape.ends();
            let (mass, arm) = (shape.mass(), (from + to) / 2.0 - center);
            let away = Vector::splat(arm.length_squared()) - arm * arm;
            total.0 += mass;
            total.1 += Shape::inertia(&[*shape], mass) + away * mass;
        }
        total
    }
}

impl Stance {
    /// True if the robot stands; `touching` are its feet.
    pub(super) fn holds(&self, height: f32, pitch: f32, touching: &[f32]) -> bool {
        match self {
            Stance::Upright { min_height, max_pitch } => {
                height > *min_height && pitch.abs() < *max_pitch
            }
            Stance::Above { min_height } => height > *min_height,
            Stance::OnFeet { max_pitch, feet } => {
                let others = touching.iter().enumerate().filter(|(foot, _)| !feet.contains(foot));
                pitch.abs() < *max_pitch && others.map(|(_, touches)| touches).all(|t| *t == 0.0)
            }
        }
    }

    /// True if an episode ends when the robot no longer stands.
    pub(super) fn ends(&self) -> bool {
        !matches!(self, Stance::OnFeet { .. })
    }
}
