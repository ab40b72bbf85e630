//! Replay size, for graphs.

/// Size of a replay at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaySize {
    /// Complete episodes.
    pub episodes: u64,
    /// Their env steps.
    pub env_steps: u64,
    /// Bytes of their columns, of memory or of the disk.
    pub bytes: u64,
    /// Episodes that have begun.
    pub open_episodes: u64,
    /// Bytes of those, in memory.
    pub open_bytes: u64,
}
