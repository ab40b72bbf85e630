//! Building of a robot's world, and the snapshot from which it starts again.

use rapier3d::na::Unit;
use rapier3d::prelude::*;

use super::footing::Footing;
use super::robot::{Limb, Link, Parent, Robot, Root, SUBSTEPS, TIME_STEP};
use super::shape::Shape;

/// The axis of a hinge in its own frame.
pub(super) const HINGE_AXIS: JointAxis = JointAxis::AngY;

const FLOOR_FRICTION: f32 = 0.8;

/// A penetration is undone by this share within one substep.
const CONTACT_CORRECTION: f32 = 0.9;
/// A hinge beyond its limit is turned back by this share of the way within one substep.
const LIMIT_CORRECTION: f32 = 0.2;

const FLOOR: InteractionGroups =
    InteractionGroups::new(Group::GROUP_1, Group::GROUP_2, InteractionTestMode::And);
const LINK: InteractionGroups =
    InteractionGroups::new(Group::GROUP_2, Group::GROUP_1, InteractionTestMode::And);

/// A new world, and what is where in it.
pub(super) struct Built {
    pub(super) world: PhysicsWorld,
    pub(super) torso: RigidBodyHandle,
    pub(super) limbs: Vec<LimbBody>,
    pub(super) parts: Vec<Part>,
    pub(super) footing: Footing,
    pub(super) soles: Vec<Vec<usize>>,
}

/// A limb in the world.
#[derive(Clone, Copy)]
pub(super) struct LimbBody {
    pub(super) body: RigidBodyHandle,
    pub(super) parent: RigidBodyHandle,
    /// The hinge's axis, of length 1.
    pub(super) axis: Vector,
    /// The length of the axis in the model.
    pub(super) gear: f32,
}

/// A point of a body that the original counts as a part.
pub(super) struct Part {
    pub(super) body: RigidBodyHandle,
    pub(super) at: Vector,
}

/// Everything in a world that moves or remembers.
pub(super) struct Snapshot {
    bodies: RigidBodySet,
    colliders: ColliderSet,
    islands: IslandManager,
    broad_phase: BroadPhaseBvh,
    narrow_phase: NarrowPhase,
    multibody_joints: MultibodyJointSet,
}

impl Snapshot {
    pub(super) fn of(world: &PhysicsWorld) -> Self {
        Snapshot {
            bodies: world.bodies.clone(),
            colliders: world.colliders.clone(),
            islands: world.islands.clone(),
            broad_phase: world.broad_phase.clone(),
            narrow_phase: world.narrow_phase.clone(),
            multibody_joints: world.multibody_joints.clone(),
        }
    }

    pub(super) fn restore(&self, world: &mut PhysicsWorld) {
        world.bodies.clone_from(&self.bodies);
        world.colliders.clone_from(&self.colliders);
        world.islands.clone_from(&self.islands);
        world.broad_phase.clone_from(&self.broad_phase);
        world.narrow_phase.clone_from(&self.narrow_phase);
        world.multibody_joints.clone_from(&self.multibody_joints);
    }
}

/// A world with a floor and a robot at rest.
pub(super) fn build(robot: &Robot, gravity: f32) -> Built {
    let mut world = PhysicsWorld::new();
    world.gravity = Vector::new(0.0, 0.0, -gravity);
    world.integration_parameters = integration_parameters();
    let floor = ColliderBuilder::halfspace(Unit::new_unchecked(Vector::Z))
        .friction(FLOOR_FRICTION)
        .friction_combine_rule(CoefficientCombineRule::Multiply)
        .collision_groups(FLOOR)
        .user_data(u128::MAX);
    world.insert_collider(floor, None);

    let (mass, inertia) = robot.torso_mass();
    let torso = insert_body(&mut world, robot.torso.center(), mass, inertia);
    let mut built = Built {
        torso,
        world,
        limbs: Vec::new(),
        parts: Vec::new(),
        footing: Footing::default(),
        soles: Vec::new(),
    };
    built.add_torso(robot);
    robot.limbs.iter().for_each(|limb| built.add_limb(robot, limb));
    built.settle();
    built
}

impl Built {
    fn add_torso(&mut self, robot: &Robot) {
        let (torso, center) = (self.torso, robot.torso.center());
        if let Root::Planar(pivot) = robot.root {
            let anchor = self.world.insert_body(RigidBodyBuilder::fixed());
            let joint = planar(pivot.into(), center);
            let joint = self.world.multibody_joints.insert(anchor, torso, joint, true);
            joint.expect("a chain of links has no loop");
            // Two slides and a turn are parts of the original, at the pivot.
            let at = Vector::from(pivot) - center;
            self.parts.extend([(); 3].map(|()| Part { body: torso, at }));
        }
        self.parts.push(Part { body: torso, at: Vector::ZERO });
        let mut soles = self.insert_shapes(robot, torso, &robot.torso, center);
        for shape in robot.welded {
            // Welded shapes are links of their own there.
            let shapes = std::slice::from_ref(shape);
            let [from, to] = shape.ends();
            let own = (from + to) / 2.0;
            self.parts.push(Part { body: torso, at: own - center });
            let margin = Shape::bounds_of(shapes).contact_margin(own);
            soles.push(self.insert_shape(robot, torso, shape, center, margin));
        }
        self.soles.push(soles);
    }

