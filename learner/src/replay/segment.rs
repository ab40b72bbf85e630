//! Segments: whole episodes in columns. An open segment grows, a sealed one never changes again.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use engram_mdp::{EnvSpec, Frames, StepType};

use super::column::Column;
use super::episode::{CompleteEpisode, EpisodeId};

/// Episodes one after another, the rows of all of them in the same columns. An episode of n
/// decisions has n + 1 rows.
#[derive(Debug)]
pub(super) struct Segment {
    /// The first episode; the others follow without a gap.
    pub(super) first: EpisodeId,
    /// Their places in the columns.
    pub(super) episodes: Vec<EpisodeSpan>,
    /// Bytes of the numbers of observations and actions, whose types the shape says.
    pub(super) observations: Column<u8>,
    pub(super) previous_actions: Column<u8>,
    pub(super) previous_rewards: Column<f32>,
    /// [`StepType::code`] of every row.
    pub(super) step_types: Column<u8>,
    /// Of the decision at each row; zero at Last rows.
    pub(super) log_probs: Column<f32>,
    /// Rows, counted within their episodes, before which a recurrent state is stored.
    pub(super) state_rows: Column<u32>,
    /// Those states.
    pub(super) states: Column<f32>,
    /// Its file, once it is sealed.
    pub(super) file: FileState,
}

/// State of a sealed segment's file.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Proof that it is whole, once it was written. Whoever writes it holds the lock.
    pub(super) written: Mutex<Option<WrittenFile>>,
    /// True if a checkpoint may refer to it.
    pub(super) kept: AtomicBool,
}

/// File that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenFile {
    /// Its checksum.
    pub(super) sha256: String,
    /// True if it would outlast a power failure.
    pub(super) synced: bool,
}

/// Place of an episode in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpisodeSpan {
    /// Its first row.
    pub(super) row: usize,
    /// Its decisions, n.
    pub(super) decisions: usize,
    /// Its first recurrent state.
    pub(super) state: usize,
    /// Its recurrent states.
    pub(super) states: usize,
    /// Version of the oldest weights that acted in it.
    pub(super) policy_version: u64,
}

impl Segment {
    /// Segment without episodes; the next one is `first`.
    pub(super) fn new(first: EpisodeId) -> Self {
        Segment {
            first,
            episodes: Vec::new(),
            observations: Column::default(),
            previous_actions: Column::default(),
            previous_rewards: Column::default(),
            step_types: Column::default(),
            log_probs: Column::default(),
            state_rows: Column::default(),
            states: Column::default(),
            file: FileState::default(),
        }
    }

    /// The last episode; there is one.
    pub(super) fn last(&self) -> EpisodeId {
        EpisodeId(self.first.0 + self.episodes.len() as u64 - 1)
    }

    /// The episode after the last one.
    pub(super) fn next(&self) -> EpisodeId {
        EpisodeId(self.first.0 + self.episodes.len() as u64)
    }

    /// True if its columns lie in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.step_types, Column::Owned(_))
    }

    /// Appends a complete episode.
    pub(super) fn push(&mut self, complete: &CompleteEpisode<'_>) {
        let CompleteEpisode { frames, log_probs, state_rows, states, policy_version } = *complete;
        self.episodes.push(EpisodeSpan {
            row: self.step_types.len(),
            decisions: frames.rows() - 1,
            state: self.state_rows.len(),
            states: state_rows.len(),
            policy_version,
        });
        self.observations.extend(frames.observations.as_bytes());
        self.previous_actions.extend(frames.previous_actions.as_bytes());
        self.previous_rewards.extend(&frames.previous_rewards);
        let codes: Vec<u8> = frames.step_types.iter().map(|step| step.code()).collect();
        self.step_types.extend(&codes);
        self.log_probs.extend(log_probs);
        self.log_probs.extend(&[0.0]);
        self.state_rows.extend(state_rows);
        self.states.extend(states);
    }

    /// Copies rows `rows` behind those of `to`, and their log-probabilities.
    pub(super) fn copy(
        &self,
        rows: Range<usize>,
        spec: &EnvSpec,
        to: &mut Frames,
        log_probs: &mut Vec<f32>,
    ) {
        let bytes = |size: usize| rows.start * size..rows.end * size;
        let observations = &self.observations[bytes(spec.observation.bytes())];
        to.observations.extend_from_bytes(observations);
        let actions = &self.previous_actions[bytes(4 * spec.action.len())];
        to.previous_actions.extend_from_bytes(actions);
        to.previous_rewards.extend_from_slice(&self.previous_rewards[rows.clone()]);
        to.step_types.extend(self.step_types[rows.clone()].iter().map(|&code| step_type(code)));
        log_probs.extend_from_slice(&self.log_probs[rows]);
    }

    /// The rows of an episode, counted within it, before which a state is stored.
    pub(super) fn state_rows(&self, episode: &EpisodeSpan) -> &[u32] {
        &self.state_rows[episode.state..episode.state + episode.states]
    }

    /// The state before row `row` of an episode, `width` numbers.
    pub(super) fn state(&self, episode: &EpisodeSpan, row: usize, width: usize) -> &[f32] {
        let at = self.state_rows(episode).binary_search(&(row as u32));
        let at = episode.state + at.expect("a sequence begins where a state is stored");
        &self.states[at * width..(at + 1) * width]
    }

    /// Rows of all its episodes.
    pub(super) fn rows(&self) -> usize {
        self.step_types.len()
    }

    /// Bytes of its columns.
    pub(super) fn bytes(&self) -> u64 {
        let columns = [
            self.observations.bytes(),
            self.previous_actions.bytes(),
            self.previous_rewards.bytes(),
            self.step_types.bytes(),
            self.log_probs.bytes(),
            self.state_rows.bytes(),
            self.states.bytes(),
        ];
        columns.iter().map(|column| column.len() as u64).sum()
    }

    /// Gives back memory that is reserved and not used.
    pub(super) fn shrink(&mut self) {
        self.episodes.shrink_to_fit();
        self.observations.shrink();
        self.previous_actions.shrink();
        self.previous_rewards.shrink();
        self.step_types.shrink();
        self.log_probs.shrink();
        self.state_rows.shrink();
        self.states.shrink();
    }
}

fn step_type(code: u8) -> StepType {
    StepType::from_code(code).expect("a segment's step types are checked when it is read")
}
