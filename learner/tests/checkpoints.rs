//! Checkpoints: a killed run goes on from them.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod learners;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engram_learner::algorithms::RlConfig;
use engram_learner::batches::batch::BATCHES_AHEAD;
use engram_learner::batches::replay_worker::{ReplaySetup, ReplayWorker, SharedReplay};
use engram_learner::config::flags::ByteSize;
use engram_learner::replay::TrajectoryShape;
use engram_learner::rpc::membership::{Claim, Membership};
use engram_learner::rpc::queue::{Arrival, bounded};
use engram_learner::rpc::unroll_grants::UnrollGrants;
use engram_learner::run::pipeline::Resumed;
use engram_learner::storage::checkpoint::{Checkpoint, CheckpointStore, FORMAT, Mark};
use engram_learner::storage::checkpoint_error::CheckpointError;
use engram_learner::storage::checkpoint_writer::{
    CheckpointFolders, CheckpointWriter, PendingCheckpoint,
};
use engram_learner::telemetry::episodes::Episodes;
use engram_learner::telemetry::metrics::Metrics;
use engram_learner::{LearnerConfig, LearnerError};
use engram_mdp::Seed;
use engram_service::Shutdown;
use fixtures::{episode, resolved, resolved_with, spec, stream, trajectory};
use learners::{Learner, algorithm};
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

fn learner_config() -> LearnerConfig {
    learners::config(&[])
}

fn begin(learner_config: LearnerConfig) -> Learner {
    Learner::new(&algorithm(&[]), learner_config, &spec(), None).unwrap()
}

fn resume(
    learner_config: LearnerConfig,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<Learner, LearnerError> {
    Learner::resume(&algorithm(&[]), learner_config, Resumed { path, checkpoint })
}

/// Learns from the batches of a fixed list.
fn learn(learner: &mut Learner, batches: std::ops::Range<u64>) {
    for number in batches {
        let mut pair = [0, 1].map(|env_index| trajectory(env_index, number));
        pair.iter_mut().for_each(|t| t.core_state.truncate(learner.core_state_width()));
        let env_steps = pair.iter().map(|t| t.env_steps() as u64).sum();
        learner.update(&learners::batch(&pair, number), env_steps).unwrap();
        learner.next_snapshot();
    }
}

fn membership() -> Membership {
    let mut membership = Membership::default();
    let actor = Some(stream(0).actor);
    let claim = Claim { actor, any_number: false, generation: Some(5), instance: 1, streams: 2 };
    membership.register(claim).unwrap();
    membership.accept(stream(0), 5, 3).unwrap();
    membership
}

fn save(learner: &mut Learner) -> Checkpoint {
    learner.checkpoint(membership().save(), Episodes::default()).0
}

/// A checkpoint after so many updates.
fn after(updates: u64) -> Checkpoint {
    let mut learner = begin(learner_config());
    learn(&mut learner, 0..updates);
    save(&mut learner)
}

#[test]
fn a_resumed_learner_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let mut uninterrupted = begin(learner_config());
    learn(&mut uninterrupted, 0..3);
    store.write(&save(&mut uninterrupted)).unwrap();
    learn(&mut uninterrupted, 3..6);

    let (path, checkpoint) = store.newest().unwrap().unwrap();
    let mut resumed = resume(learner_config(), &path, &checkpoint).unwrap();
    learn(&mut resumed, 3..6);
    assert_eq!(resumed.counters(), uninterrupted.counters());
    assert_eq!(resumed.counters().env_steps, 48);
    assert_eq!(resumed.weights(), uninterrupted.weights());
    assert_eq!(save(&mut resumed), save(&mut uninterrupted));
    assert_ne!(save(&mut resumed).weights, checkpoint.weights, "nothing was learned");
}

/// A memory that carries sensitivities, and two that carry what they attend to; the last one
/// draws dropout.
const CARRYING: [&str; 3] = [
    r#"name = "elstm", hidden = 16, forget_bias = 1.0, gradient = "rtrl""#,
    r#"name = "cgpt", width = 8, heads = 2, blocks = 1, context_length = 9, norm = "layer",
       bf16 = false"#,
    r#"name = "gpt2", width = 8, heads = 2, blocks = 1, context_length = 9, positions = "sine",
       dropout = 0.1"#,
];

