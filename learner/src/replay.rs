//! Replay of whole episodes, for algorithms that learn from what other policies did.
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
//! A replay holds at most `max_env_steps` decisions and `max_bytes` bytes of live episodes. Memory
//! is given back by whole segments, so the columns may exceed `max_bytes` by the forgotten part
//! of the oldest segment; a segment is a sixteenth of the bound and at most 64 MiB, or one
//! episode where that is larger. Open episodes come on top (`ReplaySize::open_bytes`).
//!
//! A [`ReplaySample`] is a batch like any other (ARCHITECTURE.md, conventions):
//!
//! - A sequence that ends within its episode ends with a `Last(Truncated)` frame, whose real
//!   observation the last decision bootstraps from.
//! - One that begins within its episode begins, from a zero state, with a First frame. From a
//!   stored state it keeps Mid and its past, and the row's `core_state` is that state.
//! - With a burn-in, the first decision that is learned from stands at index `burn_in` of every
//!   row. The burn-in counts in `Batch::weights`, and does not in [`ReplaySample::weights`].
//! - Rows are filled with `Last(Truncated)` frames of zeros: at their end, and in front where an
//!   episode has too few decisions before a burn-in ends. These frames follow one another, which
//!   a stream's never do; they weigh nothing.
//! - *Packed*, several sequences share a row, a First frame after a Last one. A packed sample has
//!   as many decisions to learn from and fewer rows; of episodes whose lengths are uniform from 1
//!   to T, a batch of 64 wastes a few percent instead of half.
//!
//! From top to bottom: an `episode_builder` makes episodes of trajectories, an `episode_store`
//! keeps them in segments and draws sequences, by a `start_index` and `priorities` (a `sum_tree`).
//! Then `packing` and `padding` make rows of a [`ReplaySample`]. A `snapshot` goes into a checkpoint; a
//! `segment_folder` holds the files of a replay on the disk. A `segment` has `column`s, and a
//! `segment_file`. The [`rate_limiter`] holds updates per env step.

pub mod rate_limiter;

mod episode_builder;

mod snapshot;

mod segment_folder;

mod episode_store;

mod start_index;

mod priorities;

mod sum_tree;

mod packing;

mod padding;

mod sample;

mod segment_file;

mod segment;

mod column;

mod error;

mod episode;

use std::path::PathBuf;
use std::sync::Arc;

use engram_mdp::{Generator, Trajectory};

use crate::config::flags::ByteSize;
use crate::config::replay::{InitialState, ReplayConfig, Sampling, Sequences, Storage};
use crate::durable::owner::Owner;
use crate::telemetry::replay_size::ReplaySize;
use episode_builder::{Built, EpisodeBuilder};
use episode_store::{Draw, EpisodeStore, SegmentChanges};
use padding::{RowLayout, StoredPiece};
use segment_folder::SegmentFolder;

pub use episode::{EpisodeId, TrajectoryShape};
pub use episode_store::ReplayTotals;
pub use error::ReplayError;
pub use sample::{Piece, Priority, ReplaySample};
pub use snapshot::{LostSegments, ReplaySnapshot, ReplayState, SegmentState, prune_segments};

/// Outcome of one trajectory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Its env steps, whatever became of them.
    pub env_steps: u64,
    /// Env steps of each episode that it completed.
    pub episodes: Vec<u64>,
    /// Env steps dropped on its account, its own or those of an episode that it cut off.
    pub dropped_env_steps: u64,
    /// Episodes forgotten for those that it completed.
    pub forgotten_episodes: u64,
}

/// Replay. It belongs to one thread, or lies behind a lock; it waits for nothing but, in a replay
/// on the disk, the file of a segment that is full.
#[derive(Debug)]
pub struct Replay {
    builder: EpisodeBuilder,
    store: EpisodeStore,
    /// Folder of the segments of a replay on the disk.
    folder: Option<SegmentFolder>,
}

impl Replay {
    /// Empty replay. A replay on the disk writes its segments into `folder` when they are full.
    pub fn new(
        config: ReplayConfig,
        shape: TrajectoryShape,
        folder: Option<PathBuf>,
    ) -> Result<Self, ReplayError> {
        config.validate()?;
        if config.initial_state == InitialState::Stored && shape.state_width == 0 {
            return Err(ReplayError::NoState);
        }
        let folder = match (config.storage, folder) {
            (Storage::Memory, _) => None,
            (Storage::Disk, Some(folder)) => Some(SegmentFolder::new(folder, shape.clone())),
            (Storage::Disk, None) => return Err(ReplayError::NoFolder),
        };
        let builder = EpisodeBuilder::new(&config, shape.clone());
        Ok(Replay { builder, store: EpisodeStore::new(config, shape), folder })
    }

