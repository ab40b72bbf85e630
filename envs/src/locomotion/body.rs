//! A robot's body in its world: reduced-coordinate joints, torques, a floor.
//!
//! The numbers that make it move like Bullet's: 4 substeps per decision with torques held; density
//! 1000; every link damped by `m v (0.04 + 0.04 |v|)`, likewise when turning; friction and
//! restitution of a contact the product of both sides'; links do not collide with one another;
//! every substep solved anew, without the impulses of the one before. Inertias and margins are in
//! `shape.rs`, contacts in `footing.rs`, the making of a world in `building.rs`.

use rapier3d::prelude::*;

use super::building::{self, HINGE_AXIS, LimbBody, Part, Snapshot};
use super::footing::Footing;
use super::robot::{Robot, Root, SUBSTEPS, TIME_STEP};
use super::shape::Shape;

/// Damping by speed, and by its square.
const DAMPING: f32 = 0.04;
/// The greatest speed of a coordinate, in meters or radians per second.
const MAX_SPEED: f32 = 100.0;

/// A torso above or below this was thrown there by an error, in meters.
const MAX_HEIGHT: f32 = 100.0;

/// A hinge further beyond its limit than this is not turned back.
const MAX_LIMIT_CORRECTION: f32 = 0.04;
/// A hinge this close to its limit is at it: rounding does not choose.
const AT_LIMIT: f32 = 1e-6;

/// A robot's body in a world of its own.
pub(super) struct Body {
    world: PhysicsWorld,
    torso: RigidBodyHandle,
    limbs: Vec<LimbBody>,
    parts: Vec<Part>,
    footing: Footing,
    /// Every link's shapes as numbered in the footing: of the torso first, then of every limb.
    soles: Vec<Vec<usize>>,
    /// The world at rest.
    start: Snapshot,
    /// Poses as the original observes them.
    seen: Poses,
}

/// The world holds numbers that no world has.
#[derive(Debug)]
pub(super) struct Broken;

/// Position of a body.
#[derive(Clone, Copy)]
pub(super) struct Poses {
    /// The torso.
    pub(super) torso: Pose,
    /// The mean of what the original counts as parts.
    pub(super) mean_of_parts: Vector,
}

impl Body {
    /// A body at rest, its joints at zero.
    pub(super) fn new(robot: &Robot, gravity: f32) -> Self {
        let built = building::build(robot, gravity);
        let mut body = Body {
            start: Snapshot::of(&built.world),
            world: built.world,
            torso: built.torso,
            limbs: built.limbs,
            parts: built.parts,
            footing: built.footing,
            soles: built.soles,
            seen: Poses { torso: Pose::IDENTITY, mean_of_parts: Vector::ZERO },
        };
        body.look(robot);
        body
    }

    /// Restores the pose of rest, with the joints at the given angles.
    pub(super) fn reset(&mut self, robot: &Robot, angles: &[f32]) {
        self.start.restore(&mut self.world);
        self.footing.forget();
        let multibody = multibody(&mut self.world, self.torso);
        let mut displacements = vec![0.0; multibody.ndofs() - angles.len()];
        displacements.extend_from_slice(angles);
        multibody.apply_displacements(&displacements);
        self.place();
        self.look(robot);
    }

    /// Sets the gravity, in meters per square second.
    pub(super) fn set_gravity(&mut self, gravity: f32) {
        self.world.gravity = Vector::new(0.0, 0.0, -gravity);
    }

    /// Applies torques for one decision. A world that broke must be reset.
    pub(super) fn step(&mut self, robot: &Robot, action: &[f32]) -> Result<(), Broken> {
        for _ in 0..SUBSTEPS {
            self.look(robot);
            self.substep(robot, action)?;
        }
        if matches!(robot.root, Root::Free) {
            // The original tells the present pose of a base, and the one before of all links.
            self.seen.torso = *self.world.bodies[self.torso].position();
        }
        Ok(())
    }

