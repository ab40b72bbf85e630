//! Every environment, one file each; the robots share those of [`locomotion`](crate::locomotion).
//!
//! | environment | solved by | after |
//! |---|---|---|
//! | [`recall`] | remembering one cue | – |
//! | [`memory_chain`] | remembering bits | bsuite |
//! | [`catch`] | a reaction | bsuite |
//! | [`control`] | control of carts, pendulums and an arm, from positions or velocities alone if asked | Gymnasium; Yang & Nguyen 2021 |
//! | [`delayed_catch`] | reactions, and credit for them that comes late | Raposo et al. 2021 |
//! | [`navigation`] | finding out where the goal is, or the wind, and remembering it | Yang & Nguyen 2021; RESeL |
//! | [`atari`] | playing games of the Atari 2600, from pictures | the Arcade Learning Environment |
//! | [`bumps`] | feeling with a soft finger, remembering, pushing with a stiff one | Yang & Nguyen 2021 |
//! | [`minigrid`] | remembering an object along a hallway | MiniGrid |
//! | [`popgym`] | remembering cards, counts, places; searching; control from half of a state | Morad et al. 2023 |
//! | [`tmaze`] | memory (passive), memory and credit (active) | Ni et al. 2023 |
//! | [`visual_match`] | memory, past much that pays | Ni et al. 2023 |
//! | [`key_to_door`] | credit, past much that pays | Ni et al. 2023 |
//! | [`procgen`] | reactions and planning in games whose levels are drawn | Cobbe et al. 2020 |
//! | [`rooms`] | seeing a world from within, remembering what and where, planning | DeepMind Lab |
//! | [`locomotion`](crate::locomotion): `hopper`, `walker2d`, `half-cheetah`, `ant` | moving to the right | PyBullet |
//! | `ant-direction`, `half-cheetah-direction`, `half-cheetah-velocity` | locomotion towards what must be found out | Zintgraf et al. 2020 |
//!
//! Any environment of Gymnasium is served by a Python process: [`gym`](crate::GymConfig).
//!
//! Probes are so small that an agent which fails one fails for one reason:
//!
//! | probe | an agent that fails it |
//! |---|---|
//! | [`counting`] | loses, doubles or reorders frames |
//! | [`bandit`] | cannot tell a good action from a bad one |
//! | [`delayed_reward`] | does not carry a reward back over time |
//! | [`truncation`] | takes a time limit for a terminal state |
//! | [`recall`] | does not remember |
//! | [`noise`] | none: there is nothing to learn, only frames of any size to be measured with |

pub mod atari;
pub mod bandit;
pub mod bumps;
pub mod catch;
pub mod control;
pub mod counting;
pub mod delayed_catch;
pub mod delayed_reward;
pub mod key_to_door;
pub mod memory_chain;
pub mod minigrid;
pub mod navigation;
pub mod noise;
pub mod popgym;
pub mod procgen;
pub mod recall;
pub mod rooms;
pub mod tmaze;
pub mod truncation;
pub mod visual_match;

use std::sync::Arc;

use toml::Table;

use crate::environment::EnvironmentParameters;
use crate::error::EnvError;
use crate::locomotion::{
    ANT, DirectionConfig, HALF_CHEETAH, HOPPER, LocomotionConfig, VelocityConfig, WALKER,
    robot_parameters,
};
use crate::parse::parameters;
use popgym::PopgymConfig;

/// Reads the parameters of the named environment.
type Reader = fn(&str, &Table) -> Result<Arc<dyn EnvironmentParameters>, EnvError>;