fn carrying(memory: &str) -> LearnerConfig {
    learners::config(&[&format!("seq.memory={{ {} }}", memory.replace('\n', " "))])
}

#[test]
fn what_streams_carry_goes_on_bit_for_bit_too_and_matters() {
    for memory in CARRYING {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::new(folder.path().into(), 1);
        let mut uninterrupted = begin(carrying(memory));
        learn(&mut uninterrupted, 0..3);
        store.write(&save(&mut uninterrupted)).unwrap();
        learn(&mut uninterrupted, 3..6);

        let (path, checkpoint) = store.newest().unwrap().unwrap();
        let mut resumed = resume(carrying(memory), &path, &checkpoint).unwrap();
        learn(&mut resumed, 3..6);
        assert!(save(&mut resumed) == save(&mut uninterrupted), "{memory}");
        assert_eq!(resumed.pipeline_mut().carry_table().stats().restarts, 0);

        let mut forgetful = checkpoint;
        forgetful.state.carry_table.clear();
        let mut anew = resume(carrying(memory), &path, &forgetful).unwrap();
        learn(&mut anew, 3..6);
        assert_eq!(anew.pipeline_mut().carry_table().stats().restarts, 2);
        assert_ne!(anew.weights(), uninterrupted.weights(), "{memory}: it made no difference");
    }
}

#[test]
fn what_streams_carry_is_refused_where_it_does_not_fit_or_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let mut learner = begin(carrying(CARRYING[0]));
    learn(&mut learner, 0..1);
    let checkpoint = save(&mut learner);
    let path = store.write(&checkpoint).unwrap();
    let mut torn = checkpoint;
    torn.carry_table = after(1).optimizer;
    let refused = resume(carrying(CARRYING[0]), &path, &torn).err().unwrap();
    assert!(refused.to_string().contains("does not fit this build"), "{refused}");
    fs::write(path.join("carry_table.safetensors"), b"half").unwrap();
    assert_eq!(store.newest().unwrap(), None, "a torn one");
}

#[test]
fn everything_in_a_checkpoint_is_read_back_generators_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let mut checkpoint = after(1);
    let generator = Seed::new(3).derive("replay", 0).generator();
    checkpoint.state.generators.insert("replay".into(), generator);
    checkpoint.state.counters.seconds = 0.1 + 0.2;
    let path = store.write(&checkpoint).unwrap();
    assert!(!path.join("carry_table.safetensors").exists(), "an LSTM carries nothing");
    assert!(path.ends_with("000000000001"), "named by updates: {}", path.display());
    assert_eq!(store.newest().unwrap(), Some((path.clone(), checkpoint.clone())));
    resume(learner_config(), &path, &checkpoint).unwrap();
}

/// The disk gives a file no longer out. A folder in its place is an error for root as well.
fn unreadable(checkpoint: &Path) {
    let weights = checkpoint.join("weights.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::create_dir(weights).unwrap();
}

#[test]
fn a_run_does_not_begin_anew_above_checkpoints_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 2);
    unreadable(&store.write(&after(1)).unwrap());
    let error = store.newest().unwrap_err();
    assert!(matches!(error, CheckpointError::Disk { what: "read", .. }), "{error}");
}

#[test]
fn a_torn_checkpoint_is_skipped_for_the_one_before() {
    let tear: [fn(&Path); 6] = [
        |path| fs::remove_file(path.join("optimizer.safetensors")).unwrap(),
        |path| fs::write(path.join("weights.safetensors"), b"half").unwrap(),
        |path| fs::write(path.join("state.json"), b"{\"format\": 2, \"sha").unwrap(),
        |path| fs::remove_file(path.join("state.json")).unwrap(),
        |path| {
            fs::remove_dir_all(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        unreadable,
    ];
    for tear in tear {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::new(folder.path().into(), 2);
        let good = store.write(&after(1)).unwrap();
        let torn = store.write(&after(2)).unwrap();
        tear(&torn);
        let (found, checkpoint) = store.newest().unwrap().unwrap();
        assert_eq!(found, good);
        assert_eq!(checkpoint.state.counters.updates, 1);
        // Getting there again replaces it.
        assert_eq!(store.write(&after(2)).unwrap(), torn);
        assert_eq!(store.newest().unwrap().unwrap().0, torn);
    }
}

#[test]
fn only_the_newest_are_kept_and_a_torn_one_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 2);
    fs::create_dir(folder.path().join("000000000999")).unwrap();
    for updates in 1..=4 {
        store.write(&after(updates)).unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["000000000003", "000000000004", "000000000999"]);
}

