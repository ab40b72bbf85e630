//! A replay against a model of it: whatever streams do, what is sampled is what was seen.

#[path = "replay/model.rs"]
mod model;

use std::path::Path;

use engram_learner::replay::{
    InitialState, Priority, Replay, ReplayConfig, ReplayError, Sampling, Saved, Sequences, Storage,
    World, prune,
};
use engram_mdp::{Seed, Trajectory};
use model::{Model, Stream, config, world};
use proptest::prelude::*;

/// Something that happens to one of the streams, or to the replay.
#[derive(Clone, Copy, Debug)]
enum Event {
    Arrives,
    IsLost,
    IsInterrupted,
    Restarts,
    Sampled,
    Prioritized,
    Resumed,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
    let event = prop_oneof![
        12 => Just(Event::Arrives),
        1 => Just(Event::IsLost),
        1 => Just(Event::IsInterrupted),
        1 => Just(Event::Restarts),
        4 => Just(Event::Sampled),
        2 => Just(Event::Prioritized),
        1 => Just(Event::Resumed),
    ];
    prop::collection::vec((0_usize..3, event), 1..120)
}

fn configs() -> impl Strategy<Value = ReplayConfig> {
    let sequences = prop_oneof![
        Just(Sequences::Episodes),
        (1_usize..9, 0_usize..5)
            .prop_map(|(length, burn_in)| Sequences::Chunks { length, burn_in }),
        (1_usize..9).prop_map(|length| Sequences::Chunks { length, burn_in: 0 }),
    ];
    let sampling = prop_oneof![
        Just(Sampling::Uniform),
        (0.0..2.0_f64, 0.0..=1.0_f64)
            .prop_map(|(exponent, importance)| Sampling::Prioritized { exponent, importance }),
    ];
    let storage = prop_oneof![Just(Storage::Memory), Just(Storage::Disk)];
    let bounds = (20_u64..300, 1_000_u64..8_000);
    (sequences, sampling, storage, bounds, any::<bool>(), any::<bool>()).prop_map(
        |(sequences, sampling, storage, (max_env_steps, max_bytes), stored, packed)| {
            let mut config = ReplayConfig {
                max_env_steps,
                max_bytes: format!("{max_bytes}B").parse().unwrap(),
                storage,
                sampling,
                sequences,
                initial_state: if stored { InitialState::Stored } else { InitialState::Zero },
                packed: false,
            };
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
struct Run {
    replay: Replay,
    model: Model,
    streams: Vec<Stream>,
    folder: tempfile::TempDir,
    seed: Seed,
    turn: u64,
}

impl Run {
    fn new(config: ReplayConfig, world: World, lengths: (usize, usize), seed: Seed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("replay");
        let stream = |i| {
            let generator = seed.derive("stream", i).generator();
            Stream::new(i as u32, world.clone(), lengths, generator)
        };
        Run {
            replay: Replay::new(config.clone(), world.clone(), Some(place)).unwrap(),
            streams: (0..3).map(stream).collect(),
            model: Model::new(config, world),
            folder,
            seed,
            turn: 0,
        }
    }

    fn place(&self) -> std::path::PathBuf {
        self.folder.path().join("replay")
    }

    fn arrive(&mut self, stream: usize) {
        let arrival = self.streams[stream].unroll();
        let inserted = self.replay.insert(&arrival).unwrap();
        let complete = self.streams[stream].arrived();
        assert_eq!(inserted.env_steps, arrival.trajectory.env_steps() as u64);
        assert_eq!(inserted.episodes, complete.len() as u64);
        complete.into_iter().for_each(|told| self.model.push(told));
    }

    /// So many episodes, at least.
    fn fill(&mut self, episodes: u64) {
        while self.model.next < episodes {
            (0..3).for_each(|stream| self.arrive(stream));
        }
    }

    fn save(&mut self) -> Saved {
        self.replay.snapshot().write(&self.place()).unwrap()
    }

    fn restore(&self, saved: &Saved) -> (Replay, engram_learner::replay::Lost) {
        let json = serde_json::to_string(saved).unwrap();
        let saved: Saved = serde_json::from_str(&json).unwrap();
        let (config, world) = (self.model.config.clone(), self.model.world.clone());
        Replay::restore(config, world, self.place(), &saved).unwrap()
    }

    fn happen(&mut self, stream: usize, event: Event) {
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
                assert_eq!(lost, engram_learner::replay::Lost::default());
                assert_eq!(resumed.totals(), self.replay.totals());
                assert_eq!(resumed.longest_episode(), self.replay.longest_episode());
                if !self.model.held.is_empty() {
                    let before = self.replay.sample(5, &mut generator.clone()).unwrap();
                    assert_eq!(resumed.sample(5, &mut generator).unwrap(), before);
                }
                prune(&self.place(), &[saved]).unwrap();
                self.replay = resumed;
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
        let gone = engram_learner::replay::EpisodeId(u64::MAX);
        priorities.push(Priority { episode: gone, ..known });
        priorities.push(Priority { priority: f64::NAN, ..known });
        priorities.push(Priority { start: usize::MAX, ..known });
        assert_eq!(self.replay.update_priorities(&priorities), expected);
    }

    fn check_held(&self) {
        let (held, model) = (self.replay.held(), &self.model);
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
const LARGEST_EPISODE: u64 = 25 * 24 + 24 * 16;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Holes, interruptions, generations, forgetting, resuming: every row of every sample is what
    /// the world showed.
    #[test]
    fn a_sample_is_what_was_seen(
        config in configs(),
        bytes in any::<bool>(),
        unroll_length in 1_usize..8,
        longest in 1_usize..24,
        seed in any::<u64>(),
        events in events(),
    ) {
        prop_assume!(config.max_env_steps >= 24);
        let lengths = (unroll_length, longest);
        let mut run = Run::new(config, world(bytes), lengths, Seed::new(seed));
        for (stream, event) in events {
            run.happen(stream, event);
        }
    }
}

/// χ² of counts against what was expected of each.
fn chi_square(counts: &[f64], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(n, e)| (n - e).powi(2) / e).sum()
}

/// How often each start of each episode is drawn in `draws` draws, beside the model's starts.
fn count_draws(run: &Run, draws: usize) -> Vec<((u64, usize), f64)> {
    let mut counts: Vec<((u64, usize), f64)> = (run.model.held.iter())
        .flat_map(|(id, told)| run.model.starts(told).into_iter().map(|s| ((*id, s), 0.0)))
        .collect();
    let mut generator = Seed::new(5).generator();
    for piece in run.replay.sample(draws, &mut generator).unwrap().pieces {
        let at = counts.iter_mut().find(|(at, _)| *at == (piece.episode.0, piece.start));
        at.expect("a start of the model").1 += 1.0;
    }
    counts
}

#[test]
fn every_start_is_as_likely_as_any_other() {
    for (initial_state, sampling) in [
        (InitialState::Zero, Sampling::Uniform),
        (InitialState::Stored, Sampling::Uniform),
        (InitialState::Zero, Sampling::Prioritized { exponent: 0.0, importance: 1.0 }),
        (InitialState::Zero, Sampling::Prioritized { exponent: 0.7, importance: 1.0 }),
    ] {
        let sequences = Sequences::Chunks { length: 4, burn_in: 1 };
        let config = ReplayConfig { sequences, initial_state, sampling, ..config() };
        let mut run = Run::new(config, world(false), (3, 20), Seed::new(3));
        run.fill(20);
        let counts = count_draws(&run, 20_000);
        let expected = vec![20_000.0 / counts.len() as f64; counts.len()];
        let counts: Vec<f64> = counts.into_iter().map(|(_, n)| n).collect();
        let (found, freedom) = (chi_square(&counts, &expected), counts.len() as f64 - 1.0);
        // Mean and deviation of χ²; 4 deviations are one in thirty thousand.
        assert!(found < freedom + 4.0 * (2.0 * freedom).sqrt(), "{found} of {freedom}");
    }
}

#[test]
fn draws_are_proportional_to_priorities_and_weights_undo_that() {
    let sampling = Sampling::Prioritized { exponent: 0.5, importance: 1.0 };
    let sequences = Sequences::Chunks { length: 4, burn_in: 0 };
    let config = ReplayConfig { sequences, sampling, ..config() };
    let mut run = Run::new(config, world(false), (3, 20), Seed::new(3));
    run.fill(12);
    // A priority is that of the starts around it, as many as a chunk is long.
    let priority = |id: u64, start: usize| ((id * 3 + start as u64 / 4) % 7) as f64;
    let parts: Vec<(u64, usize)> = count_draws(&run, 1).into_iter().map(|(at, _)| at).collect();
    let said: Vec<Priority> = parts
        .iter()
        .map(|&(id, start)| Priority {
            episode: engram_learner::replay::EpisodeId(id),
            start,
            priority: priority(id, start),
        })
        .collect();
    assert_eq!(run.replay.update_priorities(&said), said.len());
    let saved = run.save();
    run.replay = run.restore(&saved).0;

    let counts = count_draws(&run, 20_000);
    let sum: f64 = parts.iter().map(|&(id, start)| priority(id, start).sqrt()).sum();
    let probability = |id, start| priority(id, start).sqrt() / sum;
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for ((id, start), count) in counts {
        match probability(id, start) {
            0.0 => assert_eq!(count, 0.0),
            p => {
                found.push(count);
                expected.push(20_000.0 * p);
            }
        }
    }
    let freedom = found.len() as f64 - 1.0;
    let chi = chi_square(&found, &expected);
    assert!(chi < freedom + 4.0 * (2.0 * freedom).sqrt(), "{chi} of {freedom}");

    let sample = run.replay.sample(64, &mut Seed::new(6).generator()).unwrap();
    let of = |piece: &engram_learner::replay::Piece| probability(piece.episode.0, piece.start);
    let least = sample.pieces.iter().map(of).fold(f64::INFINITY, f64::min);
    for piece in &sample.pieces {
        assert!((f64::from(piece.weight) - least / of(piece)).abs() < 1e-6);
    }
}

#[test]
fn a_new_episode_has_the_largest_priority_so_far() {
    let sampling = Sampling::Prioritized { exponent: 1.0, importance: 0.0 };
    let mut run =
        Run::new(ReplayConfig { sampling, ..config() }, world(false), (3, 9), Seed::new(1));
    run.fill(4);
    let id = |id| engram_learner::replay::EpisodeId(id);
    let say = |run: &mut Run, episode, priority| {
        run.replay.update_priorities(&[Priority { episode: id(episode), start: 0, priority }])
    };
    let all = run.model.next;
    assert_eq!(say(&mut run, 0, 1000.0), 1);
    (0..all).for_each(|episode| assert_eq!(say(&mut run, episode, 0.0), 1));
    // Where all are zero, all are alike.
    let counts = count_draws(&run, 1_000);
    assert!(counts.iter().all(|(_, n)| *n > 0.0), "{counts:?}");
    run.fill(all + 1);
    let counts = count_draws(&run, 1_000);
    assert!(counts.iter().all(|((id, _), n)| (*id >= all) == (*n > 0.0)), "{counts:?}");
    let saved = run.save();
    assert_eq!(saved.largest_priority, Some(1000.0));
}

#[test]
fn priorities_are_made_of_each_sequences_own_errors() {
    let config = ReplayConfig { packed: true, ..config() };
    let mut run = Run::new(config, world(false), (3, 9), Seed::new(2));
    run.fill(6);
    let sample = run.replay.sample(6, &mut Seed::new(2).generator()).unwrap();
    let (time, batch) = (sample.unroll_length(), sample.rows.len());
    assert!(batch < 6, "several sequences share a row");
    let error = |t: usize, row: usize| (10 * row + t) as f32 * if t % 2 == 0 { -1.0 } else { 1.0 };
    let errors: Vec<f32> =
        (0..time).flat_map(|t| (0..batch).map(move |row| error(t, row))).collect();
    let priorities = sample.priorities(&errors, 0.75);
    assert_eq!(priorities.len(), 6);
    for (piece, priority) in sample.pieces.iter().zip(priorities) {
        let last = (10 * piece.row + piece.at + piece.length - 1) as f64;
        let mean = last - (piece.length - 1) as f64 / 2.0;
        assert_eq!((priority.episode, priority.start), (piece.episode, piece.start));
        assert!((priority.priority - (0.75 * last + 0.25 * mean)).abs() < 1e-9);
    }
}

#[test]
fn packing_keeps_every_sequence_and_wastes_little() {
    let lengths = (25, 50);
    let seed = Seed::new(4);
    let mut packed =
        Run::new(ReplayConfig { packed: true, ..config() }, world(false), lengths, seed);
    let mut apart = Run::new(config(), world(false), lengths, seed);
    packed.fill(200);
    apart.fill(200);
    let sample = packed.replay.sample(64, &mut seed.generator()).unwrap();
    let unpacked = apart.replay.sample(64, &mut seed.generator()).unwrap();
    packed.model.check(&sample);
    let drawn = |sample: &engram_learner::replay::Sample| {
        let mut all: Vec<_> = sample.pieces.iter().map(|p| (p.episode, p.start)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(drawn(&sample), drawn(&unpacked));
    assert_eq!(sample.env_steps(), unpacked.env_steps());
    println!("waste {:.3} instead of {:.3}", sample.waste(), unpacked.waste());
    assert!(sample.waste() < 0.08 && unpacked.waste() > 0.4);
}

#[test]
fn an_episode_larger_than_the_replay_is_refused_and_the_others_stay() {
    for (max_env_steps, max_bytes) in [(30, "1MiB"), (1_000, "900B")] {
        let config =
            ReplayConfig { max_env_steps, max_bytes: max_bytes.parse().unwrap(), ..config() };
        let mut short = Run::new(config.clone(), world(false), (4, 8), Seed::new(1));
        short.fill(4);
        let mut long = Stream::new(9, world(false), (4, 400), Seed::new(8).generator());
        let refused = (0..200).find_map(|_| short.replay.insert(&long.unroll()).err());
        let message = refused.expect("an episode of more").to_string();
        assert!(
            message.contains("environment 9") && message.contains("max_env_steps"),
            "{message}"
        );
        let held = short.replay.held();
        assert!(held.open_bytes < 2_000, "{held:?}");
        short.replay.sample(4, &mut Seed::new(1).generator()).unwrap();
    }
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let no_state = World { state_width: 0, ..world(false) };
    let sequences = Sequences::Chunks { length: 4, burn_in: 1 };
    let stored = ReplayConfig { sequences, initial_state: InitialState::Stored, ..config() };
    let refused = Replay::new(stored.clone(), no_state, None).unwrap_err();
    assert!(matches!(refused, ReplayError::NoState), "{refused}");
    let disk = ReplayConfig { storage: Storage::Disk, ..config() };
    let refused = Replay::new(disk, world(false), None).unwrap_err();
    assert!(matches!(refused, ReplayError::NoFolder), "{refused}");
    let wrong = ReplayConfig { max_env_steps: 0, ..config() };
    assert!(Replay::new(wrong, world(false), None).is_err());
    let mut replay = Replay::new(stored, world(false), None).unwrap();
    let mut arrival = Stream::new(0, world(false), (4, 9), Seed::new(1).generator()).unroll();
    arrival.trajectory.core_state.pop();
    let refused = replay.insert(&arrival).unwrap_err().to_string();
    assert!(refused.contains("brings 2 numbers of recurrent state, not 3"), "{refused}");
}

/// The segments in a folder.
fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_writes_only_what_is_new() {
    let mut run = Run::new(config(), world(false), (5, 12), Seed::new(1));
    run.fill(20);
    let first = run.save();
    assert_eq!(files(&run.place()), ["000000000000-000000000019.safetensors"]);
    let written = |run: &Run, name: &str| {
        std::fs::metadata(run.place().join(name)).unwrap().modified().unwrap()
    };
    let name = first.segments[0].name.clone();
    let before = written(&run, &name);
    let again = run.save();
    assert_eq!(again, first, "nothing has happened");
    run.fill(40);
    let second = run.save();
    assert_eq!(second.segments[0], first.segments[0]);
    assert_eq!(second.segments.len(), 2);
    assert_eq!(written(&run, &name), before);
    let (mut resumed, _) = run.restore(&second);
    let third = resumed.snapshot().write(&run.place()).unwrap();
    assert_eq!(third, second, "a restored replay writes nothing again");
    assert_eq!(written(&run, &name), before);
}

#[test]
fn torn_and_missing_segments_are_left_out_and_counted() {
    for storage in [Storage::Memory, Storage::Disk] {
        let config = ReplayConfig { storage, ..config() };
        let mut run = Run::new(config, world(true), (5, 12), Seed::new(1));
        let mut saved = Saved::default();
        for episodes in [20, 40, 60] {
            run.fill(episodes);
            saved = run.save();
        }
        let path = |i: usize| run.place().join(&saved.segments[i].name);
        let mut bytes = std::fs::read(path(1)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path(1), bytes).unwrap();
        std::fs::remove_file(path(0)).unwrap();
        let (resumed, lost) = run.restore(&saved);
        let gone = saved.segments[0].env_steps + saved.segments[1].env_steps;
        assert_eq!((lost.segments, lost.env_steps), (2, gone));
        assert_eq!(lost.episodes, saved.segments[2].first.0);
        assert_eq!(resumed.held().env_steps, saved.segments[2].env_steps);
        let sample = resumed.sample(50, &mut Seed::new(1).generator()).unwrap();
        assert!(sample.pieces.iter().all(|piece| piece.episode >= saved.segments[2].first));
        run.model.check(&sample);

        std::fs::write(path(2), b"").unwrap();
        let (mut resumed, lost) = run.restore(&saved);
        assert_eq!((lost.segments, resumed.held().episodes), (3, 0));
        assert!(resumed.sample(1, &mut Seed::new(1).generator()).is_err());
        // It fills again, with numbers that were not used before.
        let mut stream = Stream::new(9, world(true), (40, 3), Seed::new(2).generator());
        resumed.insert(&stream.unroll()).unwrap();
        let sample = resumed.sample(9, &mut Seed::new(1).generator()).unwrap();
        assert!(sample.pieces.iter().all(|piece| piece.episode >= saved.next));
    }
}

#[test]
fn files_of_another_world_are_left_out() {
    let mut run = Run::new(config(), world(false), (5, 12), Seed::new(1));
    run.fill(20);
    let saved = run.save();
    let (resumed, lost) = Replay::restore(config(), world(true), run.place(), &saved).unwrap();
    assert_eq!((lost.segments, resumed.held().episodes), (1, 0));
}

#[test]
fn pruning_deletes_what_no_checkpoint_refers_to() {
    let config = ReplayConfig { max_env_steps: 200, ..config() };
    let mut run = Run::new(config, world(false), (5, 12), Seed::new(1));
    run.fill(30);
    let old = run.save();
    run.fill(90);
    let new = run.save();
    let names = |saved: &Saved| -> Vec<String> {
        saved.segments.iter().map(|segment| segment.name.clone()).collect()
    };
    assert!(names(&old).iter().all(|name| !names(&new).contains(name)), "all is forgotten");
    assert_eq!(prune(&run.place(), &[old.clone(), new.clone()]).unwrap(), 0);
    // Files that a killed process left half-written, or that a checkpoint to come refers to.
    let torn = format!(".{}", names(&old)[0]);
    std::fs::write(run.place().join(&torn), b"half").unwrap();
    let newer = format!("{:012}-{:012}.safetensors", new.next.0, new.next.0 + 9);
    std::fs::write(run.place().join(&newer), b"soon").unwrap();
    std::fs::write(run.place().join("notes.txt"), b"mine").unwrap();
    let deleted = prune(&run.place(), std::slice::from_ref(&new)).unwrap();
    assert_eq!(deleted, old.segments.len() + 1);
    let mut left = names(&new);
    left.extend([newer, "notes.txt".into()]);
    assert_eq!(files(&run.place()), left);
    assert_eq!(prune(Path::new("/nowhere/at/all"), &[new]).unwrap(), 0);
}

#[test]
fn a_replay_on_the_disk_deletes_what_it_forgets_unless_a_checkpoint_may_want_it() {
    let config = ReplayConfig { max_env_steps: 200, storage: Storage::Disk, ..config() };
    let mut run = Run::new(config, world(false), (5, 12), Seed::new(1));
    run.fill(40);
    let before = files(&run.place());
    assert!(before.len() > 3, "full segments are written at once: {before:?}");
    run.fill(120);
    let after = files(&run.place());
    assert!(after.iter().all(|name| !before.contains(name)), "{before:?} {after:?}");
    let saved = run.save();
    run.fill(200);
    let (resumed, lost) = run.restore(&saved);
    assert_eq!((lost.segments, resumed.held().episodes > 0), (0, true));
}
