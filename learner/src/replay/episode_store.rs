//! Episode store: complete episodes, oldest first, in segments; what is forgotten and what is
//! drawn.

use std::collections::VecDeque;
use std::sync::Arc;

use engram_mdp::Generator;
use rand::RngExt;

use super::episode::{CompleteEpisode, EpisodeId, TrajectoryShape};
use super::priorities::Priorities;
use super::sample::Priority;
use super::segment::{EpisodeSpan, Segment};
use super::start_index::StartIndex;
use crate::config::replay::{ReplayConfig, Sampling};

/// Bytes of the largest segment, unless one episode is larger.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Segments of a full replay, at least.
const SEGMENTS: u64 = 16;

/// All complete episodes.
#[derive(Debug)]
pub(super) struct EpisodeStore {
    pub(super) shape: TrajectoryShape,
    pub(super) config: ReplayConfig,
    pub(super) starts: StartIndex,
    /// Sealed segments, the oldest first; each holds at least one live episode.
    sealed: VecDeque<Arc<Segment>>,
    /// Number of the oldest one, counted over the run of this process.
    first_segment: u64,
    /// Segment that grows.
    open: Segment,
    /// Live episodes, the oldest first.
    entries: VecDeque<LiveEpisode>,
    priorities: Option<Priorities>,
    next_start: u64,
    env_steps: u64,
    bytes: u64,
    /// Decisions of the longest episode ever.
    longest: usize,
    totals: ReplayTotals,
}

/// Totals of everything that has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayTotals {
    /// Complete episodes ever inserted.
    pub episodes: u64,
    /// Their env steps.
    pub env_steps: u64,
    /// Env steps that became part of no complete episode: holes and interruptions.
    pub dropped_env_steps: u64,
    /// Episodes forgotten for newer ones.
    pub forgotten_episodes: u64,
}

/// Live episode.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveEpisode {
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

/// Changes of the segments by a new episode.
#[derive(Debug, Default)]
pub(super) struct SegmentChanges {
    /// True if the open segment was full, and was sealed.
    pub(super) sealed: bool,
    /// Segments whose last episode was forgotten.
    pub(super) forgotten: Vec<Arc<Segment>>,
}

/// Sequence that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// Index of its episode among the live ones.
    pub(super) entry: usize,
    /// First decision to learn from.
    pub(super) start: usize,
    /// `N · P`, 1 where sampling is uniform.
    pub(super) likelihood: f64,
}

impl EpisodeStore {
    /// Empty store.
    pub(super) fn new(config: ReplayConfig, shape: TrajectoryShape) -> Self {
        let priorities = match config.sampling {
            Sampling::Uniform | Sampling::ByLength => None,
            Sampling::Prioritized { exponent, .. } => Some(Priorities::new(exponent)),
        };
        EpisodeStore {
            starts: StartIndex::new(&config),
            sealed: VecDeque::new(),
            first_segment: 0,
            open: Segment::new(EpisodeId(0)),
            entries: VecDeque::new(),
            priorities,
            next_start: 0,
            env_steps: 0,
            bytes: 0,
            longest: 0,
            totals: ReplayTotals::default(),
            config,
            shape,
        }
    }

    /// Counts env steps that have become part of no episode.
    pub(super) fn count_dropped(&mut self, env_steps: u64) {
        self.totals.dropped_env_steps += env_steps;
    }

    /// Adds a complete episode, and forgets the oldest ones for it.
    pub(super) fn add(&mut self, episode: &CompleteEpisode<'_>) -> SegmentChanges {
        let mut changes = SegmentChanges::default();
        let decisions = episode.frames.rows() - 1;
        let bytes = self.shape.episode_bytes(decisions, episode.state_rows.len());
        while self.env_steps + decisions as u64 > self.config.max_env_steps
            || self.bytes + bytes > self.config.max_bytes.bytes()
        {
            self.forget(&mut changes.forgotten);
        }
        if self.is_full(decisions as u64, bytes) {
            changes.sealed = self.seal();
        }
        self.open.push(episode);
        let segment = self.first_segment + self.sealed.len() as u64;
        self.admit(segment, self.open.episodes.len() - 1, None);
        self.totals.episodes += 1;
        self.totals.env_steps += decisions as u64;
        changes
    }

