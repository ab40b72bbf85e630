//! Bench, bumps and finger: a world in the plane x = 0, with y to the right and z up.
//!
//! The finger is a blade of 5 × 25 × 150 mm and 20 g, which hangs from a hinge 150 mm above the
//! bench. The hinge's motor turns it back to the vertical at up to 1 radian per second, by no more
//! than a torque: the stiffness. The base moves at 0.1 meters per second, and stops when it has
//! passed its target. A bump is a cylinder with a dome, 40 mm wide, 40 mm high, 100 g, free to slide
//! and to tip. Friction is the product of both sides': 1 of blade and bench, 0.2 of bumps. So a bump
//! resists by 0.2 newtons, some 110 mm below the hinge: a finger moves it from 0.02 newton meters
//! on (the original's from 0.027 on). The base stands for the robot arm of the original.
//!
//! Nothing is locked to the plane: bodies that are locked to one lose the friction across it.

use rapier3d::na::Unit;
use rapier3d::prelude::*;

use crate::canvas::{ACTOR, Canvas, Color, FAINT, GOAL, INK, SIGHT, mix};

/// The furthest position of the finger's base; a tip beyond it has left the bench.
pub(super) const LIMIT: f32 = 0.38;
/// Seconds of a step of the world.
const TIME_STEP: f32 = 1.0 / 240.0;
/// Fewer than the engine's 4 for speed; the finger behaves the same.
const SOLVER_ITERATIONS: usize = 2;
const GRAVITY: f32 = 9.8;
/// Speed of the base.
const SPEED: f32 = 0.1;
const HINGE_HEIGHT: f32 = 0.15;
const BLADE: [f32; 3] = [0.025, 0.005, 0.15];
const BLADE_MASS: f32 = 0.02;
/// The furthest angle of the finger: a sixth of a turn.
const ANGLE_LIMIT: f32 = 1.047;
/// The speed at which the motor turns the finger back.
const MOTOR_SPEED: f32 = 1.0;
/// Share of the angle that the motor would undo in one step, were it fast enough: Bullet's gain.
const MOTOR_GAIN: f32 = 0.1;
/// Speeds that differ by less are the same to the motor.
const SAME_SPEED: f32 = 0.01;
const HINGE: JointAxis = JointAxis::AngX;
/// Radius of a bump, and half its height.
pub(super) const BUMP_RADIUS: f32 = 0.02;
const BUMP_MASS: f32 = 0.1;
const BUMP_FRICTION: f32 = 0.2;

const FLOOR: InteractionGroups =
    InteractionGroups::new(Group::GROUP_1, Group::GROUP_2, InteractionTestMode::And);
const BUMP: InteractionGroups =
    InteractionGroups::new(Group::GROUP_2, Group::ALL, InteractionTestMode::And);
const FINGER: InteractionGroups =
    InteractionGroups::new(Group::GROUP_3, Group::GROUP_2, InteractionTestMode::And);

/// Finger and bumps on a bench.
pub(super) struct Bench {
    world: PhysicsWorld,
    base: RigidBodyHandle,
    blade: RigidBodyHandle,
    hinge: ImpulseJointHandle,
    bumps: Vec<RigidBodyHandle>,
    /// The present torque of the motor, in newton meters.
    torque: f32,
    /// The speed at which the motor was last told to turn.
    motor_speed: f32,
}

/// Parts of a drawing that the bench itself does not know.
pub(super) struct Scene {
    /// Colors of the bumps.
    pub(super) bumps: &'static [Color],
    /// A place that is marked.
    pub(super) target: Option<f32>,
    /// The torque of the stiffest hinge.
    pub(super) stiffest: f32,
}

impl Bench {
    /// A finger at rest, and bumps at the given positions.
    pub(super) fn new(finger: f32, bumps: &[f32]) -> Self {
        let mut world = PhysicsWorld::new();
        world.gravity = Vector::new(0.0, 0.0, -GRAVITY);
        world.integration_parameters.dt = TIME_STEP;
        world.integration_parameters.num_solver_iterations = SOLVER_ITERATIONS;
        world.integration_parameters.max_ccd_substeps = 0;
        let floor = ColliderBuilder::halfspace(Unit::new_unchecked(Vector::Z)).friction(1.0);
        world.insert_collider(multiplied(floor).collision_groups(FLOOR), None);

        let hinge = Vector::new(0.0, finger, HINGE_HEIGHT);
        let base =
            world.insert_body(RigidBodyBuilder::kinematic_velocity_based().translation(hinge));
        let half = Vector::from(BLADE) / 2.0;
        let below = Vector::new(0.0, 0.0, half.z);
        let blade = RigidBodyBuilder::dynamic().translation(hinge - below).can_sleep(false);
        let shape = ColliderBuilder::cuboid(half.x, half.y, half.z).mass(BLADE_MASS).friction(1.0);
        let (blade, _) = world.insert(blade, multiplied(shape).collision_groups(FINGER));
        let joint = GenericJointBuilder::new(JointAxesMask::LOCKED_REVOLUTE_AXES)
            .local_anchor2(below)
            .limits(HINGE, [-ANGLE_LIMIT, ANGLE_LIMIT])
            .build();
        let hinge = world.insert_impulse_joint(base, blade, joint);
        let bumps = bumps.iter().map(|&y| insert_bump(&mut world, y)).collect();
        Bench { world, base, blade, hinge, bumps, torque: 0.0, motor_speed: f32::INFINITY }
    }

