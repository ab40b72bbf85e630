//! Complete episodes, oldest first, in segments; what is forgotten, and what is drawn.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use engram_mdp::Generator;
use rand::RngExt;

use super::building::Finished;
use super::file::{self, Place};
use super::priorities::Priorities;
use super::saving::Saved;
use super::segment::{Episode, Segment, Written, episode_bytes};
use super::starts::Starts;
use super::{EpisodeId, Priority, World};
use crate::config::replay::{ReplayConfig, Sampling, Storage};

/// The largest segment, as long as one episode is not larger.
pub(super) const SEGMENT_BYTES: u64 = 64 << 20;

/// At least so many segments make a full replay.
const SEGMENTS: u64 = 16;

/// All complete episodes.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) world: World,
    pub(super) config: ReplayConfig,
    pub(super) starts: Starts,
    /// Sealed segments, the oldest first; each holds at least one live episode.
    pub(super) sealed: VecDeque<Arc<Segment>>,
    /// The number of the oldest one, counted over the run of this process.
    pub(super) first_segment: u64,
    /// The one that grows.
    pub(super) open: Segment,
    /// Live episodes, the oldest first.
    entries: VecDeque<Entry>,
    pub(super) priorities: Option<Priorities>,
    next_start: u64,
    pub(super) env_steps: u64,
    bytes: u64,
    /// Decisions of the longest episode ever.
    pub(super) longest: usize,
    pub(super) totals: Totals,
    /// Where full segments are written, in a replay on the disk.
    folder: Option<PathBuf>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Complete episodes ever inserted.
    pub episodes: u64,
    /// Their env steps.
    pub env_steps: u64,
    /// Env steps that became part of no complete episode: holes and interruptions.
    pub dropped_env_steps: u64,
    /// Episodes forgotten for newer ones.
    pub forgotten_episodes: u64,
}

/// A live episode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: EpisodeId,
    segment: u64,
    index: usize,
    decisions: usize,
    bytes: u64,
    /// Its first start, counted over all episodes ever.
    start: u64,
    starts: usize,
    /// Its first item.
    item: u64,
}

/// A sequence that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// The episode's place among the live ones.
    pub(super) entry: usize,
    /// The first decision that is learned from.
    pub(super) start: usize,
    /// `N · P`, 1 where sampling is uniform.
    pub(super) likelihood: f64,
}

impl Shelf {
    /// An empty one.
    pub(super) fn new(config: ReplayConfig, world: World, folder: Option<PathBuf>) -> Self {
        let priorities = match config.sampling {
            Sampling::Uniform => None,
            Sampling::Prioritized { exponent, .. } => Some(Priorities::new(exponent)),
        };
        Shelf {
            starts: Starts::new(&config),
            sealed: VecDeque::new(),
            first_segment: 0,
            open: Segment::new(&world, EpisodeId(0)),
            entries: VecDeque::new(),
            priorities,
            next_start: 0,
            env_steps: 0,
            bytes: 0,
            longest: 0,
            totals: Totals::default(),
            folder: folder.filter(|_| config.storage == Storage::Disk),
            config,
            world,
        }
    }

    /// Whether an open episode of so many decisions and bytes may become part of this replay.
    pub(super) fn may_grow(&self, env_steps: u64, bytes: u64) -> bool {
        env_steps <= self.config.max_env_steps && bytes <= self.config.max_bytes.bytes()
    }

    /// Decisions were dropped.
    pub(super) fn dropped(&mut self, env_steps: u64) {
        self.totals.dropped_env_steps += env_steps;
    }

    /// Takes a complete episode, and forgets the oldest ones for it.
    pub(super) fn finished(&mut self, episode: Finished<'_>) {
        let decisions = episode.frames.rows() - 1;
        let bytes = episode_bytes(&self.world, decisions, episode.state_rows.len());
        while self.env_steps + decisions as u64 > self.config.max_env_steps
            || self.bytes + bytes > self.config.max_bytes.bytes()
        {
            self.forget();
        }
        if self.is_full(decisions as u64, bytes) && self.seal() {
            self.write_newest();
        }
        self.open.push(&episode);
        let segment = self.first_segment + self.sealed.len() as u64;
        self.admit(segment, self.open.episodes.len() - 1, None);
        self.totals.episodes += 1;
        self.totals.env_steps += decisions as u64;
    }

