//! Size limits. Every message and every queue has one.

/// The largest message of any stream, in bytes: what tonic is told to decode.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The largest piece of weights, in bytes; larger weights are sent in several.
pub const WEIGHTS_CHUNK_BYTES: usize = 1 << 20;

/// The largest weights that a subscriber accepts, in bytes.
pub const MAX_WEIGHTS_BYTES: u64 = 4 << 30;

/// The most environments that one stream may speak for.
pub const MAX_ENVS_PER_STREAM: u32 = 16_384;

/// The most decisions in one trajectory.
pub const MAX_UNROLL_LENGTH: usize = 65_536;

/// The most episodes in one report.
pub const MAX_EPISODES_PER_REPORT: usize = 65_536;

/// The longest name of an environment or a run, in bytes.
pub const MAX_NAME_BYTES: usize = 1_024;
