//! Robots that walk, hop or run to the right, after the PyBullet locomotion environments
//! (Ellenberger 2018, themselves after Roboschool), on the physics of rapier.
//!
//! A robot is data, a `Robot` (`locomotion/robot.rs`): shapes, hinges, torques, and the rule by
//! which it has fallen. `locomotion/walk.rs` holds the `Locomotion` environment with the observation
//! and the reward of the original; `locomotion/body.rs` holds the physical body,
//! `locomotion/config.rs` the keys that all robots have, `locomotion/drawing.rs` the drawing.
//! `locomotion/quest.rs` holds tasks that must be found out, `locomotion/task.rs` what every task is.
//!
//! A robot is observed in full, by positions alone (`p`), or by velocities alone (`v`): the latter
//! two are the classic partially observable versions (Ni et al. 2022,
//! <https://arxiv.org/abs/2110.05038>).
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
//! The reward is 1 for standing (-1 for having fallen), plus the progress towards a target far to
//! the right in meters per second, minus the cost of torque and of joints at their limits. What the
//! original measures is kept to the letter where it shapes the reward: positions are those before
//! the last substep, and progress is that of the mean of all parts, the floor among them, so a
//! hopper is paid 10/11 of its speed. How near the physics come: `examples/locomotion_table.rs`.

mod robot;
mod shape;

mod robots;

mod anatomy;

mod footing;

mod building;

mod body;

mod gravity;

mod task;

mod config;

mod drawing;

mod walk;

mod quest;

pub use anatomy::{LinkNumbers, anatomy};
pub use config::LocomotionConfig;
pub use gravity::Gravity;
pub use quest::{DirectionConfig, VelocityConfig};
pub use robot::TIME_STEP;
pub(crate) use robots::{ANT, HALF_CHEETAH, HOPPER, WALKER};
pub(crate) use task::robot_parameters;
