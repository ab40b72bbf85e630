//! Trajectories become episodes: one open episode per stream.

use std::collections::HashMap;

use engram_mdp::{Frames, StepType, StreamId, Trajectory};

use super::World;
use super::segment::episode_bytes;
use super::shelf::Shelf;
use crate::rpc::queue::Arrival;

/// An open episode keeps the memory of its columns for the next one up to so many bytes.
const KEPT_BYTES: u64 = 1 << 20;

/// The open episodes of all streams.
#[derive(Debug)]
pub(super) struct Building {
    world: World,
    /// Whether recurrent states are kept.
    keeps_states: bool,
    streams: HashMap<StreamId, Stream>,
}

/// A complete episode, where it was built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished<'a> {
    /// n + 1 frames: First, Mid.., Last.
    pub(super) frames: &'a Frames,
    /// n log-probabilities.
    pub(super) log_probs: &'a [f32],
    /// Frames before which a recurrent state is stored.
    pub(super) state_rows: &'a [u32],
    /// Those states.
    pub(super) states: &'a [f32],
    /// The version of the oldest weights in it.
    pub(super) policy_version: u64,
}

/// Where a stream stands.
#[derive(Debug)]
struct Stream {
    generation: u64,
    next: u64,
    open: bool,
    frames: Frames,
    log_probs: Vec<f32>,
    state_rows: Vec<u32>,
    states: Vec<f32>,
    policy_version: u64,
}

impl Building {
    /// No streams yet.
    pub(super) fn new(world: World, keeps_states: bool) -> Self {
        Building { world, keeps_states, streams: HashMap::new() }
    }

    /// Takes a trajectory. Returns the env steps and bytes of an open episode that the shelf would
    /// not let grow, and that was dropped for it.
    pub(super) fn insert(&mut self, arrival: &Arrival, shelf: &mut Shelf) -> Option<(u64, u64)> {
        let Arrival { trajectory, generation } = arrival;
        let (generation, world) = (*generation, &self.world);
        let stream =
            self.streams.entry(trajectory.stream).or_insert_with(|| Stream::new(world, generation));
        let continues = generation == stream.generation && trajectory.sequence == stream.next;
        (stream.generation, stream.next) = (generation, trajectory.sequence.saturating_add(1));
        if !continues {
            stream.drop_open(shelf);
        }
        if stream.open && self.keeps_states && trajectory.frames.step_types[0] == StepType::Mid {
            stream.state_rows.push(stream.frames.rows() as u32 - 1);
            stream.states.extend_from_slice(&trajectory.core_state);
        }
        let (mut refused, mut from) = (None, 0);
        while from < trajectory.frames.rows() {
            refused = refused.or(stream.run(trajectory, &mut from, world, shelf));
        }
        refused
    }

    /// Episodes that have begun.
    pub(super) fn open(&self) -> usize {
        self.streams.values().filter(|stream| stream.open).count()
    }

    /// Bytes of the episodes that have begun.
    pub(super) fn bytes(&self) -> u64 {
        let open = self.streams.values().filter(|stream| stream.open);
        open.map(|stream| stream.bytes(&self.world)).sum()
    }
}

impl Stream {
    fn new(world: &World, generation: u64) -> Self {
        Stream {
            generation,
            next: 0,
            open: false,
            frames: Frames::with_capacity(&world.spec, 0),
            log_probs: Vec::new(),
            state_rows: Vec::new(),
            states: Vec::new(),
            policy_version: 0,
        }
    }

    /// Takes the frames of one episode: those of `trajectory` from `from` to the next Last one.
    fn run(
        &mut self,
        trajectory: &Trajectory,
        from: &mut usize,
        world: &World,
        shelf: &mut Shelf,
    ) -> Option<(u64, u64)> {
        let (steps, end) = (&trajectory.frames.step_types, trajectory.unroll_length());
        let first = *from;
        let last = (first..=end).find(|&t| steps[t].is_last()).unwrap_or(end);
        *from = last + 1;
        if steps[first].is_first() {
            // At frame 0 an interruption may have cut off what was open.
            self.drop_open(shelf);
            self.open = true;
            self.policy_version = u64::MAX;
        }
        if !self.open {
            // The beginning is missing. A Last frame alone is one that was taken before.
            shelf.dropped((last - first) as u64);
            return None;
        }
        // Frame 0 of a stream that continues was the last one of the trajectory before.
        let rows = first + usize::from(self.frames.rows() > 0)..last + 1;
        self.frames.extend_rows(&trajectory.frames, rows, &world.spec);
        self.log_probs.extend_from_slice(&trajectory.log_probs[first..last]);
        if let Some(&version) = trajectory.policy_versions[first..last].first() {
            self.policy_version = self.policy_version.min(version);
        }
        let (env_steps, bytes) = (self.log_probs.len() as u64, self.bytes(world));
        if !shelf.may_grow(env_steps, bytes) {
            self.drop_open(shelf);
            return Some((env_steps, bytes));
        }
        if steps[last].is_last() {
            shelf.finished(Finished {
                frames: &self.frames,
                log_probs: &self.log_probs,
                state_rows: &self.state_rows,
                states: &self.states,
                policy_version: self.policy_version,
            });
            self.clear(world);
        }
        None
    }

    /// Drops the open episode, if there is one.
    fn drop_open(&mut self, shelf: &mut Shelf) {
        if self.open {
            shelf.dropped(self.log_probs.len() as u64);
            self.clear(&shelf.world);
        }
    }

    fn clear(&mut self, world: &World) {
        if self.bytes(world) > KEPT_BYTES {
            self.frames = Frames::with_capacity(&world.spec, 0);
        }
        self.frames.clear();
        self.log_probs.clear();
        self.state_rows.clear();
        self.states.clear();
        self.open = false;
    }

    fn bytes(&self, world: &World) -> u64 {
        episode_bytes(world, self.log_probs.len(), self.state_rows.len())
    }
}
