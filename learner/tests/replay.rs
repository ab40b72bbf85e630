//! A replay against a model of it: whatever streams do, what is sampled is what was seen.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "tests, each of which uses some of the model"
)]

#[path = "replay/model.rs"]
mod model;

#[path = "replay/run.rs"]
mod run;

use engram_learner::config::replay::{InitialState, ReplayConfig, Sampling, Sequences, Storage};
use engram_learner::replay::{
    EpisodeId, Piece, Priority, Replay, ReplayError, ReplaySample, TrajectoryShape,
};
use engram_mdp::Seed;
use model::{Stream, config, shape};
use proptest::prelude::*;
use run::{Run, configs, events};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Holes, interruptions, generations, forgetting, resuming: every row of every sample is what
    /// the environment showed.
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
        let mut run = Run::new(config, shape(bytes), lengths, Seed::new(seed));
        for (stream, event) in events {
            run.happen(stream, event);
        }
    }
}

/// χ² of counts against what was expected of each.
fn chi_square(counts: &[f64], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(n, e)| (n - e).powi(2) / e).sum()
}

/// Counts of each start of each episode in `draws` draws, beside the model's starts.
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
        (
            InitialState::Zero,
            Sampling::Prioritized { exponent: 0.0, importance: 1.0, largest_share: 0.9 },
        ),
        (
            InitialState::Zero,
            Sampling::Prioritized { exponent: 0.7, importance: 1.0, largest_share: 0.9 },
        ),
    ] {
        let sequences = Sequences::Chunks { length: 4, burn_in: 1 };
        let config = ReplayConfig { sequences, initial_state, sampling, ..config() };
        let mut run = Run::new(config, shape(false), (3, 20), Seed::new(3));
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
fn whole_episodes_may_be_drawn_in_proportion_to_their_length() {
    let config = ReplayConfig { sampling: Sampling::ByLength, ..config() };
    let mut run = Run::new(config, shape(false), (3, 20), Seed::new(3));
    run.fill(12);
    let saved = run.save();
    run.replay = run.restore(&saved).0;
    let counts = count_draws(&run, 20_000);
    let decisions = |id: u64| {
        let (_, told) = run.model.held.iter().find(|(held, _)| *held == id).unwrap();
        told.decisions() as f64
    };
    let lengths: Vec<f64> = counts.iter().map(|((id, _), _)| decisions(*id)).collect();
    assert!(lengths.iter().any(|length| *length != lengths[0]), "{lengths:?}");
    let all: f64 = lengths.iter().sum();
    let expected: Vec<f64> = lengths.iter().map(|length| 20_000.0 * length / all).collect();
    let counts: Vec<f64> = counts.into_iter().map(|(_, n)| n).collect();
    let (found, freedom) = (chi_square(&counts, &expected), counts.len() as f64 - 1.0);
    assert!(found < freedom + 4.0 * (2.0 * freedom).sqrt(), "{found} of {freedom}");
}

#[test]
fn draws_are_proportional_to_priorities_and_weights_undo_that() {
    draws_are_proportional(InitialState::Zero);
    draws_are_proportional(InitialState::Stored);
}

fn draws_are_proportional(initial_state: InitialState) {
    let sampling = Sampling::Prioritized { exponent: 0.5, importance: 1.0, largest_share: 0.9 };
    let sequences = Sequences::Chunks { length: 4, burn_in: 0 };
    let config = ReplayConfig { sequences, sampling, initial_state, ..config() };
    let mut run = Run::new(config, shape(false), (3, 20), Seed::new(3));
    run.fill(12);
    // A priority is that of the starts around it, as many as a chunk is long; or of a single one
    // where states are stored.
    let around = if initial_state == InitialState::Zero { 4 } else { 1 };
    let priority = |id: u64, start: usize| ((id * 3 + (start / around) as u64) % 7) as f64;
    let parts: Vec<(u64, usize)> = count_draws(&run, 1).into_iter().map(|(at, _)| at).collect();
    let said: Vec<Priority> = parts
        .iter()
        .map(|&(id, start)| Priority {
            episode: EpisodeId(id),
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
    let of = |piece: &Piece| probability(piece.episode.0, piece.start);
    let least = sample.pieces.iter().map(of).fold(f64::INFINITY, f64::min);
    for piece in &sample.pieces {
        assert!((f64::from(piece.weight) - least / of(piece)).abs() < 1e-6);
    }
}

#[test]
fn a_new_episode_has_the_largest_priority_so_far() {
    let sampling = Sampling::Prioritized { exponent: 1.0, importance: 0.0, largest_share: 0.9 };
    let mut run =
        Run::new(ReplayConfig { sampling, ..config() }, shape(false), (3, 9), Seed::new(1));
    run.fill(4);
    let say = |run: &mut Run, episode, priority| {
        run.replay.update_priorities(&[Priority {
            episode: EpisodeId(episode),
            start: 0,
            priority,
        }])
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
    let (mut resumed, _) = run.restore(&saved);
    assert_eq!(resumed.snapshot().write(&run.place()).unwrap(), saved);
}

#[test]
fn priorities_are_made_of_each_sequences_own_errors() {
    let config = ReplayConfig { packed: true, ..config() };
    let mut run = Run::new(config, shape(false), (3, 9), Seed::new(2));
    run.fill(6);
    let sample = run.replay.sample(6, &mut Seed::new(2).generator()).unwrap();
    let (time, batch) = (sample.unroll_length(), sample.rows.len());
    assert!(batch < 6, "several sequences share a row");
    let error =
        |t: usize, row: usize| (10 * row + t) as f32 * if t.is_multiple_of(2) { -1.0 } else { 1.0 };
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
        Run::new(ReplayConfig { packed: true, ..config() }, shape(false), lengths, seed);
    let mut apart = Run::new(config(), shape(false), lengths, seed);
    packed.fill(200);
    apart.fill(200);
    let sample = packed.replay.sample(64, &mut seed.generator()).unwrap();
    let unpacked = apart.replay.sample(64, &mut seed.generator()).unwrap();
    packed.model.check(&sample);
    let drawn = |sample: &ReplaySample| {
        let mut all: Vec<_> = sample.pieces.iter().map(|p| (p.episode, p.start)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(drawn(&sample), drawn(&unpacked));
    let learned = |sample: &ReplaySample| sample.pieces.iter().map(|p| p.length).sum::<usize>();
    assert_eq!(learned(&sample), learned(&unpacked));
    // Padding, Last frames between sequences, and burn-in.
    let waste = |sample: &ReplaySample| {
        1.0 - learned(sample) as f64 / (sample.unroll_length() * sample.rows.len()) as f64
    };
    assert!(waste(&sample) < 0.08 && waste(&unpacked) > 0.4);
}

#[test]
fn an_episode_larger_than_the_replay_is_refused_and_the_others_stay() {
    for (max_env_steps, max_bytes) in [(30, "1MiB"), (1_000, "900B")] {
        let config =
            ReplayConfig { max_env_steps, max_bytes: max_bytes.parse().unwrap(), ..config() };
        let mut short = Run::new(config.clone(), shape(false), (4, 8), Seed::new(1));
        short.fill(4);
        let mut long = Stream::new(9, shape(false), (4, 400), Seed::new(8).generator());
        let refused = (0..200).find_map(|_| {
            let arrival = long.unroll();
            short.replay.insert(arrival.generation, &arrival.trajectory).err()
        });
        let message = refused.expect("an episode of more").to_string();
        assert!(
            message.contains("environment 9") && message.contains("max_env_steps"),
            "{message}"
        );
        let held = short.replay.size();
        assert!(held.open_bytes < 2_000, "{held:?}");
        short.replay.sample(4, &mut Seed::new(1).generator()).unwrap();
    }
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let no_state = TrajectoryShape { state_width: 0, ..shape(false) };
    let sequences = Sequences::Chunks { length: 4, burn_in: 1 };
    let stored = ReplayConfig { sequences, initial_state: InitialState::Stored, ..config() };
    let refused = Replay::new(stored.clone(), no_state, None).unwrap_err();
    assert!(matches!(refused, ReplayError::NoState), "{refused}");
    let disk = ReplayConfig { storage: Storage::Disk, ..config() };
    let refused = Replay::new(disk, shape(false), None).unwrap_err();
    assert!(matches!(refused, ReplayError::NoFolder), "{refused}");
    let wrong = ReplayConfig { max_env_steps: 0, ..config() };
    assert!(Replay::new(wrong, shape(false), None).is_err());
    let mut replay = Replay::new(stored, shape(false), None).unwrap();
    let mut arrival = Stream::new(0, shape(false), (4, 9), Seed::new(1).generator()).unroll();
    arrival.trajectory.core_state.pop();
    let refused = replay.insert(arrival.generation, &arrival.trajectory).unwrap_err().to_string();
    assert!(refused.contains("brings 2 numbers of recurrent state, not 3"), "{refused}");
}
