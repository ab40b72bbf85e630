//! A robot's body in its world: reduced-coordinate joints, torques, a floor.
//!
//! The numbers that make it move like Bullet's: 4 substeps per decision with torques held; gravity
//! 9.8; density 1000; the inertia of a link that of the box around its capsule, grown by 4 cm on
//! every side; every link damped by `m v (0.04 + 0.04 |v|)`, likewise when turning; friction and
//! restitution of a contact the product of both sides'; links do not collide with one another.

use rapier3d::na::Unit;
use rapier3d::prelude::*;

use super::robot::{Capsule, Limb, Parent, Robot, TIME_STEP};

const SUBSTEPS: usize = 4;
const GRAVITY: f32 = 9.8;
const DENSITY: f32 = 1000.0;
/// Margin of the box of a link's inertia around its capsule.
const INERTIA_MARGIN: f32 = 0.04;
/// Damping by speed, and by its square.
const DAMPING: f32 = 0.04;
const FLOOR_FRICTION: f32 = 0.8;
/// The greatest speed of a coordinate, in meters or radians per second.
const MAX_SPEED: f32 = 100.0;
/// Distance to the floor within which a foot counts as touching it: Bullet's contact margin.
const TOUCH_DISTANCE: f32 = 0.005;

/// The axis of a hinge in its own frame.
const HINGE_AXIS: JointAxis = JointAxis::AngY;
/// A hinge further beyond its limit than this is not turned back.
const MAX_LIMIT_CORRECTION: f32 = 0.04;
/// Distance beyond a limit from which a hinge is held by it, when it is not turned back.
const HOLD: f32 = 1e-5;

const FLOOR: InteractionGroups =
    InteractionGroups::new(Group::GROUP_1, Group::GROUP_2, InteractionTestMode::And);
const LINK: InteractionGroups =
    InteractionGroups::new(Group::GROUP_2, Group::GROUP_1, InteractionTestMode::And);

/// A robot's body in a world of its own.
pub(super) struct Body {
    world: PhysicsWorld,
    floor: ColliderHandle,
    torso: RigidBodyHandle,
    root: MultibodyJointHandle,
    limbs: Vec<Link>,
    /// Poses before the last substep: what the original observes.
    seen: Poses,
}

/// Position of a body.
#[derive(Clone, Copy)]
pub(super) struct Poses {
    /// The torso.
    pub(super) torso: Pose,
    /// The mean of what the original counts as parts.
    pub(super) mean_of_parts: Vector,
}

/// A limb in the world.
struct Link {
    body: RigidBodyHandle,
    parent: RigidBodyHandle,
    collider: ColliderHandle,
    joint: MultibodyJointHandle,
}

impl Body {
    /// A body at rest, its joints at the given angles.
    pub(super) fn new(robot: &Robot, angles: &[f32]) -> Self {
        let mut world = PhysicsWorld::new();
        world.gravity = Vector::new(0.0, 0.0, -GRAVITY);
        world.integration_parameters = integration_parameters();
        let floor = ColliderBuilder::halfspace(Unit::new_unchecked(Vector::Z))
            .friction(FLOOR_FRICTION)
            .friction_combine_rule(CoefficientCombineRule::Multiply)
            .collision_groups(FLOOR);
        let floor = world.insert_collider(floor, None);

        let anchor = world.insert_body(RigidBodyBuilder::fixed());
        let (torso, _) = insert(&mut world, &robot.torso, robot.friction);
        let root = world.multibody_joints.insert(anchor, torso, planar(&robot.torso), true);
        let mut body = Body {
            floor,
            torso,
            root: root.expect("a chain of links has no loop"),
            limbs: Vec::with_capacity(robot.limbs.len()),
            world,
            seen: Poses { torso: Pose::IDENTITY, mean_of_parts: Vector::ZERO },
        };
        robot.limbs.iter().for_each(|limb| body.attach(robot, limb));
        body.pose(angles);
        body.seen = body.poses(robot);
        body
    }

    /// Applies torques for one decision.
    pub(super) fn step(&mut self, robot: &Robot, action: &[f32]) {
        for _ in 0..SUBSTEPS {
            self.seen = self.poses(robot);
            self.damp();
            for (i, limb) in robot.limbs.iter().enumerate() {
                self.turn(i, Vector::from(limb.axis), limb.torque * action[i].clamp(-1.0, 1.0));
                self.limit(i, limb.limits);
            }
            self.world.step();
            self.slow_down();
        }
    }

    /// Observed positions of the torso and of the mean of all parts.
    pub(super) fn seen(&self) -> Poses {
        self.seen
    }

    /// The velocity of the torso's center of mass. The engine brings the velocities of links up to
    /// date at the start of a substep only; those of the joints are the present ones.
    pub(super) fn velocity(&self) -> Vector {
        let (multibody, link) = self.link(self.root);
        let jacobian = multibody.body_jacobian(link.link_id());
        let twist = jacobian * multibody.generalized_velocity();
        Vector::new(twist[0], twist[1], twist[2])
    }