/// The one before was once deleted before the new one was renamed: a process killed between left
/// none.
#[test]
fn a_checkpoint_whose_place_is_taken_is_found_until_the_new_one_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let (first, mut second) = (after(1), after(1));
    second.state.counters.env_steps += 1;
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let place = store.write(&first).unwrap();
    assert_eq!(store.write(&second).unwrap(), place);
    assert_eq!(store.newest().unwrap(), Some((place.clone(), second.clone())));
    assert_eq!(names(), ["000000000001"]);

    // Killed between both renames.
    let aside = folder.path().join("000000000001.old");
    fs::rename(&place, &aside).unwrap();
    assert_eq!(store.newest().unwrap(), Some((aside.clone(), second.clone())));
    assert_eq!(store.write(&first).unwrap(), place);
    assert_eq!(names(), ["000000000001"]);

    // Killed after them: the new one counts.
    fs::create_dir(&aside).unwrap();
    assert_eq!(store.newest().unwrap(), Some((place.clone(), first)));
    store.write(&second).unwrap();
    assert_eq!(store.newest().unwrap(), Some((place, second)));
    assert_eq!(names(), ["000000000001"]);
}

fn small_replay() -> SharedReplay {
    let rl = resolved_with(
        include_str!("../../configs/rl/dqn.toml"),
        &[
            "rl.rate_limiter.updates_per_env_step=1.0",
            "rl.rate_limiter.learning_starts={episodes=1}",
        ],
    );
    let RlConfig::Replay(config) = rl.section("rl").unwrap() else { panic!("a replay") };
    let config = config.shared();
    SharedReplay::new(ReplaySetup {
        replay: config.replay,
        rate_limiter: config.rate_limiter,
        unroll_length: fixtures::UNROLL_LENGTH,
        shape: TrajectoryShape { spec: spec(), state_width: 0 },
        folder: None,
        seed: Seed::new(1),
    })
    .unwrap()
}

#[tokio::test]
async fn a_batch_that_is_drawn_ahead_does_not_count_in_a_checkpoint() {
    let (intake, arrivals) = bounded(8, ByteSize::QUEUE_MEMORY);
    let replay = small_replay();
    let worker = ReplayWorker {
        arrivals,
        replay: replay.clone(),
        unlearned_env_steps: 7,
        env_steps_left: 1_000,
        unroll_length: fixtures::UNROLL_LENGTH as u64,
        batch_size: 2,
        burn_in: 0,
        random_shift: None,
        spec: spec(),
        device: Device::Cpu,
        grants: UnrollGrants::unlimited(),
        metrics: Metrics::new(),
    };
    for sequence in 0..3 {
        let trajectory = episode(0, sequence);
        let place = intake.place(trajectory.bytes()).await.unwrap();
        place.put(Arrival { trajectory, generation: 1 });
    }
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let (runtime, stop) = (Handle::current(), Shutdown::new());
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || worker.run(&runtime, &stopped, &sender));
    let first = batches.recv().await.unwrap();
    assert_eq!(first.env_steps, 7 + 9, "what was there before the run was resumed counts");
    assert_eq!(replay.counted().updates, 0);
    replay.learned();
    assert_eq!(replay.counted().updates, 1);
    let _second = batches.recv().await.unwrap();
    assert_eq!(replay.save(&mut BTreeMap::new()).0.updates, 1);
    stop.trigger();
    drop((batches, intake));
    thread.join().unwrap().unwrap();
}

