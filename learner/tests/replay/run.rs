//! A replay and its model, and what may happen to both.

use engram_learner::config::replay::{InitialState, ReplayConfig, Sampling, Sequences, Storage};
use engram_learner::replay::{
    EpisodeId, LostSegments, Priority, Replay, ReplayError, ReplayState, TrajectoryShape,
    prune_segments,
};
use engram_mdp::Seed;
use proptest::prelude::*;

use crate::model::{Model, Stream};

/// Something that happens to one of the streams, or to the replay.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Arrives,
    IsLost,
    IsInterrupted,
    Restarts,
    Sampled,
    Prioritized,
    Resumed,
    IsForgotten,
}

pub fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
    let event = prop_oneof![
        12 => Just(Event::Arrives),
        1 => Just(Event::IsLost),
        1 => Just(Event::IsInterrupted),
        1 => Just(Event::Restarts),
        4 => Just(Event::Sampled),
        2 => Just(Event::Prioritized),
        1 => Just(Event::Resumed),
        1 => Just(Event::IsForgotten),
    ];
    prop::collection::vec((0_usize..3, event), 1..120)
}

pub fn configs() -> impl Strategy<Value = ReplayConfig> {
    let sequences = prop_oneof![
        Just(Sequences::Episodes),
        (1_usize..9, 0_usize..5)
            .prop_map(|(length, burn_in)| Sequences::Chunks { length, burn_in }),
        (1_usize..9).prop_map(|length| Sequences::Chunks { length, burn_in: 0 }),
    ];
    let sampling = prop_oneof![
        Just(Sampling::Uniform),
        Just(Sampling::ByLength),
        (0.0..=1.0_f64, 0.0..=1.0_f64).prop_map(|(exponent, importance)| {
            Sampling::Prioritized { exponent, importance, largest_share: 0.9 }
        }),
    ];
    let storage = prop_oneof![Just(Storage::Memory), Just(Storage::Disk)];
    let bounds = (20_u64..300, 1_000_u64..8_000);
    (sequences, sampling, storage, bounds, any::<bool>(), any::<bool>()).prop_map(
        |(sequences, sampling, storage, (max_env_steps, max_bytes), stored, packed)| {
            let mut config = ReplayConfig {
                batch_env_steps: None,
                max_env_steps,
                max_bytes: format!("{max_bytes}B").parse().unwrap(),
                storage,
                sampling,
                sequences,
                initial_state: if stored { InitialState::Stored } else { InitialState::Zero },
                packed: false,
            };
            if sequences != Sequences::Episodes && sampling == Sampling::ByLength {
                config.sampling = Sampling::Uniform;
            }
            if config.validate().is_err() {
                config.initial_state = InitialState::Zero;
            }
            config.packed = packed;
            config.packed = config.validate().is_ok() && packed;
            config
        },
    )
}

/// A replay and its model under the same streams.
pub struct Run {
    pub replay: Replay,
    pub model: Model,
    streams: Vec<Stream>,
    folder: tempfile::TempDir,
    seed: Seed,
    turn: u64,
}

impl Run {
    pub fn new(
        config: ReplayConfig,
        shape: TrajectoryShape,
        lengths: (usize, usize),
        seed: Seed,
    ) -> Self {
        // In memory where there is such a place: a disk takes its time to sync each file.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let place = folder.path().join("replay");
        let stream = |i| {
            let generator = seed.derive("stream", i).generator();
            Stream::new(i as u32, shape.clone(), lengths, generator)
        };
        Run {
            replay: Replay::new(config.clone(), shape.clone(), Some(place)).unwrap(),
            streams: (0..3).map(stream).collect(),
            model: Model::new(config, shape),
            folder,
            seed,
            turn: 0,
        }
    }

    pub fn place(&self) -> std::path::PathBuf {
        self.folder.path().join("replay")
    }

    pub fn arrive(&mut self, stream: usize) {
        let arrival = self.streams[stream].unroll();
        let inserted = self.replay.insert(arrival.generation, &arrival.trajectory).unwrap();
        let complete = self.streams[stream].arrived();
        assert_eq!(inserted.env_steps, arrival.trajectory.env_steps() as u64);
        let lengths: Vec<u64> = complete.iter().map(|told| told.decisions() as u64).collect();
        assert_eq!(inserted.episodes, lengths);
        complete.into_iter().for_each(|told| self.model.push(told));
    }

    /// So many episodes, at least.
    pub fn fill(&mut self, episodes: u64) {
        while self.model.next < episodes {
            (0..3).for_each(|stream| self.arrive(stream));
        }
    }