    /// Angle and angular velocity of a limb's hinge.
    pub(super) fn joint(&self, limb: usize) -> (f32, f32) {
        let (multibody, link) = self.link(self.limbs[limb].joint);
        (link.joint().coords()[HINGE_AXIS as usize], multibody.joint_velocity(link)[0])
    }

    /// The original counts as parts every link, every hinge, the massless links of the root, and
    /// the floor.
    fn poses(&self, robot: &Robot) -> Poses {
        let torso = *self.world.bodies[self.torso].position();
        let origin = torso * -center(&robot.torso);
        let mut sum = origin * robot.root_parts as f32 + torso.translation;
        for (link, limb) in self.limbs.iter().zip(robot.limbs) {
            let position = self.world.bodies[link.body].position();
            let hinge = Vector::from(limb.hinge) - center(&limb.capsule);
            sum += position.translation + position * hinge;
        }
        let floor = 1;
        let parts = robot.root_parts + 1 + 2 * robot.limbs.len() + floor;
        Poses { torso, mean_of_parts: sum / parts as f32 }
    }

    /// Every link, the torso first: its number, the ends of its capsule, their radius.
    pub(super) fn capsules(
        &self,
        robot: &Robot,
    ) -> impl Iterator<Item = (usize, [Vector; 2], f32)> {
        let limbs =
            self.limbs.iter().zip(robot.limbs).map(|(link, limb)| (link.body, &limb.capsule));
        let links = std::iter::once((self.torso, &robot.torso)).chain(limbs).enumerate();
        links.map(|(number, (body, capsule))| {
            let position = self.world.bodies[body].position();
            let end = |at| position * (Vector::from(at) - center(capsule));
            (number, [end(capsule.from), end(capsule.to)], capsule.radius)
        })
    }

    /// True if a limb touches the floor.
    pub(super) fn touches_floor(&self, limb: usize) -> bool {
        let Some(pair) = self.world.contact_pair(self.limbs[limb].collider, self.floor) else {
            return false;
        };
        let mut points = pair.manifolds().iter().flat_map(|manifold| &manifold.points);
        points.any(|point| point.dist < TOUCH_DISTANCE)
    }

    #[cfg(test)]
    pub(super) fn center_of_mass(&self) -> Vector {
        let bodies = || self.world.bodies.iter().map(|(_, body)| body);
        let mass: f32 = bodies().map(RigidBody::mass).sum();
        bodies().map(|body| body.translation() * body.mass()).sum::<Vector>() / mass
    }

    /// Hangs a limb on its parent.
    fn attach(&mut self, robot: &Robot, limb: &Limb) {
        let (parent, above) = match limb.parent {
            Parent::Torso => (self.torso, &robot.torso),
            Parent::Limb(i) => (self.limbs[i].body, &robot.limbs[i].capsule),
        };
        let (body, collider) = insert(&mut self.world, &limb.capsule, robot.friction);
        let hinge = Vector::from(limb.hinge);
        let turned = turned_to(Vector::from(limb.axis));
        let frame = |link: &Capsule| Pose::from_parts(hinge - center(link), turned);
        let joint = GenericJointBuilder::new(!JointAxesMask::ANG_Y)
            .local_frame1(frame(above))
            .local_frame2(frame(&limb.capsule))
            .limits(HINGE_AXIS, limb.limits)
            .softness(JOINT_SOFTNESS)
            .build();
        let joint = self.world.multibody_joints.insert(parent, body, joint, true);
        let joint = joint.expect("a chain of links has no loop");
        self.limbs.push(Link { body, parent, collider, joint });
    }

    /// Sets the joints' angles, and places every link accordingly.
    fn pose(&mut self, angles: &[f32]) {
        let world = &mut self.world;
        let id = world.multibody_joints.rigid_body_link(self.torso).expect("the torso is a link");
        let index = id.multibody;
        let multibody = world.multibody_joints.get_multibody_mut(index).expect("it was just made");
        multibody.forward_kinematics(&world.bodies, true);
        multibody.damping_mut().fill(0.0);
        let root_freedom = multibody.ndofs() - angles.len();
        let mut displacements = vec![0.0; root_freedom];
        displacements.extend_from_slice(angles);
        multibody.apply_displacements(&displacements);
        multibody.forward_kinematics(&world.bodies, false);
        multibody.update_rigid_bodies(&mut world.bodies, true);
    }