    fn substep(&mut self, robot: &Robot, action: &[f32]) -> Result<(), Broken> {
        self.damp();
        for (i, limb) in robot.limbs.iter().enumerate() {
            self.turn(i, limb.torque * action[i].clamp(-1.0, 1.0));
            self.limit(i, limb.limits);
        }
        self.footing.find(&self.world.bodies);
        self.world.step_with_events(&self.footing, &());
        // The engine takes bodies out of the world that are nowhere.
        if !self.world.physics_pipeline.quarantine().is_empty() {
            return Err(Broken);
        }
        self.slow_down();
        self.gear();
        let height = self.world.bodies[self.torso].translation().z;
        if (-MAX_HEIGHT..MAX_HEIGHT).contains(&height) { Ok(()) } else { Err(Broken) }
    }

    /// Observed positions of the torso and of the mean of all parts.
    pub(super) fn seen(&self) -> Poses {
        self.seen
    }

    /// The velocity of the torso's center of mass. The engine brings the velocities of links up to
    /// date at the start of a substep only; those of the joints are the present ones.
    pub(super) fn velocity(&self) -> Vector {
        let (multibody, link) = self.link(self.torso);
        let twist = multibody.body_jacobian(link.link_id()) * multibody.generalized_velocity();
        Vector::new(twist[0], twist[1], twist[2])
    }

    /// Angle and angular velocity of a limb's hinge.
    pub(super) fn joint(&self, limb: usize) -> (f32, f32) {
        let (multibody, link) = self.link(self.limbs[limb].body);
        let speed = multibody.joint_velocity(link)[0] / self.limbs[limb].gear;
        (link.joint().coords()[HINGE_AXIS as usize], speed)
    }

    /// True if a limb touches the floor.
    pub(super) fn touches_floor(&self, limb: usize) -> bool {
        self.soles[limb + 1].iter().any(|&sole| self.footing.touches(sole))
    }