    /// Hangs a limb on its parent.
    fn add_limb(&mut self, robot: &Robot, limb: &Limb) {
        let (parent, above) = match limb.parent {
            Parent::Torso => (self.torso, robot.torso.center()),
            Parent::Limb(i) => (self.limbs[i].body, robot.limbs[i].link.center()),
        };
        let (link, center) = (&limb.link, limb.link.center());
        let body = insert_body(&mut self.world, center, link.mass(), link.inertia());
        let soles = self.insert_shapes(robot, body, link, center);
        self.soles.push(soles);
        let (hinge, axis) = (Vector::from(limb.hinge), Vector::from(limb.axis));
        let gear = axis.length();
        let axis = if gear == 1.0 { axis } else { axis / gear };
        let frame = |center: Vector| Pose::from_parts(hinge - center, turned_to(axis));
        let joint = GenericJointBuilder::new(!JointAxesMask::ANG_Y)
            .local_frame1(frame(above))
            .local_frame2(frame(center))
            .limits(HINGE_AXIS, limb.limits)
            .softness(corrects(LIMIT_CORRECTION * gear))
            .build();
        let joint = self.world.multibody_joints.insert(parent, body, joint, true);
        joint.expect("a chain of links has no loop");
        self.parts.push(Part { body, at: Vector::ZERO });
        self.parts.push(Part { body, at: hinge - center });
        self.limbs.push(LimbBody { body, parent, axis, gear });
    }

    fn insert_shapes(
        &mut self,
        robot: &Robot,
        body: RigidBodyHandle,
        link: &Link,
        center: Vector,
    ) -> Vec<usize> {
        let margin = Shape::bounds_of(link.shapes).contact_margin(center);
        let insert = |shape| self.insert_shape(robot, body, shape, center, margin);
        link.shapes.iter().map(insert).collect()
    }

    fn insert_shape(
        &mut self,
        robot: &Robot,
        body: RigidBodyHandle,
        shape: &Shape,
        center: Vector,
        margin: f32,
    ) -> usize {
        let sole = self.footing.add(body, shape, center, margin);
        let [from, to] = shape.ends().map(|end| end - center);
        let builder = match shape {
            Shape::Ball { radius, .. } => ColliderBuilder::ball(*radius).translation(from),
            _ => ColliderBuilder::capsule_from_endpoints(from, to, shape.radius()),
        };
        let collider = builder
            .density(0.0)
            .friction(robot.friction)
            .friction_combine_rule(CoefficientCombineRule::Multiply)
            .collision_groups(LINK)
            .active_hooks(ActiveHooks::MODIFY_SOLVER_CONTACTS)
            .user_data(sole as u128);
        self.world.insert_collider(collider, Some(body));
        self.world.bodies[body].recompute_mass_properties_from_colliders(&self.world.colliders);
        sole
    }

    /// Brings joints and bodies together; the joints rub nowhere.
    fn settle(&mut self) {
        let world = &mut self.world;
        let id = *world.multibody_joints.rigid_body_link(self.torso).expect("a link");
        let multibody = world.multibody_joints.get_multibody_mut(id.multibody).expect("one");
        multibody.forward_kinematics(&world.bodies, true);
        multibody.damping_mut().fill(0.0);
        multibody.update_rigid_bodies(&mut world.bodies, true);
    }
}

fn integration_parameters() -> IntegrationParameters {
    let softness = corrects(CONTACT_CORRECTION);
    IntegrationParameters {
        dt: TIME_STEP / SUBSTEPS as f32,
        num_solver_iterations: 1,
        num_internal_pgs_iterations: 5,
        num_internal_stabilization_iterations: 0,
        warmstart_coefficient: 0.0,
        contact_softness: softness,
        static_contact_softness: softness,
        contact_recycling: false,
        max_ccd_substeps: 0,
        ..IntegrationParameters::default()
    }
}

/// Softness of a constraint that undoes this share of its error within one substep.
fn corrects(share: f32) -> SpringCoefficients<Real> {
    // So damped that nothing of the constraint gives way but its error.
    let damping_ratio = 100.0;
    let seconds = TIME_STEP / SUBSTEPS as f32;
    let angular_frequency = 2.0 * damping_ratio * share / ((1.0 - share) * seconds);
    let natural_frequency = angular_frequency / std::f32::consts::TAU;
    SpringCoefficients { natural_frequency, damping_ratio }
}

/// The joint of a root that slides in x and z and turns around y at the pivot.
fn planar(pivot: Vector, center: Vector) -> GenericJoint {
    let locked = JointAxesMask::LIN_Y | JointAxesMask::ANG_X | JointAxesMask::ANG_Z;
    GenericJointBuilder::new(locked).local_anchor1(pivot).local_anchor2(pivot - center).build()
}

/// A rotation that turns the y axis to `axis`, exactly so for the axes of planar robots. A rounding
/// error would let them move out of their plane by next to nothing, which the contact solver takes
/// for an almost infinite mass to rub against: all friction would go there.
fn turned_to(axis: Vector) -> Rotation {
    if axis == Vector::Y {
        return Rotation::IDENTITY;
    }
    if axis == -Vector::Y {
        return Rotation::from_xyzw(1.0, 0.0, 0.0, 0.0);
    }
    Rotation::from_rotation_arc(Vector::Y, axis)
}

/// Adds a body, its frame at its center of mass.
fn insert_body(
    world: &mut PhysicsWorld,
    center: Vector,
    mass: f32,
    inertia: Vector,
) -> RigidBodyHandle {
    let properties = MassProperties::new(Vector::ZERO, mass, inertia);
    let body = RigidBodyBuilder::dynamic().translation(center);
    world.insert_body(body.additional_mass_properties(properties).can_sleep(false))
}
