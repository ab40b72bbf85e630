//! Two learners in one folder, where the file system's lock has kept neither out: the one that came
//! first finds that it has lost the folder, says to whom, and changes nothing there any more.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engram_learner::LearnerError;
use engram_learner::rpc::evaluation_queue::{Evaluation, Occasion};
use engram_learner::rpc::membership::Membership;
use engram_learner::rpc::publisher::Weights;
use engram_learner::storage::checkpoint::{Checkpoint, CheckpointState, CheckpointStore, Mark};
use engram_learner::storage::checkpoint_writer::{
    CheckpointFolders, CheckpointWriter, PendingCheckpoint,
};
use engram_learner::storage::evaluation_record::EvaluationRecord;
use engram_learner::storage::run_folder::{RunFolder, replay_folder};
use engram_learner::telemetry::counters::Counters;
use engram_learner::telemetry::episodes::Episodes;
use engram_learner::telemetry::metrics::Metrics;
use engram_mdp::Score;
use fixtures::{Actor, push, resolved, spec};
use harness::{Run, pair, run_folder};

/// Lets the next learner in, as a file system without locks would: it locks another file.
fn lose_lock(folder: &Path) {
    fs::remove_file(folder.join("lock")).unwrap();
}

/// Everything in a folder.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(content(&path)),
            false => _ = all.insert(path.clone(), fs::read(path).unwrap()),
        }
    }
    all
}

fn checkpoint(updates: u64, by: u8) -> PendingCheckpoint {
    let state = CheckpointState {
        run_id: "recall".into(),
        config: resolved(&[]).to_toml(),
        spec: spec(),
        counters: Counters { updates, ..Counters::default() },
        generators: BTreeMap::new(),
        membership: Membership::default().save(),
        carry_table: Vec::new(),
        replay: None,
        rate_limiter: None,
        episodes: Episodes::default(),
    };
    let bytes = || bytes::Bytes::from(vec![by; 9]);
    let checkpoint =
        Checkpoint { state, weights: bytes(), optimizer: bytes(), carry_table: bytes() };
    PendingCheckpoint { checkpoint, replay: None }
}

fn writer(folder: &RunFolder) -> CheckpointWriter {
    let store = CheckpointStore::new(folder.checkpoints(), 2).owned_by(folder.owner().clone());
    let folders = CheckpointFolders { store, replay: replay_folder(folder.path()) };
    CheckpointWriter::start(folders, Mark::default(), Metrics::new())
}

fn evaluated() -> (Evaluation, Score) {
    let weights = Weights { policy_version: 9, bytes: vec![9; 9].into() };
    let (occasion, episodes, seed) = (Occasion::Training, 9, 9);
    let evaluation = Evaluation { occasion, weights, env_steps: 9, updates: 9, episodes, seed };
    let (return_std, success, mean_length) = (0.0, None, 3.0);
    (evaluation, Score { episodes: 9, mean_return: 1.0, return_std, success, mean_length })
}

#[test]
fn whoever_has_lost_a_folder_writes_no_file_of_it_and_names_the_new_owner() {
    let (_runs, path) = run_folder();
    let first = RunFolder::open(&path).unwrap();
    let old = writer(&first);
    assert!(writer(&first).finish(Some(checkpoint(1, 1))).is_some());
    let record = EvaluationRecord::open(&path, 0, Metrics::new()).unwrap();
    let mut record = record.owned_by(first.owner().clone());
    first.owner().look().unwrap();

    lose_lock(&path);
    let second = RunFolder::open(&path).unwrap();
    let new = writer(&second).finish(Some(checkpoint(2, 2))).unwrap();
    second.note_version(20);
    let before = content(&path);
    assert_eq!(old.finish(Some(checkpoint(2, 1))), None, "it wrote none");
    first.note_version(10);
    let (evaluation, score) = evaluated();
    record.add(&evaluation, score);
    assert!(content(&path) == before, "something was written");
    assert_eq!(fs::read(new.join("weights.safetensors")).unwrap(), [2; 9]);

    let taken = first.owner().taken().unwrap_err();
    let owner = fs::read_to_string(path.join("owner")).unwrap();
    assert_eq!(taken.owner, owner.trim());
    let said =
        format!("{} was taken over by another learner: {}; this", path.display(), owner.trim());
    assert!(taken.to_string().starts_with(&said), "{taken}");
    second.owner().look().unwrap();
}

#[tokio::test]
async fn a_learner_that_finds_another_in_its_folder_ends_with_its_name() {
    let (_runs, path) = run_folder();
    let mut first = Run::start(Some(path.clone()), &[]);
    let actor = Actor::register(&first.channel).await;
    actor.send(push(&pair(0))).await;
    first.updates(1).await;

    lose_lock(&path);
    let mut second = Run::start(Some(path.clone()), &[]);
    let other = Actor::register(&second.channel).await;
    other.send(push(&pair(0))).await;
    second.updates(1).await;

    let owner = fs::read_to_string(path.join("owner")).unwrap();
    actor.send(push(&pair(1))).await;
    match first.learner.await.unwrap().unwrap_err() {
        LearnerError::Taken(taken) => assert_eq!(taken.owner, owner.trim()),
        error => panic!("{error}"),
    }
    let mut left = fs::read_dir(path.join("checkpoints")).unwrap();
    assert!(left.next().is_none(), "it has left a checkpoint");
    other.send(push(&pair(1))).await;
    second.updates(2).await;
    assert_eq!(second.stop().await.updates, 2);
}
