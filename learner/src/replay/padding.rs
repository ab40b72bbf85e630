//! Padding: pieces of episodes become rows of equal length, in the convention of every batch.

use engram_mdp::{Actions, Ending, Frames, Observations, StepType, StreamId, Trajectory};

use super::episode::TrajectoryShape;
use super::sample::Piece;
use super::segment::{EpisodeSpan, Segment};
use crate::config::replay::InitialState;

/// Piece, and the place of its frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredPiece<'a> {
    /// The piece.
    pub(super) piece: Piece,
    /// The segment of its episode.
    pub(super) segment: &'a Segment,
    /// Its episode.
    pub(super) episode: EpisodeSpan,
}

/// Layout of every row of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowLayout<'a> {
    /// Decisions per row, T.
    pub(super) time: usize,
    /// Decisions before those to learn from.
    pub(super) burn_in: usize,
    /// Recurrent state at the beginning of a row.
    pub(super) initial_state: InitialState,
    /// Shape of trajectories.
    pub(super) shape: &'a TrajectoryShape,
}

const TRUNCATED: StepType = StepType::Last(Ending::Truncated);

impl RowLayout<'_> {
    /// Row of pieces, one after another, and frames that count for nothing up to its end.
    pub(super) fn row(self, number: usize, pieces: &[StoredPiece<'_>]) -> Trajectory {
        let mut frames = Frames::with_capacity(&self.shape.spec, self.time + 1);
        let mut log_probs = Vec::with_capacity(self.time + 1);
        let mut core_state = vec![0.0; self.shape.state_width];
        for stored in pieces {
            self.put(stored, &mut frames, &mut log_probs, &mut core_state);
        }
        self.pad(self.time + 1, &mut frames, &mut log_probs);
        log_probs.truncate(self.time);
        let oldest = pieces.iter().map(|stored| stored.episode.policy_version).min();
        Trajectory {
            stream: StreamId { actor: 0, env_index: number as u32 },
            sequence: 0,
            frames,
            log_probs,
            policy_versions: vec![oldest.unwrap_or_default(); self.time],
            core_state,
        }
    }

    /// Puts the burn-in and the decisions of a piece behind what is there.
    fn put(
        self,
        stored: &StoredPiece<'_>,
        frames: &mut Frames,
        log_probs: &mut Vec<f32>,
        core_state: &mut [f32],
    ) {
        let StoredPiece { piece, segment, episode } = stored;
        let begins = frames.rows();
        let (from, to) = (piece.start.saturating_sub(self.burn_in), piece.start + piece.length);
        let missing = self.burn_in - (piece.start - from);
        self.pad(begins + missing, frames, log_probs);
        let rows = episode.row + from..episode.row + to + 1;
        segment.copy(rows, &self.shape.spec, frames, log_probs);
        if from > 0 {
            match self.initial_state {
                InitialState::Zero => begin(frames, begins, self.shape.spec.action.len()),
                InitialState::Stored => {
                    let state = segment.state(episode, from, self.shape.state_width);
                    core_state.copy_from_slice(state);
                }
            }
        }
        if to < episode.decisions {
            // It fills its row, so what is said of the decision here is cut off with it.
            *frames.step_types.last_mut().expect("a frame was copied") = TRUNCATED;
        }
    }

    /// Adds frames that count for nothing until there are `rows`.
    fn pad(self, rows: usize, frames: &mut Frames, log_probs: &mut Vec<f32>) {
        let spec = &self.shape.spec;
        match &mut frames.observations {
            Observations::U8(numbers) => numbers.resize(rows * spec.observation.len(), 0),
            Observations::F32(numbers) => numbers.resize(rows * spec.observation.len(), 0.0),
        }
        match &mut frames.previous_actions {
            Actions::Discrete(numbers) => numbers.resize(rows * spec.action.len(), 0),
            Actions::Continuous(numbers) => numbers.resize(rows * spec.action.len(), 0.0),
        }
        frames.previous_rewards.resize(rows, 0.0);
        frames.step_types.resize(rows, TRUNCATED);
        log_probs.resize(rows, 0.0);
    }
}

/// Makes a frame a First one: nothing led to it.
fn begin(frames: &mut Frames, row: usize, action_len: usize) {
    frames.step_types[row] = StepType::First;
    frames.previous_rewards[row] = 0.0;
    frames.previous_actions.set_row(row, None, action_len);
}