    /// Makes an episode of a segment a live one. `priorities`, of its items, as they were saved.
    pub(super) fn admit(
        &mut self,
        segment: u64,
        index: usize,
        saved: Option<&mut dyn Iterator<Item = f32>>,
    ) {
        let (holder, starts) = (self.segment(segment), self.starts);
        let episode = holder.episodes[index];
        let id = EpisodeId(holder.first.0 + index as u64);
        let count = starts.count(episode.decisions, holder.state_rows(&episode));
        let bytes = episode_bytes(&self.world, episode.decisions, episode.states);
        let item = self.priorities.as_ref().map_or(0, Priorities::next);
        self.entries.push_back(Entry {
            id,
            segment,
            index,
            decisions: episode.decisions,
            bytes,
            start: self.next_start,
            starts: count,
            item,
        });
        let mut saved = saved;
        if let Some(priorities) = &mut self.priorities {
            for of_item in items(count, starts.per_item()) {
                priorities.push(of_item, saved.as_mut().and_then(|saved| saved.next()));
            }
        }
        self.next_start += count as u64;
        self.env_steps += episode.decisions as u64;
        self.bytes += bytes;
        self.longest = self.longest.max(episode.decisions);
    }

    /// Forgets the oldest episode, and its segment with the last one of it.
    fn forget(&mut self) {
        let entry = self.entries.pop_front().expect("an episode fits into an empty replay");
        self.env_steps -= entry.decisions as u64;
        self.bytes -= entry.bytes;
        self.totals.forgotten_episodes += 1;
        if let Some(priorities) = &mut self.priorities {
            items(entry.starts, self.starts.per_item()).for_each(|_| priorities.pop());
        }
        let live = self.entries.front().map_or(u64::MAX, |oldest| oldest.segment);
        while self.first_segment < live
            && let Some(gone) = self.sealed.pop_front()
        {
            self.first_segment += 1;
            self.delete(&gone);
        }
        if self.entries.is_empty() {
            self.open = Segment::new(&self.world, self.open.next());
        }
    }