    /// Moves the base, with a motor of that torque; it stops when it has passed the target or the
    /// end of the bench.
    pub(super) fn move_by(&mut self, distance: f32, torque: f32) {
        if torque != self.torque {
            (self.torque, self.motor_speed) = (torque, f32::INFINITY);
        }
        let target = self.base() + distance;
        let direction = distance.signum();
        let passed = |at: f32| direction * at > LIMIT || direction * at > direction * target;
        let velocity = Vector::new(0.0, direction * SPEED, 0.0);
        self.world.bodies[self.base].set_linvel(velocity, true);
        while distance != 0.0 && !passed(self.base()) {
            self.drive_hinge();
            self.world.step();
        }
    }

    /// The motor turns the finger back to the vertical.
    fn drive_hinge(&mut self) {
        let speed = (-MOTOR_GAIN * self.angle() / TIME_STEP).clamp(-MOTOR_SPEED, MOTOR_SPEED);
        // To change a joint costs the engine more than a step.
        if (speed - self.motor_speed).abs() < SAME_SPEED {
            return;
        }
        self.motor_speed = speed;
        let joint = self.world.impulse_joints.get_mut(self.hinge, true).expect("the hinge stays");
        // So strong that only its torque limits it.
        joint.data.set_motor_velocity(HINGE, speed, 1e5);
        joint.data.set_motor_max_force(HINGE, self.torque);
    }

    /// Position of the finger's base.
    pub(super) fn base(&self) -> f32 {
        self.world.bodies[self.base].translation().y
    }

    /// Angle of the finger: positive where its tip is to the right of its base.
    pub(super) fn angle(&self) -> f32 {
        let rotation = self.world.bodies[self.blade].rotation();
        2.0 * rotation.x.atan2(rotation.w)
    }

    /// Position of the finger's tip.
    pub(super) fn tip(&self) -> f32 {
        self.world.bodies[self.base].translation().y + BLADE[2] * self.angle().sin()
    }

    /// Position of a bump.
    pub(super) fn bump(&self, index: usize) -> f32 {
        self.world.bodies[self.bumps[index]].translation().y
    }

    /// True if everything is somewhere.
    pub(super) fn is_finite(&self) -> bool {
        let bumps = (0..self.bumps.len()).all(|index| self.bump(index).is_finite());
        bumps && self.tip().is_finite()
    }

    /// Loses a bump, as broken physics might.
    #[cfg(test)]
    pub(super) fn break_apart(&mut self) {
        let nowhere = Vector::splat(f32::NAN);
        self.world.bodies[self.bumps[0]].set_translation(nowhere, true);
    }

    pub(super) fn draw(&self, canvas: &mut Canvas, scene: &Scene) {
        let area = canvas.area();
        let (scale, floor) = (area.width / 0.9, 0.72 * area.height);
        let place = |y: f32, z: f32| [area.width / 2.0 + y * scale, floor - z * scale];
        canvas.rectangle([0.0, floor], [area.width, 6.0], FAINT);
        for end in [-LIMIT, LIMIT] {
            canvas.line(place(end, 0.0), place(end, -0.03), 2.0, INK);
        }
        if let Some(target) = scene.target {
            canvas.line(place(target, -0.01), place(target, -0.04), 3.0, GOAL);
            canvas.disc(place(target, -0.045), 5.0, GOAL);
        }
        for (&handle, &color) in self.bumps.iter().zip(scene.bumps) {
            let pose = self.world.bodies[handle].position();
            let [x, y] = place(pose.translation.y, pose.translation.z);
            let radius = BUMP_RADIUS * scale;
            canvas.disc([x, y], radius, color);
            canvas.rectangle([x - radius, y], [2.0 * radius, floor - y], color);
        }
        let hinge = place(self.base(), HINGE_HEIGHT);
        let blade = BLADE[2];
        let tip = place(self.tip(), HINGE_HEIGHT - blade * self.angle().cos());
        let stiffness = self.torque / scene.stiffest;
        canvas.line([0.0, hinge[1] - 30.0], [area.width, hinge[1] - 30.0], 2.0, FAINT);
        canvas.rectangle([hinge[0] - 14.0, hinge[1] - 38.0], [28.0, 16.0], INK);
        canvas.line([hinge[0], hinge[1] - 24.0], hinge, 6.0, INK);
        canvas.line(hinge, tip, 6.0, mix(SIGHT, ACTOR, stiffness));
        canvas.disc(hinge, 5.0, INK);
    }
}

