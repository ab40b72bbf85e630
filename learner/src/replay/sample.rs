//! Replay sample: rows of a batch out of a replay, and the origin of each sequence in them.

use engram_mdp::Trajectory;

use super::episode::EpisodeId;

/// Sequences side by side, as rows of equal length T for `engram_policy::Batch`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySample {
    /// Rows of T decisions and T + 1 frames; their streams and sequences name nothing.
    pub rows: Vec<Trajectory>,
    /// The sequences in them, row by row and within a row in their order.
    pub pieces: Vec<Piece>,
}

/// Piece: a sequence, its place in an episode and in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// The episode.
    pub episode: EpisodeId,
    /// First decision of the episode to learn from.
    pub start: usize,
    /// Decisions to learn from.
    pub length: usize,
    /// The row.
    pub row: usize,
    /// Index in the row of the first decision to learn from; the burn-in precedes it.
    pub at: usize,
    /// Importance weight of its decisions, at most 1; always 1 where sampling is uniform.
    pub weight: f32,
    /// Version of the oldest weights that acted in the episode.
    pub policy_version: u64,
}

/// Priority of a part of an episode from now on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Priority {
    /// The episode.
    pub episode: EpisodeId,
    /// A start in it.
    pub start: usize,
    /// p, at least zero. At zero it is not drawn any more while others have more.
    pub priority: f64,
}

impl ReplaySample {
    /// T, decisions per row.
    pub fn unroll_length(&self) -> usize {
        self.rows[0].unroll_length()
    }

    /// Weight of each decision in a loss, time-major `[T, B]`: the importance weight of its
    /// sequence, zero where nothing is learned from it. Unlike `Batch::weights` it is zero during
    /// the burn-in, too.
    pub fn weights(&self) -> Vec<f32> {
        let batch = self.rows.len();
        let mut weights = vec![0.0; self.unroll_length() * batch];
        for piece in &self.pieces {
            for t in piece.at..piece.at + piece.length {
                weights[t * batch + piece.row] = piece.weight;
            }
        }
        weights
    }

    /// New priorities out of TD errors `[T, B]`, time-major: `η max |δ| + (1 − η) mean |δ|` over
    /// the decisions of each sequence (Kapturowski et al. 2019, R2D2, section 2.3,
    /// <https://openreview.net/forum?id=r1lyTjAqYX>), with η = `largest_share`.
    pub fn priorities(&self, td_errors: &[f32], largest_share: f64) -> Vec<Priority> {
        let batch = self.rows.len();
        let expected = self.unroll_length() * batch;
        assert_eq!(td_errors.len(), expected, "TD errors have shape [T, B]");
        let priority = |piece: &Piece| {
            let decisions = piece.at..piece.at + piece.length;
            let errors = decisions.map(|t| f64::from(td_errors[t * batch + piece.row].abs()));
            let (largest, sum) =
                errors.fold((0.0, 0.0), |(largest, sum), x| (f64::max(largest, x), sum + x));
            let mean = sum / piece.length as f64;
            let priority = largest_share * largest + (1.0 - largest_share) * mean;
            Priority { episode: piece.episode, start: piece.start, priority }
        };
        self.pieces.iter().map(priority).collect()
    }
}