    /// Replay as it was saved into `folder`. What is missing or torn is left out, with a warning
    /// that says how much that was.
    pub fn restore(
        config: ReplayConfig,
        shape: TrajectoryShape,
        folder: PathBuf,
        state: &ReplayState,
    ) -> Result<(Self, LostSegments), ReplayError> {
        let mut replay = Replay::new(config, shape, Some(folder.clone()))?;
        let lost = snapshot::restore(&mut replay.store, &folder, state);
        Ok((replay, lost))
    }

    /// The replay is of a learner that owns the run's folder. It changes no file there once another
    /// one does.
    pub fn own(&mut self, owner: Owner) {
        if let Some(folder) = &mut self.folder {
            folder.owner = Some(owner);
        }
    }

    /// Seals the open segment and takes hold of everything. Writes nothing.
    pub fn snapshot(&mut self) -> ReplaySnapshot {
        self.store.seal();
        self.map_written();
        snapshot::take(&self.store)
    }

    /// Takes a trajectory of an incarnation of an actor, which was checked when it came, in the
    /// order of its stream.
    ///
    /// An episode that is larger than the whole replay is an error; it is dropped, and the replay
    /// stays usable.
    pub fn insert(
        &mut self,
        generation: u64,
        trajectory: &Trajectory,
    ) -> Result<Inserted, ReplayError> {
        let (stream, config) = (trajectory.stream, &self.store.config);
        let (expected, found) = (self.store.shape.state_width, trajectory.core_state.len());
        if config.initial_state == InitialState::Stored && found != expected {
            return Err(ReplayError::StateWidth { stream, expected, found });
        }
        let (max_env_steps, max_bytes) = (config.max_env_steps, config.max_bytes);
        let (before, mut episodes, mut refused) = (self.store.totals(), Vec::new(), None);
        let mut insertion = self.builder.insert(generation, trajectory);
        while let Some(built) = insertion.next() {
            match built {
                Built::Complete(episode) => {
                    episodes.push(episode.frames.rows() as u64 - 1);
                    let changes = self.store.add(&episode);
                    settle(&mut self.store, self.folder.as_ref(), &changes);
                }
                Built::TooLarge { env_steps, bytes } => {
                    let bytes = ByteSize(bytes);
                    refused = refused.or(Some(ReplayError::EpisodeTooLarge {
                        stream,
                        env_steps,
                        bytes,
                        max_env_steps,
                        max_bytes,
                    }));
                }
            }
        }
        let dropped = insertion.dropped_env_steps();
        drop(insertion);
        self.store.count_dropped(dropped);
        if let Some(error) = refused {
            return Err(error);
        }
        let now = self.store.totals();
        Ok(Inserted {
            env_steps: trajectory.env_steps() as u64,
            episodes,
            dropped_env_steps: now.dropped_env_steps - before.dropped_env_steps,
            forgotten_episodes: now.forgotten_episodes - before.forgotten_episodes,
        })
    }

    /// Drops the open episodes of an actor up to that generation; returns their env steps.
    pub fn forget(&mut self, actor: u32, generation: u64) -> u64 {
        let dropped = self.builder.forget(actor, generation);
        self.store.count_dropped(dropped);
        dropped
    }

    /// Draws `sequences` sequences, with replacement, and further ones until they have as many
    /// decisions as the configuration asks for. A sample has so many rows, or fewer where
    /// they are packed, of T decisions: the burn-in and the chunk's length, or the longest of the
    /// episodes that were drawn.
    pub fn sample(
        &self,
        sequences: usize,
        generator: &mut Generator,
    ) -> Result<ReplaySample, ReplayError> {
        assert!(sequences > 0, "a sample of no sequences");
        let empty = || ReplayError::Empty { open: self.builder.open().episodes as usize };
        let least = self.store.config.batch_env_steps.unwrap_or(0);
        let (mut draws, mut env_steps) = (Vec::with_capacity(sequences), 0);
        while draws.len() < sequences || env_steps < least {
            let draw = self.store.draw(generator).ok_or_else(empty)?;
            let (_, episode) = self.store.find(draw.entry);
            env_steps += self.store.starts.length(episode.decisions, draw.start) as u64;
            draws.push(draw);
        }
        Ok(self.assemble(&draws))
    }

