//! Episode builder: trajectories become episodes, one open episode per stream.

use std::collections::HashMap;

use engram_mdp::{Frames, StepType, StreamId, Trajectory};

use super::episode::{CompleteEpisode, TrajectoryShape};
use crate::config::replay::{InitialState, ReplayConfig};

/// An open episode keeps the memory of its columns for the next one up to so many bytes.
const KEPT_BYTES: u64 = 1 << 20;

/// Open episodes of all streams.
#[derive(Debug)]
pub(super) struct EpisodeBuilder {
    limits: EpisodeLimits,
    /// True if recurrent states are kept.
    keeps_states: bool,
    streams: HashMap<StreamId, OpenEpisode>,
    open: OpenEpisodes,
}

/// Number of open episodes, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OpenEpisodes {
    pub(super) episodes: u64,
    pub(super) bytes: u64,
}

/// Limits of an episode: those of the whole replay.
#[derive(Debug)]
struct EpisodeLimits {
    shape: TrajectoryShape,
    env_steps: u64,
    bytes: u64,
}

/// Stream of trajectories, and its open episode, if there is one.
#[derive(Debug)]
struct OpenEpisode {
    generation: u64,
    /// Sequence of the trajectory that continues the stream.
    next: u64,
    is_open: bool,
    frames: Frames,
    log_probs: Vec<f32>,
    state_rows: Vec<u32>,
    states: Vec<f32>,
    policy_version: u64,
}

/// Trajectory on its way through the builder.
#[derive(Debug)]
pub(super) struct Insertion<'a> {
    limits: &'a EpisodeLimits,
    all_open: &'a mut OpenEpisodes,
    open: &'a mut OpenEpisode,
    trajectory: &'a Trajectory,
    /// First frame that was not taken yet.
    from: usize,
    dropped_env_steps: u64,
}

/// End of an open episode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Built<'a> {
    /// Its Last frame has come.
    Complete(CompleteEpisode<'a>),
    /// It has become larger than the whole replay, and was dropped.
    TooLarge {
        /// Its env steps so far.
        env_steps: u64,
        /// Its bytes so far.
        bytes: u64,
    },
}

impl EpisodeBuilder {
    /// Builder for a replay, without any stream.
    pub(super) fn new(config: &ReplayConfig, shape: TrajectoryShape) -> Self {
        let (env_steps, bytes) = (config.max_env_steps, config.max_bytes.bytes());
        EpisodeBuilder {
            limits: EpisodeLimits { shape, env_steps, bytes },
            keeps_states: config.initial_state == InitialState::Stored,
            streams: HashMap::new(),
            open: OpenEpisodes::default(),
        }
    }

    /// Takes a trajectory. Its frames enter the stream's open episode as
    /// [`next`](Insertion::next) is called, until that returns nothing.
    pub(super) fn insert<'a>(
        &'a mut self,
        generation: u64,
        trajectory: &'a Trajectory,
    ) -> Insertion<'a> {
        let limits = &self.limits;
        let new = || OpenEpisode::new(&limits.shape, generation);
        let open = self.streams.entry(trajectory.stream).or_insert_with(new);
        self.open.subtract(open, &limits.shape);
        let continues = generation == open.generation && trajectory.sequence == open.next;
        (open.generation, open.next) = (generation, trajectory.sequence.saturating_add(1));
        let dropped_env_steps = if continues { 0 } else { open.abandon(limits) };
        if open.is_open && self.keeps_states && trajectory.frames.step_types[0] == StepType::Mid {
            open.state_rows.push(open.frames.rows() as u32 - 1);
            open.states.extend_from_slice(&trajectory.core_state);
        }
        let all_open = &mut self.open;
        Insertion { limits, all_open, open, trajectory, from: 0, dropped_env_steps }
    }

    /// Forgets the streams of an actor up to that generation; returns the env steps of their
    /// open episodes.
    pub(super) fn forget(&mut self, actor: u32, generation: u64) -> u64 {
        let (limits, open) = (&self.limits, &mut self.open);
        let mut env_steps = 0;
        self.streams.retain(|stream, episode| {
            let kept = stream.actor != actor || episode.generation > generation;
            if !kept {
                open.subtract(episode, &limits.shape);
                env_steps += episode.abandon(limits);
            }
            kept
        });
        env_steps
    }

    /// All that is open.
    pub(super) fn open(&self) -> OpenEpisodes {
        self.open
    }
}

