//! Shapes of links, and what Bullet makes of them: mass, box of inertia, contact margin.
//!
//! The inertia of a link is that of the box around its shapes. How large a box Bullet takes
//! depends on how the model gives the capsule. By its two ends: the tight box, grown by 4 cm on
//! every side. By center and angle: the box of the upright capsule, turned, and the box around that.

use rapier3d::prelude::*;

/// Margin of the box around a capsule that is given by its ends.
const MARGIN: f32 = 0.04;
/// Mass of a cubic meter.
const DENSITY: f32 = 1000.0;
/// Share of a link's reach within which it touches the floor.
const CONTACT_MARGIN: f32 = 0.02;

/// One shape of a link, in the pose of rest: meters, radians.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A rod with round ends.
    Rod { from: [f32; 3], to: [f32; 3], radius: f32 },
    /// A rod in the plane y = 0, given by its middle and its turn around y away from upright.
    Turned { middle: [f32; 3], turn: f32, half_length: f32, radius: f32 },
    /// A ball.
    Ball { center: [f32; 3], radius: f32 },
}

/// Lower and upper corner of a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    low: Vector,
    high: Vector,
}

impl Shape {
    pub(super) fn radius(&self) -> f32 {
        match *self {
            Shape::Rod { radius, .. }
            | Shape::Turned { radius, .. }
            | Shape::Ball { radius, .. } => radius,
        }
    }

    /// The centers of its round ends; those of a ball are the same.
    pub(super) fn ends(&self) -> [Vector; 2] {
        match *self {
            Shape::Rod { from, to, .. } => [from.into(), to.into()],
            Shape::Turned { middle, turn, half_length, .. } => {
                let half = Vector::new(turn.sin(), 0.0, turn.cos()) * half_length;
                let middle = Vector::from(middle);
                // Bullet looks for the lowest point at the upper end first.
                [middle + half, middle - half]
            }
            Shape::Ball { center, .. } => [center.into(); 2],
        }
    }

    /// Kilograms.
    pub(super) fn mass(&self) -> f32 {
        let ([from, to], radius) = (self.ends(), self.radius());
        let area = std::f32::consts::PI * radius * radius;
        DENSITY * area * ((to - from).length() + 4.0 / 3.0 * radius)
    }

    /// The box that Bullet puts around it.
    fn bounds(&self) -> Bounds {
        let ([from, to], radius) = (self.ends(), self.radius());
        match *self {
            Shape::Rod { .. } => {
                let reach = Vector::splat(radius + MARGIN);
                Bounds { low: from.min(to) - reach, high: from.max(to) + reach }
            }
            Shape::Turned { middle, turn, half_length, .. } => {
                let (across, along) = (radius, half_length + radius);
                let (sine, cosine) = (turn.sin().abs(), turn.cos().abs());
                let reach = Vector::new(
                    cosine * across + sine * along,
                    across,
                    sine * across + cosine * along,
                );
                let middle = Vector::from(middle);
                Bounds { low: middle - reach, high: middle + reach }
            }
            Shape::Ball { .. } => {
                Bounds { low: from - Vector::splat(radius), high: from + Vector::splat(radius) }
            }
        }
    }

    /// The box that Bullet puts around several shapes.
    pub(super) fn bounds_of(shapes: &[Shape]) -> Bounds {
        let all = shapes.iter().map(Shape::bounds);
        let joined =
            |a: Bounds, b: Bounds| Bounds { low: a.low.min(b.low), high: a.high.max(b.high) };
        all.reduce(joined).expect("a link has a shape")
    }

    /// Moments of inertia of a link made of these shapes, around axes through its center of mass.
    pub(super) fn inertia(shapes: &[Shape], mass: f32) -> Vector {
        if let [Shape::Ball { radius, .. }] = *shapes {
            return Vector::splat(0.4 * mass * radius * radius);
        }
        let Bounds { low, high } = Shape::bounds_of(shapes);
        let squares = (high - low) * (high - low);
        let sums = Vector::new(squares.y + squares.z, squares.x + squares.z, squares.x + squares.y);
        sums * (mass / 12.0)
    }
}

impl Bounds {
    pub(super) fn middle(&self) -> Vector {
        (self.low + self.high) / 2.0
    }

    /// Distance to the floor within which a link in this box, turning around `center`, touches it.
    pub(super) fn contact_margin(&self, center: Vector) -> f32 {
        let reach = (self.middle() - center).length() + (self.high - self.low).length() / 2.0;
        CONTACT_MARGIN * reach
    }
}