#[test]
fn a_run_without_checkpoints_starts_afresh() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(CheckpointStore::new(folder.path().join("none"), 1).newest().unwrap(), None);
}

#[test]
fn another_format_is_refused_and_not_taken_for_torn() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let path = store.write(&after(1)).unwrap();
    let state = fs::read_to_string(path.join("state.json")).unwrap();
    let ours = format!("\"format\": {FORMAT}");
    assert!(state.contains(&ours));
    fs::write(path.join("state.json"), state.replace(&ours, "\"format\": 999")).unwrap();
    let refused = store.newest().unwrap_err();
    assert!(matches!(refused, CheckpointError::Format { found: 999, .. }), "{refused}");
}

#[test]
fn a_checkpoint_of_an_earlier_layout_is_refused_by_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let path = store.write(&after(1)).unwrap();
    // Format 3 had other keys: `streams`, `carried`, `limiter`.
    let state = fs::read_to_string(path.join("state.json")).unwrap();
    let state = state.replace("rate_limiter", "limiter").replace("membership", "members");
    let state = state.replace("carry_table", "carried");
    let earlier = state.replace(&format!("\"format\": {FORMAT}"), "\"format\": 3");
    fs::write(path.join("state.json"), earlier).unwrap();
    let message = store.newest().unwrap_err().to_string();
    let formats = format!("has format 3, this build reads {FORMAT}");
    assert!(message.contains(&formats), "{message}");
    assert!(message.contains("start a run under another name"), "{message}");
}

#[test]
fn another_experiment_is_refused_with_both_values_and_a_longer_one_is_not() {
    let state = after(1).state;
    let check = |changes: &[&str]| state.check_config(Path::new("here"), &resolved(changes));
    check(&["run.env_steps=5000000", "run.log_seconds=9.0", "run.actors=3"]).unwrap();
    let message = check(&["rl.learning_rate=0.5", "seq.memory.hidden=9"]).unwrap_err().to_string();
    assert!(message.contains("rl.learning_rate was 0.01, and is 0.5 now"), "{message}");
    assert!(message.contains("seq.memory.hidden was 8, and is 9 now"), "{message}");
    assert!(check(&["run.seed=2"]).unwrap_err().to_string().contains("run.seed was 1"));
}

#[test]
fn weights_of_another_network_are_refused() {
    let other = LearnerConfig {
        policy: resolved(&["seq.memory.hidden=9"]).section("seq").unwrap(),
        ..learner_config()
    };
    let refused = resume(other, Path::new("here"), &after(1)).unwrap_err();
    assert!(refused.to_string().contains("does not fit this build"), "{refused}");
}

#[test]
fn a_disk_that_refuses_leaves_the_last_checkpoint_and_no_debris() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints");
    let store = CheckpointStore::new(path.clone(), 3);
    let good = store.write(&after(1)).unwrap();
    // The place of the next one's files cannot be made.
    fs::write(path.join(".new"), b"in the way").unwrap();
    let refused = store.write(&after(2)).unwrap_err();
    assert!(matches!(refused, CheckpointError::Disk { .. }), "{refused}");
    assert_eq!(store.newest().unwrap().unwrap().0, good);
}

#[test]
fn the_writer_outlives_a_disk_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints");
    fs::write(&path, b"a file where a directory should be").unwrap();
    let folders = CheckpointFolders {
        store: CheckpointStore::new(path.clone(), 3),
        replay: folder.path().into(),
    };
    let pending = |batches| PendingCheckpoint { checkpoint: after(batches), replay: None };
    let saved = Mark::default();
    let writer = CheckpointWriter::start(folders.clone(), saved, Metrics::new());
    // The next one is made when the one before is done with, so that one copy is in memory.
    for batches in 1..=3 {
        while writer.is_busy() {
            std::thread::yield_now();
        }
        writer.write(pending(batches));
    }
    assert_eq!(writer.written(), saved, "a write that failed counts as none");
    assert_eq!(writer.finish(None), None);

    fs::remove_file(&path).unwrap();
    let writer = CheckpointWriter::start(folders, saved, Metrics::new());
    assert_eq!(writer.finish(Some(pending(2))), Some(path.join("000000000002")));
}
