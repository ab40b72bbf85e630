//! Episodes of a replay: their numbers, their shape, and one that is complete.

use engram_mdp::{EnvSpec, Frames};
use serde::{Deserialize, Serialize};

/// Number of a complete episode, counted in the order of completion.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EpisodeId(pub u64);

impl std::fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Shape of every trajectory of a replay. Trajectories were checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrajectoryShape {
    /// Observations and actions.
    pub spec: EnvSpec,
    /// Numbers of recurrent state that a trajectory brings: `Policy::exported_state_width`, zero
    /// where the memory layer exports none. Rows of a sample have as many.
    pub state_width: usize,
}

/// Complete episode of n decisions, where it was built.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompleteEpisode<'a> {
    /// n + 1 frames: First, Mid.., Last.
    pub(super) frames: &'a Frames,
    /// n log-probabilities.
    pub(super) log_probs: &'a [f32],
    /// Frames before which a recurrent state is stored.
    pub(super) state_rows: &'a [u32],
    /// Those states.
    pub(super) states: &'a [f32],
    /// Version of the oldest weights that acted in it.
    pub(super) policy_version: u64,
}

impl TrajectoryShape {
    /// Bytes of an episode of `decisions` with `states` recurrent states.
    pub(super) fn episode_bytes(&self, decisions: usize, states: usize) -> u64 {
        let spec = &self.spec;
        let row = spec.observation.bytes() + 4 * spec.action.len() + 4 + 1 + 4;
        ((decisions + 1) * row + states * (4 + 4 * self.state_width)) as u64
    }
}