    /// Every shape of every link, the torso first: the link's number, the ends of the shape.
    pub(super) fn shapes<'a>(
        &'a self,
        robot: &'a Robot,
    ) -> impl Iterator<Item = (usize, &'a Shape, [Vector; 2])> {
        let torso = (self.torso, &robot.torso);
        let limbs = self.limbs.iter().zip(robot.limbs).map(|(body, limb)| (body.body, &limb.link));
        let links = std::iter::once(torso).chain(limbs).enumerate();
        let shapes = links.flat_map(move |(number, (body, link))| {
            let welded = if number == 0 { robot.welded } else { &[] };
            link.shapes.iter().chain(welded).map(move |shape| (number, body, link.center(), shape))
        });
        shapes.map(|(number, body, center, shape)| {
            let position = self.world.bodies[body].position();
            (number, shape, shape.ends().map(|end| position * (end - center)))
        })
    }

    /// Makes every coordinate move as fast as this.
    #[cfg(test)]
    pub(super) fn poison(&mut self, speed: f32) {
        multibody(&mut self.world, self.torso).generalized_velocity_mut().fill(speed);
    }

    #[cfg(test)]
    pub(super) fn center_of_mass(&self) -> Vector {
        let bodies = || self.world.bodies.iter().map(|(_, body)| body);
        let mass: f32 = bodies().map(RigidBody::mass).sum();
        bodies().map(|body| body.translation() * body.mass()).sum::<Vector>() / mass
    }

    /// Notes what is seen at this moment.
    fn look(&mut self, robot: &Robot) {
        let bodies = &self.world.bodies;
        let sum: Vector =
            self.parts.iter().map(|part| bodies[part.body].position() * part.at).sum();
        // The floor is a part too, at the origin.
        let mean_of_parts = sum / (self.parts.len() + 1) as f32;
        debug_assert_eq!(self.limbs.len(), robot.limbs.len());
        self.seen = Poses { torso: *bodies[self.torso].position(), mean_of_parts };
    }

    /// Places every link according to the joints.
    fn place(&mut self) {
        let id = *self.world.multibody_joints.rigid_body_link(self.torso).expect("a link");
        let multibody = self.world.multibody_joints.get_multibody_mut(id.multibody);
        let multibody = multibody.expect("joints stay");
        multibody.forward_kinematics(&self.world.bodies, false);
        multibody.update_rigid_bodies(&mut self.world.bodies, true);
    }

    /// Replaces the forces of the last substep by the damping of this one.
    fn damp(&mut self) {
        let links = self.limbs.iter().map(|limb| limb.body);
        for handle in std::iter::once(self.torso).chain(links) {
            let body = &mut self.world.bodies[handle];
            body.reset_forces(false);
            body.reset_torques(false);
            let (velocity, turning) = (body.linvel(), body.angvel());
            let resistance = |speed: f32| DAMPING + DAMPING * speed;
            let inertia = body.mass_properties().effective_angular_inertia();
            let torque = inertia * turning * resistance(turning.length());
            body.add_force(velocity * -(body.mass() * resistance(velocity.length())), false);
            body.add_torque(-torque, false);
        }
    }

    /// Turns a limb against its parent.
    fn turn(&mut self, limb: usize, torque: f32) {
        let LimbBody { body, parent, axis, gear } = self.limbs[limb];
        let bodies = &mut self.world.bodies;
        // The axis at rest is an axis of both links: they turn around it.
        let torque = *bodies[body].rotation() * axis * (torque / gear);
        bodies[body].add_torque(torque, false);
        bodies[parent].add_torque(-torque, false);
    }

    /// Holds a hinge within its limits as Bullet does: one that is at a limit, or a little beyond
    /// it, is held or turned back gently; one that is far beyond, after a reset or a hard blow, is
    /// only held. All others are free.
    fn limit(&mut self, limb: usize, [low, high]: [f32; 2]) {
        let id =
            *self.world.multibody_joints.rigid_body_link(self.limbs[limb].body).expect("a link");
        let multibody = self.world.multibody_joints.get_multibody_mut(id.multibody);
        let link = multibody.expect("joints stay").link_mut(id.id).expect("links stay");
        let angle = link.joint.coords()[HINGE_AXIS as usize];
        let (below, above) = (low - angle, angle - high);
        // The engine holds a hinge from the next number beyond its limit on.
        let limits = if below.max(above) < -AT_LIMIT {
            link.joint.data.limit_axes = JointAxesMask::empty();
            return;
        } else if below > above {
            let limit = if below > MAX_LIMIT_CORRECTION { angle } else { low.max(angle) };
            [limit.max(angle.next_up()), f32::MAX]
        } else {
            let limit = if above > MAX_LIMIT_CORRECTION { angle } else { high.min(angle) };
            [-f32::MAX, limit.min(angle.next_down())]
        };
        link.joint.data.set_limits(HINGE_AXIS, limits);
    }

    /// Keeps every coordinate within the speed that Bullet allows.
    fn slow_down(&mut self) {
        let multibody = multibody(&mut self.world, self.torso);
        for speed in multibody.generalized_velocity_mut().iter_mut() {
            *speed = speed.clamp(-MAX_SPEED, MAX_SPEED);
        }
    }

    /// Takes back what a hinge with a gear has turned too far.
    fn gear(&mut self) {
        if self.limbs.iter().all(|limb| limb.gear == 1.0) {
            return;
        }
        let gears = self.limbs.iter().map(|limb| limb.gear);
        let multibody = multibody(&mut self.world, self.torso);
        let speeds = multibody.generalized_velocity();
        let root = multibody.ndofs() - gears.len();
        let mut displacements = vec![0.0; root];
        let seconds = TIME_STEP / SUBSTEPS as f32;
        let back =
            gears.enumerate().map(|(i, gear)| speeds[root + i] * seconds * (1.0 / gear - 1.0));
        displacements.extend(back);
        multibody.apply_displacements(&displacements);
        self.place();
    }

    fn link(&self, body: RigidBodyHandle) -> (&Multibody, &MultibodyLink) {
        let id = self.world.multibody_joints.rigid_body_link(body).expect("a link");
        let multibody = self.world.multibody_joints.get_multibody(id.multibody);
        let multibody = multibody.expect("joints stay");
        (multibody, multibody.link(id.id).expect("links stay"))
    }
}

fn multibody(world: &mut PhysicsWorld, torso: RigidBodyHandle) -> &mut Multibody {
    let id = *world.multibody_joints.rigid_body_link(torso).expect("a link");
    world.multibody_joints.get_multibody_mut(id.multibody).expect("joints stay")
}

/// Fall and forward drift of a robot's center of mass under constant actions, from rest.
#[cfg(test)]
pub(crate) fn flight(robot: &Robot, action: &[f32], steps: usize) -> (f32, f32) {
    let mut body = Body::new(robot, 9.8);
    let start = body.center_of_mass();
    (0..steps).for_each(|_| body.step(robot, action).unwrap());
    let moved = body.center_of_mass() - start;
    (-moved.z, moved.x)
}
