//! Parts of a policy that do not learn, and parts that come from another run.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod learners;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engram_learner::rpc::membership::SavedMembership;
use engram_learner::run::pipeline::Resumed;
use engram_learner::storage::checkpoint::CheckpointStore;
use engram_learner::storage::warm_start::{WarmStart, WarmStartError};
use engram_learner::telemetry::episodes::Episodes;
use engram_learner::{LearnerConfig, LearnerError};
use fixtures::{spec, trajectory};
use learners::{Learner, algorithm};
use safetensors::SafeTensors;

const TORSO: &str = "seq.torso={ name = \"mlp\", hidden = [5], activation = \"tanh\", init = { name = \"fan_in\" } }";

/// A torso with weights, and changes beside it.
fn learner_config(seed: u64, changes: &[&str]) -> LearnerConfig {
    let mut config = learners::config(&[&[TORSO], changes].concat());
    config.run.seed = seed;
    config
}

fn begin(
    seed: u64,
    changes: &[&str],
    warm_start: Option<&WarmStart>,
) -> Result<Learner, LearnerError> {
    let (algorithm, learner_config) = (algorithm(changes), learner_config(seed, changes));
    Learner::new(&algorithm, learner_config, &spec(), warm_start)
}

fn learner(seed: u64, changes: &[&str]) -> Learner {
    begin(seed, changes, None).unwrap()
}

fn refusal(changes: &[&str]) -> LearnerError {
    begin(1, changes, None).err().unwrap()
}

fn learn(learner: &mut Learner, sequence: u64) {
    let pair = [0, 1].map(|env_index| trajectory(env_index, sequence));
    learner.update(&learners::batch(&pair, sequence), 8).unwrap();
}

/// The bytes of every weight, by name.
fn weights(learner: &Learner) -> BTreeMap<String, Vec<u8>> {
    let bytes = learner.weights().bytes;
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
}

/// The parts whose weights differ, and those whose weights are the same.
fn compare(a: &Learner, b: &Learner) -> (Vec<String>, Vec<String>) {
    let part = |name: &String| name.split('.').next().unwrap().to_owned();
    let (a, b) = (weights(a), weights(b));
    let same = |name: &&String| a[*name] == b[*name];
    let (mut same, mut other): (Vec<_>, Vec<_>) = a.keys().partition(same);
    let parts = |names: &mut Vec<&String>| {
        let mut parts: Vec<String> = names.iter().map(|name| part(name)).collect();
        parts.dedup();
        parts
    };
    (parts(&mut other), parts(&mut same))
}

#[test]
fn frozen_parts_stay_as_they_are_also_after_a_checkpoint() {
    for (freeze, learning, frozen) in [
        (r#"rl.freeze=["torso"]"#, ["memory", "policy", "value"].as_slice(), ["torso"].as_slice()),
        (r#"rl.freeze=["memory", "value"]"#, &["policy", "torso"], &["memory", "value"]),
    ] {
        let before = learner(1, &[freeze]);
        let mut after = learner(1, &[freeze]);
        learn(&mut after, 0);
        assert_eq!(compare(&before, &after), (owned(learning), owned(frozen)));
        let (checkpoint, _) = after.checkpoint(SavedMembership::default(), Episodes::default());
        let remembered = SafeTensors::deserialize(&checkpoint.optimizer).unwrap();
        let names = remembered.names();
        assert!(names.iter().all(|name| !name.contains(frozen[0])), "{names:?}");
        let here = Resumed { path: Path::new("here"), checkpoint: &checkpoint };
        let (algorithm, learner_config) = (algorithm(&[freeze]), learner_config(1, &[freeze]));
        let mut resumed = Learner::resume(&algorithm, learner_config, here).unwrap();
        learn(&mut resumed, 1);
        learn(&mut after, 1);
        assert_eq!(weights(&resumed), weights(&after));
        assert_eq!(compare(&before, &resumed).1, frozen);
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn freezing_all_or_what_does_not_exist_is_refused() {
    let all = refusal(&[r#"rl.freeze=["torso", "memory", "policy", "value"]"#]);
    assert!(matches!(all, LearnerError::NothingLearns { .. }));
    assert!(all.to_string().contains("torso, memory, policy, value"), "{all}");
    let message = refusal(&[r#"rl.freeze=["tors"]"#]).to_string();
    assert!(message.starts_with("rl.freeze: ") && message.contains("`tors`"), "{message}");
}

#[test]
fn a_torso_learns_while_the_memory_that_carries_is_frozen() {
    let memory =
        r#"seq.memory={ name = "elstm", hidden = 16, forget_bias = 1.0, gradient = "rtrl" }"#;
    let changes = [memory, r#"rl.freeze=["memory"]"#];
    let before = learner(1, &changes);
    let mut after = learner(1, &changes);
    for sequence in 0..3 {
        learn(&mut after, sequence);
    }
    assert_eq!(compare(&before, &after).1, ["memory"]);
}

#[test]
fn a_run_a_checkpoint_and_a_file_give_the_same_parts() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("other");
    // Another memory, whose weights would not fit.
    let mut other = learner(2, &["seq.memory.hidden=16", "seq.memory.layers=1"]);
    let (checkpoint, _) = other.checkpoint(SavedMembership::default(), Episodes::default());
    let path = CheckpointStore::new(run.join("checkpoints"), 1).write(&checkpoint).unwrap();
    let torso = [String::from("torso")];
    for from in [&run, &path, &path.join("weights.safetensors")] {
        let warm_start = WarmStart::read(from, &torso).unwrap();
        let begun = begin(1, &[], Some(&warm_start)).unwrap();
        let (of_other, of_begun) = (weights(&other), weights(&begun));
        assert_eq!(of_other["torso.0.weight"], of_begun["torso.0.weight"]);
        assert_eq!(compare(&learner(1, &[]), &begun).0, ["torso"], "nothing else has changed");
    }
}

#[test]
fn weights_that_are_not_there_or_do_not_fit_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let parts = |part: &str| [String::from(part)];
    let nowhere = folder.path().join("nowhere");
    let message = WarmStart::read(&nowhere, &parts("torso")).unwrap_err().to_string();
    assert!(message.contains("nowhere"), "{message}");
    fs::create_dir_all(folder.path().join("fresh/checkpoints")).unwrap();
    let fresh = WarmStart::read(&folder.path().join("fresh"), &parts("torso")).unwrap_err();
    assert!(matches!(fresh, WarmStartError::NoCheckpoint { .. }), "{fresh}");

    let file = folder.path().join("weights.safetensors");
    fs::write(&file, learner(2, &["seq.memory.hidden=16"]).weights().bytes).unwrap();
    for (part, named) in [("memory", "memory.weight_ih_l0"), ("tors", "`tors`")] {
        let warm_start = WarmStart::read(&file, &parts(part)).unwrap();
        let message = begin(1, &[], Some(&warm_start)).unwrap_err().to_string();
        let file = file.display().to_string();
        assert!(message.contains(named) && message.contains(&file), "{message}");
    }
}