/// Every environment: its name in `[env]`, and the reader of its parameters.
pub(crate) const REGISTRY: &[(&str, Reader)] = &[
    ("counting", parameters::<counting::CountingConfig>),
    ("bandit", parameters::<bandit::BanditConfig>),
    ("delayed-reward", parameters::<delayed_reward::DelayedRewardConfig>),
    ("truncation", parameters::<truncation::TruncationConfig>),
    ("noise", parameters::<noise::NoiseConfig>),
    ("recall", parameters::<recall::RecallConfig>),
    ("memory-chain", parameters::<memory_chain::MemoryChainConfig>),
    ("catch", parameters::<catch::CatchConfig>),
    ("delayed-catch", parameters::<delayed_catch::DelayedCatchConfig>),
    ("cartpole", parameters::<control::cartpole::CartPoleConfig>),
    ("cartpole-continuous", parameters::<control::cartpole::ContinuousCartPoleConfig>),
    (
        "cartpole-swingup-variable-length",
        parameters::<control::cartpole_swingup::CartPoleSwingUpConfig>,
    ),
    ("dmc-cartpole", parameters::<control::dmc_cartpole::DmcCartPoleConfig>),
    ("dmc-cartpole-pixels", parameters::<control::dmc_cartpole::DmcCartPolePixelsConfig>),
    ("dmc-pendulum", parameters::<control::dmc_pendulum::DmcPendulumConfig>),
    ("pendulum", parameters::<control::pendulum::PendulumConfig>),
    ("pendulum-variable-length", parameters::<control::pendulum::VariablePendulumConfig>),
    ("reacher", parameters::<control::reacher::ReacherConfig>),
    ("car-heaven-hell", parameters::<navigation::car::CarConfig>),
    ("car-heaven-hell-top", parameters::<navigation::car_jumps::CarTopConfig>),
    ("car-heaven-hell-relative", parameters::<navigation::car_jumps::CarRelativeConfig>),
    ("water-maze", parameters::<navigation::water_maze::WaterMazeConfig>),
    ("wind", parameters::<navigation::wind::WindConfig>),
    ("bumps", parameters::<bumps::push::BumpsConfig>),
    ("bump-target", parameters::<bumps::target::BumpTargetConfig>),
    ("tmaze", parameters::<tmaze::TmazeConfig>),
    ("visual-match", parameters::<visual_match::VisualMatchConfig>),
    ("key-to-door", parameters::<key_to_door::KeyToDoorConfig>),
    ("atari", parameters::<atari::AtariConfig>),
    ("minigrid-memory", parameters::<minigrid::memory::MiniGridMemoryConfig>),
    ("popgym-autoencode", parameters::<PopgymConfig<popgym::Autoencode>>),
    ("popgym-battleship", parameters::<PopgymConfig<popgym::Battleship>>),
    ("popgym-concentration", parameters::<PopgymConfig<popgym::Concentration>>),
    ("popgym-count-recall", parameters::<PopgymConfig<popgym::CountRecall>>),
    ("popgym-higher-lower", parameters::<PopgymConfig<popgym::HigherLower>>),
    ("popgym-labyrinth-escape", parameters::<PopgymConfig<popgym::LabyrinthEscape>>),
    ("popgym-labyrinth-explore", parameters::<PopgymConfig<popgym::LabyrinthExplore>>),
    ("popgym-mine-sweeper", parameters::<PopgymConfig<popgym::MineSweeper>>),
    ("popgym-multiarmed-bandit", parameters::<PopgymConfig<popgym::MultiarmedBandit>>),
    (
        "popgym-noisy-position-only-cartpole",
        parameters::<PopgymConfig<popgym::NoisyPositionOnlyCartPole>>,
    ),
    (
        "popgym-noisy-position-only-pendulum",
        parameters::<PopgymConfig<popgym::NoisyPositionOnlyPendulum>>,
    ),
    ("popgym-position-only-cartpole", parameters::<PopgymConfig<popgym::PositionOnlyCartPole>>),
    ("popgym-position-only-pendulum", parameters::<PopgymConfig<popgym::PositionOnlyPendulum>>),
    ("popgym-repeat-first", parameters::<PopgymConfig<popgym::RepeatFirst>>),
    ("popgym-repeat-previous", parameters::<PopgymConfig<popgym::RepeatPrevious>>),
    ("popgym-velocity-only-cartpole", parameters::<PopgymConfig<popgym::VelocityOnlyCartPole>>),
    ("procgen", parameters::<procgen::ProcgenConfig>),
    ("rooms-watermaze", parameters::<rooms::watermaze::WatermazeConfig>),
    (
        "rooms-select-nonmatching-object",
        parameters::<rooms::nonmatching::SelectNonmatchingObjectConfig>,
    ),
    ("rooms-keys-doors-puzzle", parameters::<rooms::keys_doors::KeysDoorsPuzzleConfig>),
    ("hopper", |name, table| robot_parameters::<LocomotionConfig>(name, table, &HOPPER)),
    ("walker2d", |name, table| robot_parameters::<LocomotionConfig>(name, table, &WALKER)),
    ("half-cheetah", |name, table| {
        robot_parameters::<LocomotionConfig>(name, table, &HALF_CHEETAH)
    }),
    ("ant", |name, table| robot_parameters::<LocomotionConfig>(name, table, &ANT)),
    ("ant-direction", |name, table| robot_parameters::<DirectionConfig>(name, table, &ANT)),
    ("half-cheetah-direction", |name, table| {
        robot_parameters::<DirectionConfig>(name, table, &HALF_CHEETAH)
    }),
    ("half-cheetah-velocity", |name, table| {
        robot_parameters::<VelocityConfig>(name, table, &HALF_CHEETAH)
    }),
];
