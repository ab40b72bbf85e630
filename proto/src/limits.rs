//! Size limits. Every message and every queue has one.

/// The largest message of any stream, in bytes: what tonic is told to decode.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The largest piece of weights, in bytes; larger weights are sent in several.
pub const WEIGHTS_CHUNK_BYTES: usize = 1 << 20;

/// The largest weights that a subscriber accepts, in bytes.
pub const MAX_WEIGHTS_BYTES: u64 = 4 << 30;

/// The most environments that one stream may speak for.
pub const MAX_ENVS_PER_STREAM: u32 = 16_384;

/// The most bytes of a registration, and of an evaluator's message.
pub const MAX_REGISTRATION_BYTES: usize = 64 << 10;

/// The most bytes of a request that is one message.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The most sides of an observation's shape.
pub const MAX_OBSERVATION_RANK: usize = 8;

/// The most trajectories in one message. Actors fill a message up to 1 MiB, and even the smallest
/// trajectory takes more than 64 bytes of it.
pub const MAX_TRAJECTORIES_PER_MESSAGE: usize = 16_384;

/// The most decisions in one trajectory.
pub const MAX_UNROLL_LENGTH: usize = 65_536;

/// The most episodes in one report.
pub const MAX_EPISODES_PER_REPORT: usize = 65_536;

/// The most bytes of a report: an episode takes less than 32.
pub const MAX_REPORT_BYTES: usize = 4 << 20;

/// The longest name of an environment or a run, in bytes.
pub const MAX_NAME_BYTES: usize = 1_024;