/// A bump that stands on the bench, its frame at half its height.
fn insert_bump(world: &mut PhysicsWorld, y: f32) -> RigidBodyHandle {
    let inertia = 0.4 * BUMP_MASS * BUMP_RADIUS * BUMP_RADIUS;
    let mass = MassProperties::new(Vector::ZERO, BUMP_MASS, Vector::splat(inertia));
    let body = RigidBodyBuilder::dynamic()
        .translation(Vector::new(0.0, y, BUMP_RADIUS))
        .additional_mass_properties(mass)
        .can_sleep(false);
    let shape = |shape: ColliderBuilder| {
        multiplied(shape.density(0.0).friction(BUMP_FRICTION)).collision_groups(BUMP)
    };
    let dome = shape(ColliderBuilder::ball(BUMP_RADIUS));
    // A cylinder of the engine stands along y.
    let foot = shape(ColliderBuilder::cylinder(BUMP_RADIUS / 2.0, BUMP_RADIUS))
        .translation(Vector::new(0.0, 0.0, -BUMP_RADIUS / 2.0))
        .rotation(Vector::X * std::f32::consts::FRAC_PI_2);
    let (body, _) = world.insert(body, dome);
    world.insert_collider(foot, Some(body));
    body
}

fn multiplied(shape: ColliderBuilder) -> ColliderBuilder {
    shape.friction_combine_rule(CoefficientCombineRule::Multiply)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves of the bump, and the greatest angle, when a finger of a stiffness goes by from the left.
    fn pass(torque: f32) -> (f32, f32) {
        let mut bench = Bench::new(-0.08, &[0.0]);
        let mut angle = 0.0_f32;
        for _ in 0..160 {
            bench.move_by(0.001, torque);
            angle = angle.min(bench.angle());
        }
        (bench.bump(0), angle)
    }

    #[test]
    fn a_soft_finger_bends_over_a_bump_and_a_stiff_one_pushes_it() {
        // 40 mm high, from a hinge 150 mm up: cos a = 110 / 150, a = 0.75 at least.
        for torque in [0.007, 0.015] {
            let (moved, angle) = pass(torque);
            assert!(moved.abs() < 3e-4 && angle < -0.75, "{torque}: {moved}, {angle}");
        }
        for torque in [0.026, 0.047] {
            let (moved, angle) = pass(torque);
            assert!(moved > 0.1 && angle > -0.3, "{torque}: {moved}, {angle}");
        }
    }

    #[test]
    fn a_finger_that_has_passed_a_bump_hangs_straight_again() {
        let mut bench = Bench::new(-0.08, &[0.0]);
        (0..7).for_each(|_| bench.move_by(0.05, 0.007));
        assert!(bench.angle().abs() < 0.01 && (bench.tip() - bench.base()).abs() < 2e-3);
    }

    #[test]
    fn the_base_stops_when_it_has_passed_its_target_and_never_leaves_the_bench() {
        let step = SPEED * TIME_STEP;
        let mut bench = Bench::new(0.0, &[0.3]);
        bench.move_by(-0.05, 0.007);
        assert!((-0.05 - step..=-0.05).contains(&bench.base()), "{}", bench.base());
        bench.move_by(0.0, 0.007);
        (0..20).for_each(|_| bench.move_by(-0.05, 0.007));
        assert!((-LIMIT - step..=-LIMIT).contains(&bench.base()), "{}", bench.base());
    }

    #[test]
    fn a_bump_that_nobody_touches_stays_where_it_is() {
        let mut bench = Bench::new(-0.3, &[-0.2, 0.1]);
        for _ in 0..20 {
            bench.move_by(0.03, 0.047);
            bench.move_by(-0.03, 0.047);
        }
        assert!((bench.bump(0) + 0.2).abs() < 1e-4 && (bench.bump(1) - 0.1).abs() < 1e-4);
    }
}
