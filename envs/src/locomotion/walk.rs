//! Locomotion: the environment that all robots share, with the observation and the reward of the
//! original; see [`locomotion`](super).

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use rapier3d::math::{Rotation, Vector};

use super::body::{Body, Poses};
use super::config::{self, LocomotionConfig};
use super::drawing;
use super::gravity::Gravities;
use super::robot::{Robot, TIME_STEP, TORSO_NUMBERS};
use super::task::Task;
use crate::canvas::Canvas;
use crate::environment::{Environment, Outcome};
use crate::error::{ParameterError, within};

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

/// The environment that all robots share.
pub(super) struct Locomotion {
    robot: &'static Robot,
    max_steps: u32,
    reset_noise: f32,
    shown: Vec<usize>,
    spec: EnvSpec,
    generator: Generator,
    gravities: Gravities,
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
}

impl Task for LocomotionConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        within("reset_noise", self.reset_noise, 0.0..=0.5)?;
        self.gravity.validate()
    }

    fn spec(&self, name: &str, robot: &Robot) -> EnvSpec {
        EnvSpec {
            name: format!("{name}(observe={})", self.observe),
            observation: ObservationSpec {
                dtype: Dtype::F32,
                shape: vec![config::shown(robot, self.observe).len()],
            },
            action: ActionSpec::Continuous { dimensions: robot.limbs.len() },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, _name: &str, robot: &'static Robot, seed: Seed) -> Box<dyn Environment> {
        Box::new(Locomotion::new(robot, self, seed))
    }
}

impl Locomotion {
    pub(super) fn new(robot: &'static Robot, config: &LocomotionConfig, seed: Seed) -> Self {
        let mut generator = seed.generator();
        let gravities = config.gravity.draw();
        Locomotion {
            robot,
            max_steps: config.max_steps,
            reset_noise: config.reset_noise,
            shown: config::shown(robot, config.observe),
            spec: config.spec(robot.name, robot),
            body: Body::new(robot, gravities.one(&mut generator)),
            gravities,
            generator,
            full: vec![0.0; robot.observation_len()],
            angles: vec![0.0; robot.limbs.len()],
            initial_height: 0.0,
            distance: 0.0,
            time: 0,
        }
    }

    /// Starts again in the same world.
    pub(super) fn restart(&mut self, observation: ObservationMut<'_>) {
        let noise = self.reset_noise;
        self.angles.fill_with(|| self.generator.random_range(-noise..=noise));
        self.body.reset(self.robot, &self.angles);
        self.initial_height = self.body.seen().torso.translation.z;
        self.time = 0;
        self.full.fill(0.0);
        self.distance = self.look().distance;
        self.show(observation);
    }

    /// Position of the torso's center of mass.
    pub(super) fn torso(&self) -> Vector {
        self.body.seen().torso.translation
    }

    /// The robot and its body, for a drawing.
    pub(super) fn parts(&self) -> (&Robot, &Body) {
        (self.robot, &self.body)
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
        Look { height, pitch, distance: to_target.length(), joints_at_limit }
    }

    /// The numbers of the full observation that tell which feet touch the floor.
    fn feet(&mut self) -> &mut [f32] {
        &mut self.full[TORSO_NUMBERS + 2 * self.robot.limbs.len()..]
    }

    /// Writes which feet touch the floor, for the next observation.
    fn feel(&mut self) {
        let robot = self.robot;
        for (i, &foot) in robot.feet.iter().enumerate() {
            let touches = self.body.touches_floor(foot);
            self.feet()[i] = f32::from(u8::from(touches));
        }
    }

    fn show(&self, observation: ObservationMut<'_>) {
        let row = observation.floats();
        for (to, &index) in row.iter_mut().zip(&self.shown) {
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
        self.body.set_gravity(self.gravities.one(&mut self.generator));
        self.restart(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let action = action.vector();
        self.time += 1;
        let numbers = action.iter().all(|number| !number.is_nan());
        if !numbers || self.body.step(self.robot, action).is_err() {
            // A frame must hold numbers: those before.
            self.show(observation);
            return Outcome::broken();
        }
        let look = self.look();
        self.show(observation);
        let progress = (self.distance - look.distance) / TIME_STEP;
        self.distance = look.distance;
        let stance = self.robot.stance;
        let stands = stance.holds(look.height, look.pitch, self.feet());
        let alive = if stands { 1.0 } else { -1.0 };
        let reward = alive + progress - self.cost(action, look.joints_at_limit);
        self.feel();
        if !stands && stance.ends() {
            Outcome::terminated(reward)
        } else {
            Outcome::until(self.max_steps, self.time, reward)
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        drawing::draw(canvas, self.robot, &self.body, None);
        canvas.timeline(&[self.max_steps], self.time);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo test --release -p engram-envs --lib restored_faster -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    #[allow(clippy::print_stdout, reason = "the times are what this test is for")]
    fn a_snapshot_is_restored_faster_than_a_world_is_built() {
        let count = 2000;
        for robot in super::super::robots::ROBOTS {
            let rest = vec![0.05; robot.limbs.len()];
            let mut body = Body::new(robot, 9.8);
            let mut microseconds = |built: bool| {
                let begin = cpu_seconds();
                for _ in 0..count {
                    if built {
                        body = Body::new(robot, 9.8);
                    }
                    body.reset(robot, &rest);
                    body.step(robot, &rest).unwrap();
                }
                (cpu_seconds() - begin) * 1e6 / f64::from(count)
            };
            let [built, restored] = [true, false].map(&mut microseconds);
            println!("{}: a reset and a step take {restored:.0} µs, {built:.0} µs", robot.name);
            assert!(restored < built);
        }
    }

    /// Time that this thread has spent on a core, on Linux.
    fn cpu_seconds() -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
    }

    #[test]
    fn a_broken_world_is_told_and_restored() {
        for robot in super::super::robots::ROBOTS {
            let rest = vec![0.0; robot.limbs.len()];
            let mut body = Body::new(robot, 9.8);
            body.step(robot, &rest).unwrap();
            let seen = body.seen().torso;
            for poison in [f32::NAN, f32::INFINITY] {
                body.poison(poison);
                assert!((0..3).any(|_| body.step(robot, &rest).is_err()), "{}", robot.name);
                body.reset(robot, &rest);
                body.step(robot, &rest).unwrap();
                assert_eq!(body.seen().torso, seen, "{}", robot.name);
            }
        }
    }
}
