//! Robots that walk, hop or run to the right, after the PyBullet locomotion environments
//! (Ellenberger 2018, themselves after Roboschool), on the physics of rapier.
//!
//! A robot is data, a `Robot` (`locomotion/robot.rs`): capsules, hinges, torques, and limits beyond
//! which it has fallen. This file holds the `Locomotion` environment with the observation and the reward of the
//! original; `locomotion/body.rs` holds the physical body.
//!
//! | observation | |
//! |---|---|
//! | 0 | height of the torso above its start |
//! | 1, 2 | sine and cosine of the angle to the target |
//! | 3, 4, 5 | 0.3 × velocity of the torso, in its own heading |
//! | 6, 7 | roll and pitch of the torso |
//! | 8 + 2i, 9 + 2i | position of joint i within its limits, -1 to 1; 0.1 × its velocity |
//! | then | one flag per foot: it touched the floor *before* this step, as in the original |
//!
//! The reward is 1 for being up (-1 for having fallen), plus the progress towards a target far to
//! the right in meters per second, minus the cost of torque and of joints at their limits. What the
//! original measures is kept to the letter where it shapes the reward: positions are those before
//! the last substep, and progress is that of the mean of all parts, the floor among them, so a
//! hopper is paid 10/11 of its speed. How near the physics come: `examples/hopper_table.rs`.

mod body;
mod robot;

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use rapier3d::math::{Rotation, Vector};

use crate::canvas::{ACTOR, Canvas, INK, mix};
use crate::environment::{Environment, Outcome};
use body::{Body, Poses};
pub use robot::TIME_STEP;
use robot::TORSO_NUMBERS;
pub(crate) use robot::{Capsule, GroundContact, Limb, Parent, Robot};

/// Distance of the target to the right, in meters.
const TARGET: f32 = 1000.0;
/// Weight of the mean product of action and joint velocity.
const ELECTRICITY_COST: f32 = 2.0;
/// Weight of the mean squared action.
const STALL_TORQUE_COST: f32 = 0.1;
/// Cost of every joint at its limit.
const LIMIT_COST: f32 = 0.1;
/// From here on a joint counts as being at its limit.
const AT_LIMIT: f32 = 0.99;
/// The range of every number of an observation.
const CLIP: f32 = 5.0;

/// Parameters that every robot has.
#[derive(Clone, Debug)]
pub(crate) struct LocomotionSettings {
    /// The indices of the full observation that are shown.
    pub(crate) shown: &'static [usize],
    /// The choice, as the spec's name says it.
    pub(crate) observe: crate::Observe,
    /// Decisions after which an episode is cut off.
    pub(crate) max_steps: u32,
    /// Every joint starts at an angle drawn from plus or minus this.
    pub(crate) reset_noise: f32,
}

impl LocomotionSettings {
    pub(crate) fn spec(&self, robot: &Robot) -> EnvSpec {
        EnvSpec {
            name: format!("{}(observe={})", robot.name, self.observe),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.shown.len()] },
            action: ActionSpec::Continuous { dimensions: robot.limbs.len() },
            action_repeat: 1,
        }
    }
}

/// The environment that all robots share.
pub(crate) struct Locomotion {
    robot: &'static Robot,
    settings: LocomotionSettings,
    spec: EnvSpec,
    generator: Generator,
    body: Body,
    /// The full observation.
    full: Vec<f32>,
    angles: Vec<f32>,
    initial_height: f32,
    distance: f32,
    time: u32,
}

/// Measurements of the body that are no part of the observation.
struct Look {
    height: f32,
    pitch: f32,
    distance: f32,
    joints_at_limit: usize,
    finite: bool,
}

impl Locomotion {
    pub(crate) fn new(robot: &'static Robot, settings: LocomotionSettings, seed: Seed) -> Self {
        Locomotion {
            robot,
            spec: settings.spec(robot),
            generator: seed.generator(),
            body: Body::new(robot, &vec![0.0; robot.limbs.len()]),
            full: vec![0.0; robot.observation_len()],
            angles: vec![0.0; robot.limbs.len()],
            initial_height: 0.0,
            distance: 0.0,
            time: 0,
            settings,
        }
    }

    /// Looks at the body, and writes all of the full observation but the feet.
    fn look(&mut self) -> Look {
        let Poses { torso, mean_of_parts: center } = self.body.seen();
        let (roll, pitch, yaw) = euler_angles(torso.rotation);
        let height = torso.translation.z;
        let to_target = Vector::new(TARGET - center.x, -center.y, 0.0);
        let angle = to_target.y.atan2(to_target.x) - yaw;
        let velocity = Rotation::from_rotation_z(-yaw) * self.body.velocity() * 0.3;

        let torso_numbers = [
            height - self.initial_height,
            angle.sin(),
            angle.cos(),
            velocity.x,
            velocity.y,
            velocity.z,
            roll,
            pitch,
        ];
        self.full[..TORSO_NUMBERS].copy_from_slice(&torso_numbers);
        let mut joints_at_limit = 0;
        for (i, limb) in self.robot.limbs.iter().enumerate() {
            let (angle, velocity) = self.body.joint(i);
            let [low, high] = limb.limits;
            let relative = (2.0 * angle - (low + high)) / (high - low);
            joints_at_limit += usize::from(relative.abs() > AT_LIMIT);
            self.full[TORSO_NUMBERS + 2 * i] = relative;
            self.full[TORSO_NUMBERS + 2 * i + 1] = 0.1 * velocity;
        }
        Look {
            height,
            pitch,
            distance: to_target.length(),
            joints_at_limit,
            finite: self.full.iter().all(|number| number.is_finite()),
        }
    }