    /// Makes an episode of a segment a live one. `priorities`, of its items, as they were saved.
    fn admit(&mut self, segment: u64, index: usize, saved: Option<&mut dyn Iterator<Item = f32>>) {
        let (holder, starts) = (self.segment(segment), self.starts);
        let episode = holder.episodes[index];
        let id = EpisodeId(holder.first.0 + index as u64);
        let count = starts.count(episode.decisions, holder.state_rows(&episode));
        let bytes = self.shape.episode_bytes(episode.decisions, episode.states);
        let item = self.priorities.as_ref().map_or(0, Priorities::next);
        self.entries.push_back(LiveEpisode {
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
    fn forget(&mut self, forgotten: &mut Vec<Arc<Segment>>) {
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
            forgotten.push(gone);
        }
        if self.entries.is_empty() {
            self.open = Segment::new(self.open.next());
        }
    }

    /// Seals the open segment. `false` where it is empty.
    pub(super) fn seal(&mut self) -> bool {
        if self.open.episodes.is_empty() {
            return false;
        }
        let next = Segment::new(self.open.next());
        let mut sealed = std::mem::replace(&mut self.open, next);
        sealed.shrink();
        self.sealed.push_back(Arc::new(sealed));
        true
    }

    /// Sealed segments, the oldest first.
    pub(super) fn sealed(&self) -> &VecDeque<Arc<Segment>> {
        &self.sealed
    }

    /// Sealed segments, the oldest first; each may be replaced by one of the same episodes.
    pub(super) fn sealed_mut(&mut self) -> &mut VecDeque<Arc<Segment>> {
        &mut self.sealed
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

    /// Goes on with episode `next`, after those that were restored.
    pub(super) fn go_on(&mut self, next: EpisodeId, totals: ReplayTotals, longest: usize) {
        self.open = Segment::new(next);
        self.totals = totals;
        self.longest = self.longest.max(longest);
    }

    /// Takes over the largest priority so far; without effect where sampling is uniform.
    pub(super) fn set_largest_priority(&mut self, largest: f32) {
        if let Some(priorities) = &mut self.priorities {
            priorities.set_largest(largest);
        }
    }

    /// True if the open segment has no room for another episode.
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
            let LiveEpisode { item: of_entry, starts, .. } = self.entries[entry];
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

    /// Place of a live episode.
    pub(super) fn find(&self, entry: usize) -> (&Segment, EpisodeSpan) {
        let LiveEpisode { segment, index, .. } = self.entries[entry];
        let segment = self.segment(segment);
        (segment, segment.episodes[index])
    }

    /// Live episodes, the oldest first.
    pub(super) fn entries(&self) -> &VecDeque<LiveEpisode> {
        &self.entries
    }

    /// Index of each live episode's segment among the sealed ones, and its decisions.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, u64)> {
        let place = |entry: &LiveEpisode| (entry.segment - self.first_segment) as usize;
        self.entries.iter().map(move |entry| (place(entry), entry.decisions as u64))
    }

    /// Priorities of a live episode; none where sampling is uniform.
    pub(super) fn priorities_of(&self, entry: usize) -> impl Iterator<Item = f32> {
        let LiveEpisode { item, starts, .. } = self.entries[entry];
        let items = item..item + starts.div_ceil(self.starts.per_item()) as u64;
        let priorities = self.priorities.as_ref();
        priorities.into_iter().flat_map(move |p| items.clone().map(|item| p.get(item)))
    }

    /// Oldest live episode.
    pub(super) fn oldest(&self) -> Option<EpisodeId> {
        self.entries.front().map(|entry| entry.id)
    }

    /// Number of the next episode.
    pub(super) fn next(&self) -> EpisodeId {
        self.open.next()
    }

    /// Largest priority so far; nothing where sampling is uniform.
    pub(super) fn largest_priority(&self) -> Option<f32> {
        self.priorities.as_ref().map(Priorities::largest)
    }

    /// Decisions of the longest episode ever.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Totals of everything that has happened so far.
    pub(super) fn totals(&self) -> ReplayTotals {
        self.totals
    }

    /// Env steps of all live episodes.
    pub(super) fn env_steps(&self) -> u64 {
        self.env_steps
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

/// Starts of each item of an episode.
fn items(starts: usize, per_item: usize) -> impl Iterator<Item = usize> {
    (0..starts).step_by(per_item).map(move |first| per_item.min(starts - first))
}
