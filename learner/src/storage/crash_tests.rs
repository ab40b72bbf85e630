//! Crashes of a machine: whenever the power is cut, what was reported written is there.
//!
//! A run's folder is written as a learner writes it, and every operation is recorded. Then it is
//! rebuilt as a crash after each of these may leave it, by several seeds, and read as a learner
//! that starts reads it. A failure names the operation and the seed.

mod disk;

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use engram_mdp::{Score, Seed};

use crate::config::flags::ByteSize;
use crate::config::replay::{InitialState, ReplayConfig, Sampling, Sequences, Storage};
use crate::durable::recorder;
use crate::fixtures::{CORE_STATE, episode, resolved, spec};
use crate::replay::{Replay, TrajectoryShape};
use crate::rpc::evaluation_queue::CheckpointKind;
use crate::rpc::membership::Membership;
use crate::storage::best_checkpoint::{BestCheckpoint, BestEvaluation};
use crate::storage::checkpoint::{Checkpoint, CheckpointState, CheckpointStore};
use crate::storage::checkpoint_writer::{CheckpointFolders, PendingCheckpoint};
use crate::storage::files::sha256;
use crate::storage::final_evaluation::{FinalEvaluationTable, FinalScore};
use crate::storage::run_folder::{RunFolder, replay_folder};
use crate::telemetry::counters::Counters;
use crate::telemetry::episodes::Episodes;
use crate::telemetry::progress_log::ProgressTable;
use disk::Disk;

/// Ways in which a disk may be left after each operation.
const SEEDS: u64 = 8;

/// Something that a learner was told is on the disk, in the order of what it was told.
struct Told<T> {
    /// Operations before that, and what it was.
    all: Vec<(usize, T)>,
}

impl<T: PartialEq + Debug + Clone> Told<T> {
    fn new() -> Self {
        Told { all: Vec::new() }
    }

    /// Reports what was just written.
    fn tell(&mut self, what: T) {
        self.all.push((recorder::so_far(), what));
    }

    /// After so many operations the last that was reported must be there, or the next one, which was
    /// being written. Before the first there may be nothing.
    fn check(&self, operations: usize, found: Option<T>) {
        let reported = self.all.iter().filter(|(at, _)| *at <= operations).count();
        let may = &self.all[reported.saturating_sub(1)..(reported + 1).min(self.all.len())];
        match found {
            Some(found) => {
                let expected = may.iter().any(|(_, told)| *told == found);
                assert!(expected, "found {found:?} instead of one of {may:?}");
            }
            None => assert_eq!(reported, 0, "there is none of {may:?}"),
        }
    }
}

/// A run in a folder, and all that it was told is there.
struct Story {
    path: PathBuf,
    config: Told<String>,
    checkpoints: Told<Checkpoint>,
    best: Told<BestCheckpoint>,
    scores: Told<Vec<FinalScore>>,
    curve: Told<String>,
}

impl Story {
    fn new(root: &Path) -> Self {
        let path = root.join("runs/recall");
        let (checkpoints, best, scores) = (Told::new(), Told::new(), Told::new());
        Story { path, config: Told::new(), checkpoints, best, scores, curve: Told::new() }
    }

    /// A life of a learner with a replay: two checkpoints before the first update, which have one
    /// place, then one after each, the best one anew, and evaluations in the end.
    fn play(&mut self) {
        let folder = RunFolder::open(&self.path).unwrap();
        folder.begin("seed = 1\n", 0).unwrap();
        self.config.tell("seed = 1\n".into());
        let store = CheckpointStore::new(folder.checkpoints(), 2).owned_by(folder.owner().clone());
        let folders = CheckpointFolders { store, replay: replay_folder(&self.path) };
        let place = Some(replay_folder(&self.path));
        let mut replay = Replay::new(replay_config(), shape(), place).unwrap();
        for (number, updates) in [0, 0, 1, 2, 3].into_iter().zip(0..) {
            for sequence in 3 * number..3 * number + 3 {
                replay.insert(0, &episode(0, sequence)).unwrap();
            }
            self.save(&folders, updates, &mut replay);
            let mean_return = number as f64;
            let best = best(updates, mean_return);
            best.write(&folder.checkpoints()).unwrap();
            self.best.tell(best);
        }
        let mut table = FinalEvaluationTable::read(&self.path);
        for set in 0..2 {
            table.add(score(set)).unwrap();
            self.scores.tell(table.scores().to_vec());
        }
    }

    fn save(&mut self, folders: &CheckpointFolders, updates: u64, replay: &mut Replay) {
        let mut checkpoint = checkpoint(updates);
        let snapshot = replay.snapshot();
        let replay = Some(snapshot);
        folders.write(PendingCheckpoint { checkpoint: checkpoint.clone(), replay }).unwrap();
        let (_, found) = folders.store.newest().unwrap().unwrap();
        checkpoint.state.replay = found.state.replay;
        self.checkpoints.tell(checkpoint);
    }

