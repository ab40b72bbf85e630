//! A replay of whole episodes, for algorithms that learn from what other policies did.
//!
//! ```text
//! insert ──▶ an open episode per stream ──Last──▶ open segment ──full──▶ sealed segments ──▶ forgotten
//!                                                      └────────── sample ────────┘
//! ```
//!
//! Episodes are built from the trajectories of a stream and enter the replay when their Last frame
//! comes; a hole, a new generation or an interruption drops the open one. A *segment* keeps the
//! rows of many episodes in columns, each observation once. Sealed ones never change, so a
//! checkpoint writes each once. The oldest episodes are forgotten first.
//!
//! What is held: at most `max_env_steps` decisions and `max_bytes` bytes of live episodes. Memory
//! is given back by whole segments, so the columns may exceed `max_bytes` by the forgotten part
//! of the oldest segment; a segment is a sixteenth of the bound and at most 64 MiB, or one
//! episode where that is larger. Open episodes come on top ([`Held::open_bytes`]).
//!
//! A [`Sample`] is a batch like any other (ARCHITECTURE.md, conventions):
//!
//! - A sequence that ends within its episode ends with a `Last(Truncated)` frame, whose real
//!   observation the last decision bootstraps from.
//! - One that begins within its episode begins, from a zero state, with a First frame. From a
//!   stored state it keeps Mid and its past, and the row's `core_state` is that state.
//! - With a burn-in, the first decision that is learned from stands at index `burn_in` of every
//!   row. The burn-in counts in `Batch::weights`, and does not in [`Sample::weights`].
//! - Rows are filled with `Last(Truncated)` frames of zeros: at their end, and in front where an
//!   episode has too few decisions before a burn-in ends. These frames follow one another, which
//!   a stream's never do; they weigh nothing.
//! - *Packed*, several sequences share a row, a First frame after a Last one. A packed sample has
//!   as many decisions to learn from and fewer rows; of episodes whose lengths are uniform from 1
//!   to T, a batch of 64 wastes a few percent instead of half ([`Sample::waste`]).
//!
//! In reading order: `building` makes episodes, `segment` keeps them in
//! `column`s on the `shelf`, `starts` and `priorities` (a `sum_tree`) say what is drawn, `packing`
//! and `rows` make a [`Sample`] of it. `file` and `saving` are for checkpoints.

pub mod rate_limiter;

mod building;

mod shelf;

mod segment;

mod column;

mod starts;

mod priorities;

mod sum_tree;

mod packing;

mod rows;

mod sample;

mod file;

mod saving;

mod error;

use std::path::PathBuf;

use engram_mdp::{EnvSpec, Generator};
use serde::{Deserialize, Serialize};

use crate::config::flags::ByteSize;
use crate::config::replay::{InitialState, ReplayConfig, Sampling, Sequences, Storage};
use crate::rpc::queue::Arrival;
use building::Building;
use rows::{Placed, Shape};
use shelf::{Draw, Shelf};

pub use error::ReplayError;
pub use sample::{Piece, Priority, Sample};
pub use saving::{Lost, Saved, SavedSegment, Snapshot, prune};
pub use shelf::Totals;

/// A complete episode, numbered in the order in which they were completed.
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

/// What the replay must know of trajectories, which were checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Observations and actions.
    pub spec: EnvSpec,
    /// Numbers of recurrent state that a trajectory brings: `Policy::exported_state_width`, zero
    /// where the memory layer exports none. Rows of a sample have as many.
    pub state_width: usize,
}

/// What became of one trajectory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Its env steps, whatever became of them.
    pub env_steps: u64,
    /// Episodes that it completed.
    pub episodes: u64,
    /// Env steps dropped on its account, its own or those of an episode that it cut off.
    pub dropped_env_steps: u64,
    /// Episodes forgotten for those that it completed.
    pub forgotten_episodes: u64,
}

/// What a replay holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
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

/// A replay. It belongs to one thread, or lies behind a lock; it waits for nothing but, in a
/// replay on the disk, the file of a segment that is full.
#[derive(Debug)]
pub struct Replay {
    building: Building,
    shelf: Shelf,
}

impl Replay {
    /// An empty replay. `folder` is where its segments are written, by a replay on the disk when
    /// they are full.
    pub fn new(
        config: ReplayConfig,
        world: World,
        folder: Option<PathBuf>,
    ) -> Result<Self, ReplayError> {
        config.validate()?;
        let stored = config.initial_state == InitialState::Stored;
        if stored && world.state_width == 0 {
            return Err(ReplayError::NoState);
        }
        if config.storage == Storage::Disk && folder.is_none() {
            return Err(ReplayError::NoFolder);
        }
        let building = Building::new(world.clone(), stored);
        Ok(Replay { building, shelf: Shelf::new(config, world, folder) })
    }

