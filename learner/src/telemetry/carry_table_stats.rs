//! Carry table stats, for graphs.

/// Size of the carry table, and changes since the last stats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarryTableStats {
    /// Streams in the table.
    pub streams: usize,
    /// Bytes of the table.
    pub bytes: u64,
    /// Streams that had to begin anew in the middle, since the last stats.
    pub restarts: u64,
    /// Streams that were evicted, since the last stats.
    pub evictions: u64,
}