    /// Changes the priorities of what is still held; returns of how many. What has been forgotten
    /// is passed over, and so is what is negative or not finite, which keeps its old priority.
    pub fn update_priorities(&mut self, priorities: &[Priority]) -> usize {
        let good = |p: &&Priority| (0.0..=f64::from(f32::MAX)).contains(&p.priority);
        priorities.iter().filter(good).filter(|p| self.store.set_priority(p)).count()
    }

    /// Decisions of the longest episode ever completed. Chunks longer than that are mostly
    /// padding.
    pub fn longest_episode(&self) -> usize {
        self.store.longest()
    }

    /// Size of what is held at the moment.
    pub fn size(&self) -> ReplaySize {
        let open = self.builder.open();
        ReplaySize {
            episodes: self.store.entries().len() as u64,
            env_steps: self.store.env_steps(),
            bytes: self.store.bytes(),
            open_episodes: open.episodes,
            open_bytes: open.bytes,
        }
    }

    /// Totals of everything that has happened so far.
    pub fn totals(&self) -> ReplayTotals {
        self.store.totals()
    }

    fn assemble(&self, draws: &[Draw]) -> ReplaySample {
        let config = &self.store.config;
        let smallest = draws.iter().map(|draw| draw.likelihood).fold(f64::INFINITY, f64::min);
        let mut pieces: Vec<StoredPiece<'_>> =
            draws.iter().map(|draw| self.piece(draw, smallest)).collect();
        let longest = pieces.iter().map(|stored| stored.piece.length).max();
        let time = match config.sequences {
            Sequences::Episodes => longest.expect("a sample holds a sequence"),
            Sequences::Chunks { length, burn_in } => burn_in + length,
        };
        let rows = match config.packed {
            true => {
                let frames: Vec<usize> = pieces.iter().map(|p| p.piece.length + 1).collect();
                packing::pack(&frames, time + 1)
            }
            false => (0..pieces.len()).map(|sequence| vec![sequence]).collect(),
        };
        let (burn_in, initial_state) = (config.burn_in(), config.initial_state);
        let layout = RowLayout { time, burn_in, initial_state, shape: &self.store.shape };
        let mut sample = ReplaySample { rows: Vec::with_capacity(rows.len()), pieces: Vec::new() };
        for (number, row) in rows.iter().enumerate() {
            let mut at = burn_in;
            for &sequence in row {
                let piece = &mut pieces[sequence].piece;
                (piece.row, piece.at) = (number, at);
                at += piece.length + 1;
                sample.pieces.push(*piece);
            }
            let of_row: Vec<StoredPiece<'_>> =
                row.iter().map(|&sequence| pieces[sequence]).collect();
            sample.rows.push(layout.row(number, &of_row));
        }
        sample
    }

    fn piece(&self, draw: &Draw, smallest: f64) -> StoredPiece<'_> {
        let (segment, episode) = self.store.find(draw.entry);
        let importance = match self.store.config.sampling {
            Sampling::Uniform | Sampling::ByLength => 0.0,
            Sampling::Prioritized { importance, .. } => importance,
        };
        let piece = Piece {
            episode: self.store.entries()[draw.entry].id,
            start: draw.start,
            length: self.store.starts.length(episode.decisions, draw.start),
            row: 0,
            at: 0,
            weight: (smallest / draw.likelihood).powf(importance) as f32,
            policy_version: episode.policy_version,
        };
        StoredPiece { piece, segment, episode }
    }

    /// Lets go of the memory of segments that have been written, in a replay on the disk.
    fn map_written(&mut self) {
        if let Some(folder) = &self.folder {
            map_written(&mut self.store, folder);
        }
    }
}

/// Follows changes of segments in the folder of a replay on the disk.
fn settle(store: &mut EpisodeStore, folder: Option<&SegmentFolder>, changes: &SegmentChanges) {
    let Some(folder) = folder else { return };
    changes.forgotten.iter().for_each(|segment| folder.delete(segment));
    if changes.sealed {
        store.sealed().back().into_iter().for_each(|newest| folder.write(newest));
        map_written(store, folder);
    }
}

fn map_written(store: &mut EpisodeStore, folder: &SegmentFolder) {
    for segment in store.sealed_mut() {
        if let Some(mapped) = folder.map(segment) {
            *segment = Arc::new(mapped);
        }
    }
}