    /// Takes a trajectory, which was checked when it came, in the order of its stream.
    ///
    /// An episode that is larger than the whole replay is an error; it is dropped, and the replay
    /// stays usable.
    pub fn insert(&mut self, arrival: &Arrival) -> Result<Inserted, ReplayError> {
        let Replay { building, shelf } = self;
        let trajectory = &arrival.trajectory;
        let (expected, found) = (shelf.world.state_width, trajectory.core_state.len());
        let stored = shelf.config.initial_state == InitialState::Stored;
        if stored && found != expected {
            let stream = trajectory.stream;
            return Err(ReplayError::StateWidth { stream, expected, found });
        }
        let before = shelf.totals;
        if let Some((env_steps, bytes)) = building.insert(arrival, shelf) {
            return Err(ReplayError::EpisodeTooLarge {
                stream: trajectory.stream,
                env_steps,
                bytes: ByteSize(bytes),
                max_env_steps: shelf.config.max_env_steps,
                max_bytes: shelf.config.max_bytes,
            });
        }
        let now = shelf.totals;
        Ok(Inserted {
            env_steps: trajectory.env_steps() as u64,
            episodes: now.episodes - before.episodes,
            dropped_env_steps: now.dropped_env_steps - before.dropped_env_steps,
            forgotten_episodes: now.forgotten_episodes - before.forgotten_episodes,
        })
    }

    /// Draws `sequences` sequences, with replacement. A sample has so many rows, or fewer where
    /// they are packed, of T decisions: the burn-in and the chunk's length, or the longest of the
    /// episodes that were drawn.
    pub fn sample(
        &self,
        sequences: usize,
        generator: &mut Generator,
    ) -> Result<Sample, ReplayError> {
        assert!(sequences > 0, "a sample of no sequences");
        let draws: Option<Vec<Draw>> = (0..sequences).map(|_| self.shelf.draw(generator)).collect();
        let draws = draws.ok_or_else(|| ReplayError::Empty { open: self.building.open() })?;
        Ok(self.assemble(&draws))
    }

    /// Changes the priorities of what is still held; returns of how many. What has been forgotten
    /// is passed over, and so is what is negative or not finite, which keeps its old priority.
    pub fn update_priorities(&mut self, priorities: &[Priority]) -> usize {
        let good = |p: &&Priority| (0.0..=f64::from(f32::MAX)).contains(&p.priority);
        priorities.iter().filter(good).filter(|p| self.shelf.set_priority(p)).count()
    }

    /// Decisions of the longest episode ever completed. Chunks longer than that are mostly
    /// padding.
    pub fn longest_episode(&self) -> usize {
        self.shelf.longest
    }

    /// What is held at the moment.
    pub fn held(&self) -> Held {
        Held {
            episodes: self.shelf.entries().len() as u64,
            env_steps: self.shelf.env_steps,
            bytes: self.shelf.bytes(),
            open_episodes: self.building.open() as u64,
            open_bytes: self.building.bytes(),
        }
    }

    /// What has happened so far.
    pub fn totals(&self) -> Totals {
        self.shelf.totals
    }

    fn assemble(&self, draws: &[Draw]) -> Sample {
        let config = &self.shelf.config;
        let smallest = draws.iter().map(|draw| draw.likelihood).fold(f64::INFINITY, f64::min);
        let mut placed: Vec<Placed<'_>> =
            draws.iter().map(|draw| self.place(draw, smallest)).collect();
        let longest = placed.iter().map(|placed| placed.piece.length).max();
        let time = match config.sequences {
            Sequences::Episodes => longest.expect("a sample holds a sequence"),
            Sequences::Chunks { length, burn_in } => burn_in + length,
        };
        let rows = match config.packed {
            true => {
                let frames: Vec<usize> = placed.iter().map(|p| p.piece.length + 1).collect();
                packing::pack(&frames, time + 1)
            }
            false => (0..placed.len()).map(|sequence| vec![sequence]).collect(),
        };
        let (burn_in, initial_state) = (config.burn_in(), config.initial_state);
        let shape = Shape { time, burn_in, initial_state, world: &self.shelf.world };
        let mut sample = Sample { rows: Vec::with_capacity(rows.len()), pieces: Vec::new() };
        for (number, row) in rows.iter().enumerate() {
            let mut at = burn_in;
            for &sequence in row {
                let piece = &mut placed[sequence].piece;
                (piece.row, piece.at) = (number, at);
                at += piece.length + 1;
                sample.pieces.push(*piece);
            }
            let of_row: Vec<Placed<'_>> = row.iter().map(|&sequence| placed[sequence]).collect();
            sample.rows.push(shape.row(number, &of_row));
        }
        sample
    }

    fn place(&self, draw: &Draw, smallest: f64) -> Placed<'_> {
        let (segment, episode) = self.shelf.find(draw.entry);
        let importance = match self.shelf.config.sampling {
            Sampling::Uniform => 0.0,
            Sampling::Prioritized { importance, .. } => importance,
        };
        let piece = Piece {
            episode: self.shelf.entries()[draw.entry].id,
            start: draw.start,
            length: self.shelf.starts.length(episode.decisions, draw.start),
            row: 0,
            at: 0,
            weight: (smallest / draw.likelihood).powf(importance) as f32,
            policy_version: episode.policy_version,
        };
        Placed { piece, segment, episode }
    }
}