    /// Deletes the file of a forgotten segment, unless a checkpoint may refer to it; that one is
    /// for `prune`.
    fn delete(&self, segment: &Segment) {
        let Some(folder) = &self.folder else { return };
        if segment.is_in_memory() || segment.file.kept.load(Ordering::Relaxed) {
            return;
        }
        let path = folder.join(file::name(segment.first, segment.last()));
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a forgotten segment stays");
        }
    }

    /// Seals the open segment. `false` where it is empty.
    pub(super) fn seal(&mut self) -> bool {
        if self.open.episodes.is_empty() {
            return false;
        }
        let next = Segment::new(&self.world, self.open.next());
        let mut sealed = std::mem::replace(&mut self.open, next);
        sealed.shrink();
        self.sealed.push_back(Arc::new(sealed));
        true
    }

    /// Writes the newest sealed segment, in a replay on the disk. It is synced with the next
    /// checkpoint. Where that fails it stays in memory, and the next checkpoint tries again.
    fn write_newest(&mut self) {
        let (Some(folder), Some(segment)) = (&self.folder, self.sealed.back()) else { return };
        let wrote =
            fs::create_dir_all(folder).and_then(|()| file::write(folder, segment, &self.world));
        match wrote {
            Ok(sha256) => {
                let mut written =
                    segment.file.written.lock().unwrap_or_else(PoisonError::into_inner);
                *written = Some(Written { sha256, synced: false });
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "a segment stays in memory");
            }
        }
        self.map_written();
    }

    /// Lets go of the memory of segments that have been written, in a replay on the disk.
    pub(super) fn map_written(&mut self) {
        let Some(folder) = &self.folder else { return };
        for segment in self.sealed.iter_mut().filter(|segment| segment.is_in_memory()) {
            // Somebody who holds the lock is writing this very segment.
            let Some(written) = segment.file.written.try_lock().ok().and_then(|w| w.clone()) else {
                continue;
            };
            let ends = (segment.first, segment.last());
            let path = folder.join(file::name(ends.0, ends.1));
            match file::read(&path, ends, None, &self.world, Place::Map) {
                Ok(mapped) => {
                    let kept = segment.file.kept.load(Ordering::Relaxed);
                    mapped.file.kept.store(kept, Ordering::Relaxed);
                    *mapped.file.written.lock().expect("nobody else knows it") = Some(written);
                    *segment = Arc::new(mapped);
                }
                Err(why) => {
                    tracing::warn!(path = %path.display(), why, "a segment stays in memory");
                }
            }
        }
    }

    /// Puts a segment back that was saved, without its episodes before `oldest`.
    pub(super) fn restore(&mut self, segment: Segment, oldest: EpisodeId, priorities: &[f32]) {
        let number = self.first_segment + self.sealed.len() as u64;
        let forgotten = oldest.0.saturating_sub(segment.first.0) as usize;
        let live = forgotten..segment.episodes.len();
        self.sealed.push_back(Arc::new(segment));
        let mut priorities = priorities.iter().copied();
        live.for_each(|index| self.admit(number, index, Some(&mut priorities)));
    }

    /// Goes on with the episodes after those that were saved.
    pub(super) fn go_on(&mut self, saved: &Saved) {
        self.open = Segment::new(&self.world, saved.next);
        self.totals = saved.totals;
        self.longest = self.longest.max(saved.longest_episode);
        if let (Some(priorities), Some(largest)) = (&mut self.priorities, saved.largest_priority) {
            priorities.set_largest(largest);
        }
    }

    /// Whether the open segment has no room for another episode.
    fn is_full(&self, decisions: u64, bytes: u64) -> bool {
        let most_bytes = (self.config.max_bytes.bytes() / SEGMENTS).min(SEGMENT_BYTES);
        let most_rows = self.config.max_env_steps / SEGMENTS;
        self.open.bytes() + bytes > most_bytes || self.open.rows() as u64 + decisions > most_rows
    }

    /// Draws a start; `None` where there is no episode.
    pub(super) fn draw(&self, generator: &mut Generator) -> Option<Draw> {
        let first = self.entries.front()?.start;
        let all = self.next_start - first;
        if let Some(priorities) = &self.priorities
            && let Some(item) = priorities.find(generator.random())
        {
            let entry = self.entries.partition_point(|entry| entry.item <= item) - 1;
            let Entry { item: of_entry, starts, .. } = self.entries[entry];
            let (place, per_item) = ((item - of_entry) as usize, self.starts.per_item());
            let of_item = per_item.min(starts - place * per_item);
            let index = place * per_item + generator.random_range(0..of_item);
            let likelihood = all as f64 * priorities.probability(item, of_item);
            return Some(Draw { entry, start: self.nth_start(entry, index), likelihood });
        }
        let start = first + generator.random_range(0..all);
        let entry = self.entries.partition_point(|entry| entry.start <= start) - 1;
        let index = (start - self.entries[entry].start) as usize;
        Some(Draw { entry, start: self.nth_start(entry, index), likelihood: 1.0 })
    }

    /// Changes the priority of a part of an episode. `false` where it has been forgotten, or
    /// nothing starts there.
    pub(super) fn set_priority(&mut self, priority: &Priority) -> bool {
        let at = self.entries.partition_point(|entry| entry.id < priority.episode);
        let Some(entry) = self.entries.get(at).filter(|entry| entry.id == priority.episode) else {
            return false;
        };
        let (segment, episode) = self.find(at);
        let rows = segment.state_rows(&episode);
        let Some(index) = self.starts.index(episode.decisions, rows, priority.start) else {
            return false;
        };
        let Some(priorities) = &mut self.priorities else { return false };
        let per_item = self.starts.per_item();
        let place = index / per_item;
        let of_item = per_item.min(entry.starts - place * per_item);
        priorities.set(entry.item + place as u64, of_item, priority.priority as f32);
        true
    }

    /// Where a live episode lies.
    pub(super) fn find(&self, entry: usize) -> (&Segment, Episode) {
        let Entry { segment, index, .. } = self.entries[entry];
        let segment = self.segment(segment);
        (segment, segment.episodes[index])
    }

    /// Live episodes, the oldest first.
    pub(super) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// For each live episode its segment's place among the sealed ones, and its decisions.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, u64)> {
        let place = |entry: &Entry| (entry.segment - self.first_segment) as usize;
        self.entries.iter().map(move |entry| (place(entry), entry.decisions as u64))
    }

    /// The priorities of a live episode; none where sampling is uniform.
    pub(super) fn priorities_of(&self, entry: usize) -> impl Iterator<Item = f32> {
        let Entry { item, starts, .. } = self.entries[entry];
        let items = item..item + starts.div_ceil(self.starts.per_item()) as u64;
        let priorities = self.priorities.as_ref();
        priorities.into_iter().flat_map(move |p| items.clone().map(|item| p.get(item)))
    }

    /// The oldest live episode.
    pub(super) fn oldest(&self) -> Option<EpisodeId> {
        self.entries.front().map(|entry| entry.id)
    }

    /// Bytes of every segment that is held: those of live episodes, and of forgotten ones that
    /// share the oldest segment with them.
    pub(super) fn bytes(&self) -> u64 {
        let sealed = self.sealed.iter().map(|segment| segment.bytes());
        sealed.sum::<u64>() + self.open.bytes()
    }

    fn segment(&self, number: u64) -> &Segment {
        let place = (number - self.first_segment) as usize;
        self.sealed.get(place).map_or(&self.open, |segment| segment)
    }

    fn nth_start(&self, entry: usize, index: usize) -> usize {
        let (segment, episode) = self.find(entry);
        self.starts.nth(episode.decisions, segment.state_rows(&episode), index)
    }
}

/// The starts of each item of an episode.
fn items(starts: usize, per_item: usize) -> impl Iterator<Item = usize> {
    (0..starts).step_by(per_item).map(move |first| per_item.min(starts - first))
}