    /// Learning curves of a learner that goes on from its checkpoint.
    fn resume(&mut self) {
        let (all, kept) = ("env_steps,score\n10,1\n20,2\n30,3\n", "env_steps,score\n10,1\n");
        let path = self.path.join("progress.csv");
        crate::durable::replace(&path, all.as_bytes()).unwrap();
        self.curve.tell(all.into());
        ProgressTable::open(path, 10).unwrap();
        self.curve.tell(kept.into());
    }

    /// Reads what a crash after so many operations has left of the folder.
    fn check(&self, root: &Path, left: &Path, operations: usize) {
        let path = left.join(self.path.strip_prefix(root).unwrap());
        self.config.check(operations, fs::read_to_string(path.join("config.toml")).ok());
        let checkpoints = path.join("checkpoints");
        let newest = CheckpointStore::new(checkpoints.clone(), 2).newest().unwrap();
        let newest = newest.map(|(_, checkpoint)| checkpoint);
        let replay = newest.as_ref().and_then(|newest| newest.state.replay.as_ref());
        for segment in replay.iter().flat_map(|replay| &replay.segments) {
            let file = replay_folder(&path).join(&segment.name);
            let found = fs::read(&file).map(|bytes| sha256(&bytes)).ok();
            assert_eq!(found.as_ref(), Some(&segment.sha256), "{}", file.display());
        }
        self.checkpoints.check(operations, newest);
        self.best.check(operations, BestCheckpoint::read(&checkpoints).unwrap());
        let scores = FinalEvaluationTable::read(&path).scores().to_vec();
        self.scores.check(operations, (!scores.is_empty()).then_some(scores));
        self.curve.check(operations, fs::read_to_string(path.join("progress.csv")).ok());
    }
}

#[test]
fn whenever_the_power_is_cut_what_was_reported_written_is_there() {
    for disk_can_exchange in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let mut story = Story::new(root.path());
        let operations = recorder::record(disk_can_exchange, || {
            story.play();
            story.resume();
        });
        let mut disk = Disk::new();
        for (number, operation) in (1..).zip(&operations) {
            disk.apply(operation, root.path());
            for seed in 0..SEEDS {
                let what = format!("{operation:?}: number {number}, exchange {disk_can_exchange}");
                let failed = Failed(format!("power cut after {what}, seed {seed}"));
                let left = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
                let left = left.unwrap();
                let mut chance = Seed::new(seed).derive("crash", number as u64).generator();
                disk.crash(left.path(), &mut chance);
                story.check(root.path(), left.path(), number);
                drop(failed);
            }
        }
    }
}

/// Says which crash it was.
struct Failed(String);

impl Drop for Failed {
    #[allow(clippy::print_stderr, reason = "a failed test says how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown: String = self.0.chars().take(300).collect();
            eprintln!("{shown}");
        }
    }
}

fn checkpoint(updates: u64) -> Checkpoint {
    let counters = Counters { updates, ..Counters::default() };
    let state = CheckpointState {
        run_id: "recall".into(),
        config: resolved(&[]).to_toml(),
        spec: spec(),
        counters,
        generators: [].into(),
        membership: Membership::default().save(),
        carry_table: Vec::new(),
        replay: None,
        rate_limiter: None,
        episodes: Episodes::default(),
    };
    let bytes = |name: u8| vec![name + updates as u8; 100].into();
    let (weights, optimizer, carry_table) = (bytes(1), bytes(100), bytes::Bytes::new());
    Checkpoint { state, weights, optimizer, carry_table }
}

fn best(updates: u64, mean_return: f64) -> BestCheckpoint {
    let (return_std, success, mean_length) = (0.0, None, 3.0);
    let score = Score { episodes: 9, mean_return, return_std, success, mean_length };
    let evaluation = BestEvaluation { env_steps: updates, updates, policy_version: 6, score };
    BestCheckpoint { evaluation, weights: vec![updates as u8 + 7; 90].into() }
}

fn score(set: u32) -> FinalScore {
    FinalScore {
        env_steps: 640,
        updates: 7,
        policy_version: 8,
        checkpoint: CheckpointKind::Newest,
        set,
        episodes: 100,
        episode_return: 0.5,
        return_std: 0.25,
        success: None,
        episode_length: 4.0,
    }
}

fn replay_config() -> ReplayConfig {
    ReplayConfig {
        batch_env_steps: None,
        // Few enough that segments are forgotten, and their files deleted.
        max_env_steps: 24,
        max_bytes: "1MiB".parse::<ByteSize>().unwrap(),
        storage: Storage::Memory,
        sampling: Sampling::Uniform,
        sequences: Sequences::Episodes,
        initial_state: InitialState::Zero,
        packed: false,
    }
}

fn shape() -> TrajectoryShape {
    TrajectoryShape { spec: spec(), state_width: CORE_STATE }
}