impl OpenEpisodes {
    fn add(&mut self, episode: &OpenEpisode, shape: &TrajectoryShape) {
        if episode.is_open {
            self.episodes += 1;
            self.bytes += episode.bytes(shape);
        }
    }

    fn subtract(&mut self, episode: &OpenEpisode, shape: &TrajectoryShape) {
        if episode.is_open {
            self.episodes -= 1;
            self.bytes -= episode.bytes(shape);
        }
    }
}

impl Drop for Insertion<'_> {
    fn drop(&mut self) {
        self.all_open.add(self.open, &self.limits.shape);
    }
}

impl Insertion<'_> {
    /// Takes frames up to the next end of an episode, and returns that; nothing when all are
    /// taken.
    pub(super) fn next(&mut self) -> Option<Built<'_>> {
        if !self.open.is_open {
            // The one that was returned last.
            self.open.clear(self.limits);
        }
        while self.from < self.trajectory.frames.rows() {
            let last = self.take_run();
            if !self.open.is_open {
                continue;
            }
            let (env_steps, bytes) = self.open.size(&self.limits.shape);
            if env_steps > self.limits.env_steps || bytes > self.limits.bytes {
                self.dropped_env_steps += self.open.abandon(self.limits);
                return Some(Built::TooLarge { env_steps, bytes });
            }
            if self.trajectory.frames.step_types[last].is_last() {
                self.open.is_open = false;
                return Some(Built::Complete(self.open.complete()));
            }
        }
        None
    }

    /// Env steps that have become part of no episode so far: those of the trajectory, or of an
    /// episode that it has cut off.
    pub(super) fn dropped_env_steps(&self) -> u64 {
        self.dropped_env_steps
    }

    /// Takes the frames of one episode, up to the next Last one; returns where that is.
    fn take_run(&mut self) -> usize {
        let (limits, open, trajectory) = (self.limits, &mut *self.open, self.trajectory);
        let (steps, end) = (&trajectory.frames.step_types, trajectory.unroll_length());
        let first = self.from;
        let last = (first..=end).find(|&t| steps[t].is_last()).unwrap_or(end);
        self.from = last + 1;
        if steps[first].is_first() {
            // At frame 0 an interruption may have cut off what was open.
            self.dropped_env_steps += open.abandon(limits);
            open.is_open = true;
            open.policy_version = u64::MAX;
        }
        if !open.is_open {
            // The beginning is missing. A Last frame alone is one that was taken before.
            self.dropped_env_steps += (last - first) as u64;
            return last;
        }
        // Frame 0 of a stream that continues was the last one of the trajectory before.
        let rows = first + usize::from(open.frames.rows() > 0)..last + 1;
        open.frames.extend_rows(&trajectory.frames, rows, &limits.shape.spec);
        open.log_probs.extend_from_slice(&trajectory.log_probs[first..last]);
        if let Some(&version) = trajectory.policy_versions[first..last].first() {
            open.policy_version = open.policy_version.min(version);
        }
        last
    }
}

impl OpenEpisode {
    fn new(shape: &TrajectoryShape, generation: u64) -> Self {
        OpenEpisode {
            generation,
            next: 0,
            is_open: false,
            frames: Frames::with_capacity(&shape.spec, 0),
            log_probs: Vec::new(),
            state_rows: Vec::new(),
            states: Vec::new(),
            policy_version: 0,
        }
    }

    fn complete(&self) -> CompleteEpisode<'_> {
        CompleteEpisode {
            frames: &self.frames,
            log_probs: &self.log_probs,
            state_rows: &self.state_rows,
            states: &self.states,
            policy_version: self.policy_version,
        }
    }

    /// Abandons the open episode, if there is one; returns its env steps.
    fn abandon(&mut self, limits: &EpisodeLimits) -> u64 {
        if !self.is_open {
            return 0;
        }
        let env_steps = self.log_probs.len() as u64;
        self.clear(limits);
        env_steps
    }

    fn clear(&mut self, limits: &EpisodeLimits) {
        if self.bytes(&limits.shape) > KEPT_BYTES {
            self.frames = Frames::with_capacity(&limits.shape.spec, 0);
        }
        self.frames.clear();
        self.log_probs.clear();
        self.state_rows.clear();
        self.states.clear();
        self.is_open = false;
    }

    /// Env steps and bytes.
    fn size(&self, shape: &TrajectoryShape) -> (u64, u64) {
        (self.log_probs.len() as u64, self.bytes(shape))
    }

    fn bytes(&self, shape: &TrajectoryShape) -> u64 {
        shape.episode_bytes(self.log_probs.len(), self.state_rows.len())
    }
}
