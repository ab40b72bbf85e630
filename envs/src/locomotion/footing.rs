//! Points at which a robot touches the floor, found one at a time.
//!
//! Bullet looks for the lowest point of a shape only, once a substep, and remembers the points
//! that it found before for as long as they stay near the floor and where they were. A foot that
//! lands flat therefore lands on one of its ends first. The engine here finds both ends of a
//! capsule at once; [`Footing`] keeps from it those that Bullet would not have found yet.

use rapier3d::prelude::*;

use super::shape::Shape;

/// A lower end is one that is lower by more than this: rounding does not choose.
const LOWER: f32 = 1e-6;

/// The contact points of all shapes of a robot.
#[derive(Clone, Debug, Default)]
pub(super) struct Footing {
    soles: Vec<Sole>,
}

/// The two ends of a shape that may stand on the floor.
#[derive(Clone, Debug)]
struct Sole {
    body: RigidBodyHandle,
    /// Centers of the round ends, in the body's frame.
    ends: [Vector; 2],
    radius: f32,
    /// Distance within which an end touches.
    margin: f32,
    /// Present positions of the ends.
    at: [Vector; 2],
    /// Position of an end that touches when it was found last.
    found: [Option<Vector>; 2],
}

impl Footing {
    /// Adds a shape of a body whose frame at rest is at `center`; returns its number.
    pub(super) fn add(
        &mut self,
        body: RigidBodyHandle,
        shape: &Shape,
        center: Vector,
        margin: f32,
    ) -> usize {
        let ends = shape.ends().map(|end| end - center);
        let radius = shape.radius();
        self.soles.push(Sole { body, ends, radius, margin, at: ends, found: [None; 2] });
        self.soles.len() - 1
    }

    /// Forgets everything that was found.
    pub(super) fn forget(&mut self) {
        self.soles.iter_mut().for_each(|sole| sole.found = [None; 2]);
    }

    /// Looks for contacts at the present positions of the bodies.
    pub(super) fn find(&mut self, bodies: &RigidBodySet) {
        for sole in &mut self.soles {
            let position = bodies[sole.body].position();
            sole.at = sole.ends.map(|end| position * end);
            let low = usize::from(sole.at[1].z < sole.at[0].z - LOWER);
            for end in 0..2 {
                let at = sole.at[end];
                let near = at.z - sole.radius < sole.margin;
                let stays = |was: Vector| (at - was).truncate().length() <= sole.margin;
                sole.found[end] = match sole.found[end] {
                    _ if !near => None,
                    _ if end == low => Some(at),
                    Some(was) if stays(was) => Some(was),
                    _ => None,
                };
            }
        }
    }

    /// True if a shape touches the floor.
    pub(super) fn touches(&self, sole: usize) -> bool {
        self.soles[sole].found.iter().any(Option::is_some)
    }
}

impl Sole {
    /// True if the contact at this point of the floor was found.
    fn holds(&self, point: Vector) -> bool {
        let distance = |end: usize| (self.at[end] - point).truncate().length_squared();
        self.found[usize::from(distance(1) < distance(0))].is_some()
    }
}

impl PhysicsHooks for Footing {
    fn modify_solver_contacts(&self, context: &mut ContactModificationContext<'_>) {
        let [first, second] = [context.collider1, context.collider2];
        let sole = |collider: ColliderHandle| context.colliders[collider].user_data as usize;
        // The floor's number is that of no sole.
        let number = sole(first).min(sole(second));
        let sole = &self.soles[number];
        let manifold = context.rigid_mut().expect("robots and floors are rigid");
        manifold.solver_contacts.retain(|contact| sole.holds(contact.anchor1));
    }
}
