//! Damaged files of a run: checkpoints, the replay's state, weights, experiments. They are
//! refused with a reason, and nothing panics.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

mod fixtures;

mod learners;

#[path = "../../proto/tests/support/damage.rs"]
mod damage;

#[path = "replay/model.rs"]
mod model;

#[path = "replay/run.rs"]
mod run;

use std::fs;
use std::sync::LazyLock;

use damage::{cases, damaged};
use engram_learner::algorithms::RlConfig;
use engram_learner::replay::{Replay, ReplayState};
use engram_learner::rpc::membership::SavedMembership;
use engram_learner::storage::checkpoint::{Checkpoint, CheckpointStore};
use engram_learner::telemetry::episodes::Episodes;
use engram_mdp::Seed;
use engram_policy::{Policy, PolicyConfig};
use engram_service::Resolved;
use fixtures::{resolved, spec, trajectory};
use learners::{Learner, algorithm};
use model::{config, shape};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use run::Run;
use tch::Device;

const FILES: [&str; 3] = ["weights.safetensors", "optimizer.safetensors", "state.json"];

/// A checkpoint after one update.
static CHECKPOINT: LazyLock<Checkpoint> = LazyLock::new(|| {
    let mut learner = Learner::new(&algorithm(&[]), learners::config(&[]), &spec(), None).unwrap();
    let mut pair = [0, 1].map(|env_index| trajectory(env_index, 0));
    pair.iter_mut().for_each(|t| t.core_state.truncate(learner.core_state_width()));
    learner.update(&learners::batch(&pair, 0), 8).unwrap();
    learner.checkpoint(SavedMembership::default(), Episodes::default()).0
});

#[test]
fn a_damaged_checkpoint_is_the_same_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().into(), 1);
    let whole = CHECKPOINT.clone();
    let place = store.write(&whole).unwrap();
    for name in FILES {
        let good = fs::read(place.join(name)).unwrap();
        let damaged = damaged(vec![good.clone()]);
        TestRunner::new(cases(150))
            .run(&damaged, |bytes| {
                fs::write(place.join(name), bytes).unwrap();
                if let Ok(Some((_, read))) = store.newest() {
                    prop_assert_eq!(&read.weights, &whole.weights);
                    prop_assert_eq!(&read.optimizer, &whole.optimizer);
                    // What it says may have another number in it; it is text.
                    let _ = Resolved::from_toml(&read.state.config);
                }
                Ok(())
            })
            .unwrap();
        fs::write(place.join(name), good).unwrap();
    }
    assert!(store.newest().unwrap().is_some(), "it is whole again");
}

#[test]
fn a_damaged_state_of_a_replay_restores_what_is_there() {
    let mut run = Run::new(config(), shape(true), (5, 12), Seed::new(1));
    run.fill(20);
    run.save();
    run.fill(20);
    let state = run.save();
    let text = serde_json::to_vec(&state).unwrap();
    TestRunner::new(cases(1_000))
        .run(&damaged(vec![text]), |bytes| {
            let Ok(state) = serde_json::from_slice::<ReplayState>(&bytes) else { return Ok(()) };
            if let Ok((replay, _)) = Replay::restore(config(), shape(true), run.place(), &state) {
                let _ = replay.sample(20, &mut Seed::new(1).generator());
            }
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(cases(300))]

    /// They come from files, and from a learner.
    #[test]
    fn damaged_weights_do_no_harm(bytes in damaged(vec![CHECKPOINT.weights.to_vec()])) {
        let _ = Policy::from_weights(&bytes, Device::Cpu);
    }

    #[test]
    fn damaged_experiments_do_no_harm(bytes in damaged(vec![resolved(&[]).to_toml().into()])) {
        let Ok(resolved) = Resolved::from_toml(&String::from_utf8_lossy(&bytes)) else {
            return Ok(());
        };
        let model = resolved.section::<PolicyConfig>("seq");
        if let (Ok(model), Ok(rl)) = (model, resolved.section::<RlConfig>("rl")) {
            let _ = rl.check_model(&model);
        }
    }
}