    pub fn save(&mut self) -> ReplayState {
        self.replay.snapshot().write(&self.place()).unwrap()
    }

    pub fn restore(&self, saved: &ReplayState) -> (Replay, LostSegments) {
        let json = serde_json::to_string(saved).unwrap();
        let saved: ReplayState = serde_json::from_str(&json).unwrap();
        let (config, shape) = (self.model.config.clone(), self.model.shape.clone());
        Replay::restore(config, shape, self.place(), &saved).unwrap()
    }

    pub fn happen(&mut self, stream: usize, event: Event) {
        self.turn += 1;
        let mut generator = self.seed.derive("turn", self.turn).generator();
        match event {
            Event::Arrives => self.arrive(stream),
            Event::IsLost => {
                self.streams[stream].unroll();
                self.streams[stream].lost();
            }
            Event::IsInterrupted => self.streams[stream].interrupt(),
            Event::Restarts => self.streams[stream].restart(),
            Event::Sampled if self.model.held.is_empty() => {
                let empty = self.replay.sample(4, &mut generator);
                assert!(matches!(empty, Err(ReplayError::Empty { .. })), "{empty:?}");
            }
            Event::Sampled => {
                let sample = self.replay.sample(8, &mut generator).unwrap();
                assert_eq!(sample.pieces.len(), 8);
                self.model.check(&sample);
            }
            Event::Prioritized => self.prioritize(),
            Event::Resumed => {
                let saved = self.save();
                let (resumed, lost) = self.restore(&saved);
                assert_eq!(lost, LostSegments::default());
                assert_eq!(resumed.totals(), self.replay.totals());
                assert_eq!(resumed.longest_episode(), self.replay.longest_episode());
                if !self.model.held.is_empty() {
                    let before = self.replay.sample(5, &mut generator.clone()).unwrap();
                    assert_eq!(resumed.sample(5, &mut generator).unwrap(), before);
                }
                prune_segments(&self.place(), &[saved]).unwrap();
                self.replay = resumed;
                self.streams.iter_mut().for_each(Stream::forgotten);
            }
            // All streams are of one actor.
            Event::IsForgotten => {
                let held = self.replay.size();
                self.replay.forget(0, 0);
                assert_eq!(self.replay.size(), held, "it is at a later generation");
                self.replay.forget(0, u64::MAX);
                let left = self.replay.size();
                assert_eq!((left.open_episodes, left.open_bytes), (0, 0));
                self.streams.iter_mut().for_each(Stream::forgotten);
            }
        }
        self.check_held();
    }

    fn prioritize(&mut self) {
        let mut generator = self.seed.derive("priority", self.turn).generator();
        let Ok(sample) = self.replay.sample(4, &mut generator) else { return };
        let errors: Vec<f32> = (0..sample.unroll_length() * sample.rows.len())
            .map(|i| (self.turn * 7 + i as u64 * 13) as f32 % 5.0 - 2.0)
            .collect();
        let mut priorities = sample.priorities(&errors, 0.9);
        let is_prioritized = matches!(self.model.config.sampling, Sampling::Prioritized { .. });
        let expected = if is_prioritized { priorities.len() } else { 0 };
        // What does not exist, or is no number, is passed over.
        let known = priorities[0];
        let gone = EpisodeId(u64::MAX);
        priorities.push(Priority { episode: gone, ..known });
        priorities.push(Priority { priority: f64::NAN, ..known });
        priorities.push(Priority { start: usize::MAX, ..known });
        assert_eq!(self.replay.update_priorities(&priorities), expected);
    }

    fn check_held(&self) {
        let (held, model) = (self.replay.size(), &self.model);
        assert_eq!(held.episodes, model.held.len() as u64);
        assert_eq!(held.env_steps, model.env_steps());
        assert!(held.env_steps <= model.config.max_env_steps);
        let (live, most) = (model.bytes(), model.config.max_bytes.bytes());
        let largest = model.held.iter().map(|(_, told)| model.bytes_of(told)).max().unwrap_or(0);
        assert!(live <= held.bytes, "{live} live bytes in {}", held.bytes);
        assert!(live <= most);
        // A segment is a sixteenth, or one episode; the largest one may just have been forgotten.
        let segment = (most / 16).max(largest).max(LARGEST_EPISODE);
        assert!(held.bytes <= live + segment, "{} of {live} and {segment}", held.bytes);
    }
}

/// Bytes of an episode of 24 decisions with a state at each, which is more than any has here.
pub const LARGEST_EPISODE: u64 = 25 * 24 + 24 * 16;