    /// Replaces the forces of the last substep by the damping of this one.
    fn damp(&mut self) {
        let links = self.limbs.iter().map(|link| link.body);
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
    fn turn(&mut self, limb: usize, axis: Vector, torque: f32) {
        let Link { body, parent, .. } = self.limbs[limb];
        let bodies = &mut self.world.bodies;
        // The axis at rest is an axis of both links: they turn around it.
        let torque = *bodies[body].rotation() * axis * torque;
        bodies[body].add_torque(torque, false);
        bodies[parent].add_torque(-torque, false);
    }

    /// Holds a hinge within its limits as Bullet does: a hinge that is beyond a limit is turned
    /// back gently, but one that is far beyond, after a reset or a hard blow, is only held.
    fn limit(&mut self, limb: usize, [low, high]: [f32; 2]) {
        let handle = self.limbs[limb].joint;
        let (multibody, id) = self.world.multibody_joints.get_mut(handle).expect("joints stay");
        let joint = &mut multibody.link_mut(id).expect("links stay").joint;
        let angle = joint.coords()[HINGE_AXIS as usize];
        let held = |limit: f32, beyond: f32| {
            if beyond.abs() > MAX_LIMIT_CORRECTION { angle - beyond.signum() * HOLD } else { limit }
        };
        let low = held(low, (angle - low).min(0.0));
        let high = held(high, (angle - high).max(0.0));
        joint.data.set_limits(HINGE_AXIS, [low, high]);
    }

    /// Keeps every coordinate within the speed that Bullet allows.
    fn slow_down(&mut self) {
        let handle = self.root;
        let (multibody, _) = self.world.multibody_joints.get_mut(handle).expect("joints stay");
        for speed in multibody.generalized_velocity_mut().iter_mut() {
            *speed = speed.clamp(-MAX_SPEED, MAX_SPEED);
        }
    }

    fn link(&self, joint: MultibodyJointHandle) -> (&Multibody, &MultibodyLink) {
        let (multibody, id) = self.world.multibody_joints.get(joint).expect("joints stay");
        (multibody, multibody.link(id).expect("links stay"))
    }
}

fn integration_parameters() -> IntegrationParameters {
    IntegrationParameters {
        dt: TIME_STEP / SUBSTEPS as f32,
        num_solver_iterations: 1,
        num_internal_pgs_iterations: 5,
        num_internal_stabilization_iterations: 0,
        contact_softness: CONTACT_SOFTNESS,
        static_contact_softness: CONTACT_SOFTNESS,
        contact_recycling: false,
        max_ccd_substeps: 0,
        ..IntegrationParameters::default()
    }
}

/// Stiff enough to undo nine tenths of a penetration within one substep.
const CONTACT_SOFTNESS: SpringCoefficients<Real> =
    SpringCoefficients { natural_frequency: 695.0, damping_ratio: 1.0 };

/// Undoes 18 % of a hinge's way beyond its limit within one substep.
const JOINT_SOFTNESS: SpringCoefficients<Real> =
    SpringCoefficients { natural_frequency: 1694.0, damping_ratio: 100.0 };

/// The joint of a root that slides in x and z and turns around y, at the origin.
fn planar(torso: &Capsule) -> GenericJoint {
    let locked = JointAxesMask::LIN_Y | JointAxesMask::ANG_X | JointAxesMask::ANG_Z;
    GenericJointBuilder::new(locked).local_anchor2(-center(torso)).build()
}

/// A rotation that turns the y axis to `axis`, exactly so for the axes of planar robots. A rounding
/// error would let them move out of their plane by next to nothing, which the contact solver takes
/// for an almost infinite mass to rub against: all friction would go there.
fn turned_to(axis: Vector) -> Rotation {
    if axis == -Vector::Y {
        return Rotation::from_xyzw(1.0, 0.0, 0.0, 0.0);
    }
    Rotation::from_rotation_arc(Vector::Y, axis)
}

/// Adds a link, its frame at its center of mass.
fn insert(
    world: &mut PhysicsWorld,
    capsule: &Capsule,
    friction: f32,
) -> (RigidBodyHandle, ColliderHandle) {
    let center = center(capsule);
    let (from, to) = (Vector::from(capsule.from) - center, Vector::from(capsule.to) - center);
    let body = RigidBodyBuilder::dynamic()
        .translation(center)
        .additional_mass_properties(mass_properties(capsule))
        .can_sleep(false);
    let collider = ColliderBuilder::capsule_from_endpoints(from, to, capsule.radius)
        .density(0.0)
        .friction(friction)
        .friction_combine_rule(CoefficientCombineRule::Multiply)
        .collision_groups(LINK);
    let (body, collider) = world.insert(body, collider);
    world.bodies[body].recompute_mass_properties_from_colliders(&world.colliders);
    (body, collider)
}

fn center(capsule: &Capsule) -> Vector {
    (Vector::from(capsule.from) + Vector::from(capsule.to)) / 2.0
}

fn mass_properties(capsule: &Capsule) -> MassProperties {
    let rod = Vector::from(capsule.to) - Vector::from(capsule.from);
    let radius = capsule.radius;
    let area = std::f32::consts::PI * radius * radius;
    let mass = DENSITY * area * (rod.length() + 4.0 / 3.0 * radius);
    let sides = rod.abs() + Vector::splat(2.0 * (radius + INERTIA_MARGIN));
    let squares = sides * sides;
    let inertia = Vector::new(squares.y + squares.z, squares.x + squares.z, squares.x + squares.y);
    MassProperties::new(Vector::ZERO, mass, inertia * (mass / 12.0))
}