    /// Writes which feet touch the floor, for the next observation.
    fn feel(&mut self) {
        let flags = &mut self.full[TORSO_NUMBERS + 2 * self.robot.limbs.len()..];
        for (flag, foot) in flags.iter_mut().zip(self.robot.feet()) {
            *flag = f32::from(u8::from(self.body.touches_floor(foot)));
        }
    }

    fn show(&self, observation: ObservationMut<'_>) {
        let row = observation.floats();
        for (to, &index) in row.iter_mut().zip(self.settings.shown) {
            *to = self.full[index].clamp(-CLIP, CLIP);
        }
    }

    /// Cost of the action: torque times velocity, torque alone, and joints at their limits.
    fn cost(&self, action: &[f32], joints_at_limit: usize) -> f32 {
        let joints = action.len() as f32;
        let velocities = self.full[TORSO_NUMBERS + 1..].iter().step_by(2);
        let power: f32 = action.iter().zip(velocities).map(|(a, v)| (a * v).abs()).sum();
        let squares: f32 = action.iter().map(|a| a * a).sum();
        ELECTRICITY_COST * power / joints
            + STALL_TORQUE_COST * squares / joints
            + LIMIT_COST * joints_at_limit as f32
    }
}

impl Environment for Locomotion {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let noise = self.settings.reset_noise;
        self.angles.fill_with(|| self.generator.random_range(-noise..=noise));
        self.body = Body::new(self.robot, &self.angles);
        self.initial_height = self.body.seen().torso.translation.z;
        self.time = 0;
        self.full.fill(0.0);
        self.distance = self.look().distance;
        self.show(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let action = action.vector();
        self.body.step(self.robot, action);
        let look = self.look();
        self.time += 1;
        if !look.finite {
            // The physics broke. The original ends the episode; a frame must hold numbers.
            self.full.fill(0.0);
            self.show(observation);
            return Outcome::terminated(-1.0);
        }
        self.show(observation);
        let progress = (self.distance - look.distance) / TIME_STEP;
        self.distance = look.distance;
        let cost = self.cost(action, look.joints_at_limit);
        self.feel();
        if self.robot.has_fallen(look.height, look.pitch) {
            Outcome::terminated(-1.0 + progress - cost)
        } else if self.time >= self.settings.max_steps {
            Outcome::truncated(1.0 + progress - cost)
        } else {
            Outcome::goes_on(1.0 + progress - cost)
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("move to the right without falling");
        let area = canvas.area();
        // Two meters high; the camera follows the torso, the marks on the floor are a meter apart.
        let scale = 0.85 * area.height / 2.0;
        let floor = 0.9 * area.height;
        let camera = self.body.seen().torso.translation.x;
        let place = |x: f32, z: f32| [area.width / 2.0 + (x - camera) * scale, floor - z * scale];
        canvas.line([0.0, floor + 2.0], [area.width, floor + 2.0], 3.0, INK);
        let reach = (area.width / scale / 2.0).ceil() as i32;
        for meter in -reach..=reach {
            let [x, _] = place(camera.floor() + meter as f32, 0.0);
            canvas.line([x, floor + 2.0], [x, floor + 10.0], 2.0, INK);
        }
        for (link, [from, to], radius) in self.body.capsules(self.robot) {
            let color = mix(ACTOR, INK, if link % 2 == 0 { 0.0 } else { 0.35 });
            canvas.line(place(from.x, from.z), place(to.x, to.z), 2.0 * radius * scale, color);
        }
        canvas.timeline(&[self.settings.max_steps], self.time);
    }
}

/// Roll, pitch and yaw: turns around the fixed axes x, then y, then z.
fn euler_angles(rotation: Rotation) -> (f32, f32, f32) {
    let Rotation { x, y, z, w } = rotation;
    let roll = (2.0 * (w * x + y * z)).atan2(1.0 - 2.0 * (x * x + y * y));
    let pitch = (2.0 * (w * y - z * x)).clamp(-1.0, 1.0).asin();
    let yaw = (2.0 * (w * z + x * y)).atan2(1.0 - 2.0 * (y * y + z * z));
    (roll, pitch, yaw)
}

/// Fall and forward drift of a robot's center of mass under constant actions, from rest.
#[cfg(test)]
pub(crate) fn flight(robot: &Robot, action: &[f32], steps: usize) -> (f32, f32) {
    let mut body = Body::new(robot, &vec![0.0; robot.limbs.len()]);
    let start = body.center_of_mass();
    (0..steps).for_each(|_| body.step(robot, action));
    let moved = body.center_of_mass() - start;
    (-moved.z, moved.x)
}
