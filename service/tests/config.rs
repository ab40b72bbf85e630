//! Experiments on disk: what they resolve to, and what is said when they are wrong.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use engram_service::config::{self, ConfigError, ExperimentSelection, Resolved};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Rl {
    algorithm: String,
    learning_rate: f64,
    entropy_cost: f64,
}

const RUN: &str = "seed = 1\nenv_steps = 1000000\nactors = 2\nenvs_per_actor = 32\n\
    stagger_steps = 0\nunroll_length = 20\nmax_batch_size = 64\nmax_wait_ms = 1.0\nqueue_trajectories = 64\n\
    policy_lag = 1\nmax_policy_lag = 100\ncheckpoint_seconds = 60.0\ncheckpoints_kept = 3\nlog_seconds = 2.0\n\
    eval_episodes = 100\n    eval_env_steps = 0\n    final_eval_episodes = 0\n\
    final_eval_sets = 1\n";

/// `configs/` with two environments, one algorithm, two models and one experiment.
fn configs() -> TempDir {
    let directory = TempDir::new().unwrap();
    for (path, text) in [
        ("env/recall.toml", "kind = \"recall\"\ndelay = 30\nchoices = 4\n"),
        ("env/catch.toml", "kind = \"catch\"\nrows = 10\n"),
        ("rl/vtrace.toml", "algorithm = \"vtrace\"\nlearning_rate = 1e-3\nentropy_cost = 0\n"),
        ("seq/lstm.toml", "torso = [64]\n\n[memory]\nkind = \"lstm\"\nhidden_size = 128\n"),
        ("seq/gru.toml", "torso = [64]\n\n[memory]\nkind = \"gru\"\nhidden_size = 128\n"),
        ("seq/none.toml", "torso = [64]\n\n[memory]\nkind = \"none\"\n"),
        (
            "experiments/recall.toml",
            &format!(
                "# Remember the cue.\nenv = \"recall\"\nrl = \"vtrace\"\nseq = \"lstm\"\n\n\
                 [run]\n{RUN}\n[overrides]\n\"env.delay\" = 20\nseq.memory.hidden_size = 96\n"
            ),
        ),
    ] {
        write(directory.path(), path, text);
    }
    directory
}

fn write(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn select(configs: &TempDir, set: &[&str]) -> ExperimentSelection {
    ExperimentSelection {
        experiment: "recall".into(),
        env: None,
        rl: None,
        seq: None,
        set: set.iter().map(ToString::to_string).collect(),
        configs: configs.path().into(),
    }
}

fn refuse(selection: &ExperimentSelection) -> String {
    config::resolve(selection).unwrap_err().to_string()
}

#[test]
fn later_words_win_part_then_experiment_then_command_line() {
    let configs = configs();
    let resolved =
        config::resolve(&select(&configs, &["rl.learning_rate=3e-4", "run.seed=7"])).unwrap();
    assert_eq!(resolved.experiment(), "recall");
    assert_eq!(resolved.table("env")["choices"], 4.into());
    assert_eq!(resolved.table("env")["delay"], 20.into());
    assert_eq!(resolved.table("seq")["memory"]["hidden_size"], 96.into());
    assert_eq!(resolved.run().unwrap().seed, 7);
    let rl: Rl = resolved.section("rl").unwrap();
    let wanted = Rl { algorithm: "vtrace".into(), learning_rate: 3e-4, entropy_cost: 0.0 };
    assert_eq!(rl, wanted);
    let last = config::resolve(&select(&configs, &["env.delay=5", "env.delay=6"])).unwrap();
    assert_eq!(last.table("env")["delay"], 6.into());
}

#[test]
fn an_id_of_gymnasium_is_an_environment_without_a_file() {
    let configs = configs();
    let selection = |id: &str, set: &[&str]| ExperimentSelection {
        env: Some(id.into()),
        ..select(&configs, set)
    };
    let set = ["env.kwargs={ gravity = 5.0 }", "env.observe=[0, 2]"];
    let resolved = config::resolve(&selection("gym:ALE/Pong-v5", &set)).unwrap();
    let env = resolved.table("env");
    assert_eq!((&env["name"], &env["id"]), (&"gym".into(), &"ALE/Pong-v5".into()));
    assert_eq!(env["kwargs"]["gravity"], 5.0.into());
    assert_eq!(env["observe"], vec![0, 2].into());
    assert_eq!(resolved.parts().env, "gym-ALE/Pong-v5");
    let again = config::Resolved::from_toml(&resolved.to_toml()).unwrap();
    assert_eq!(again.table("env"), env);
    let refused = refuse(&selection("gym:ALE/Pong-v5", &["env.delay=1"]));
    assert!(refused.contains("unknown key `env.delay`"), "{refused}");
    let refused = refuse(&select(&configs, &["env.observe=[0, 2]"]));
    assert!(refused.contains("unknown key `env.observe`"), "only Gymnasium's: {refused}");
}

#[test]
fn a_replaced_part_comes_without_the_overrides_of_the_other() {
    let configs = configs();
    let selection = ExperimentSelection { seq: Some("none".into()), ..select(&configs, &[]) };
    let resolved = config::resolve(&selection).unwrap();
    assert_eq!(resolved.parts().seq, "none");
    assert_eq!(resolved.table("env")["delay"], 20.into());
    assert!(resolved.table("seq")["memory"].get("hidden_size").is_none());
}

/// A sweep over sequence models once compared one that saw observations alone, as the experiment
/// said, with others that saw more: overrides of a replaced part were dropped in silence.
#[test]
fn overrides_of_a_replaced_part_are_named_with_their_values() {
    let configs = configs();
    let left_out = |seq: Option<&str>, set: &[&str]| {
        let seq = seq.map(Into::into);
        config::resolve(&ExperimentSelection { seq, ..select(&configs, set) }).unwrap().left_out()
    };
    let begin = "overrides of `recall` are left out, because their part was replaced: \
                 seq.memory.hidden_size=96 (";
    let warning = left_out(Some("gru"), &[]).unwrap();
    assert_eq!(warning, format!("{begin}pass them by --set to keep them)"));
    let warning = left_out(Some("none"), &[]).unwrap();
    assert_eq!(warning, format!("{begin}the new part has no such key)"));
    assert_eq!(left_out(Some("gru"), &["seq.memory.hidden_size=96"]), None, "it was said again");
    assert_eq!(left_out(Some("lstm"), &[]), None, "the same part again");
    assert_eq!(left_out(None, &[]), None);
}

#[test]
fn a_part_is_read_by_itself_with_what_is_set_in_it() {
    let configs = configs();
    let part = |name: &str, set: &str| {
        config::part::<Rl>(configs.path(), "rl", name, &[set.to_string()])
            .map_err(|error| error.to_string())
    };
    let (name, rl) = part("vtrace", "rl.learning_rate=3e-4").unwrap();
    assert_eq!((name.as_str(), rl.learning_rate), ("vtrace", 3e-4));
    assert!(part("vtrac", "rl.learning_rate=1").unwrap_err().contains("did you mean `vtrace`?"));
    assert!(part("vtrace", "rl.learning_rat=1").unwrap_err().contains("learning_rate"));
    assert!(part("vtrace", "env.delay=1").unwrap_err().contains("unknown key `env.delay`"));
    assert!(part("vtrace", "rl=1").unwrap_err().contains("expected a table"));
}

#[test]
fn a_resolved_configuration_is_a_file_that_resolves_to_itself() {
    let configs = configs();
    let resolved = config::resolve(&select(&configs, &["run.actors=3"])).unwrap();
    assert_eq!(Resolved::from_toml(&resolved.to_toml()).unwrap(), resolved);

    let run = TempDir::new().unwrap();
    write(run.path(), "config.toml", &resolved.to_toml());
    let again = ExperimentSelection {
        experiment: run.path().join("config.toml").display().to_string(),
        configs: "/nowhere".into(),
        ..select(&configs, &[])
    };
    assert_eq!(config::resolve(&again).unwrap(), resolved);

    let changed = ExperimentSelection {
        env: Some("catch".into()),
        configs: configs.path().into(),
        set: vec!["env.rows=5".into()],
        ..again
    };
    let changed = config::resolve(&changed).unwrap();
    assert_eq!(changed.table("env")["rows"], 5.into());
    assert_eq!(changed.table("seq"), resolved.table("seq"));
    assert_eq!(changed.parts().env, "catch");
}

#[test]
fn the_printed_configuration_keeps_the_order_of_its_parts() {
    let printed = config::resolve(&select(&configs(), &[])).unwrap().to_toml();
    let at = |text: &str| printed.find(text).unwrap_or_else(|| panic!("{text} in\n{printed}"));
    assert!(at("[run]") < at("[env]") && at("[env]") < at("[rl]") && at("[rl]") < at("[seq]"));
    assert!(at("algorithm") < at("learning_rate") && at("learning_rate") < at("entropy_cost"));
}

#[test]
fn an_unknown_name_lists_the_nearest_and_all_known() {
    let configs = configs();
    let experiment = ExperimentSelection { experiment: "recal".into(), ..select(&configs, &[]) };
    let error = refuse(&experiment);
    assert!(error.contains("no experiment is called `recal`"), "{error}");
    assert!(error.contains("did you mean `recall`?"), "{error}");
    let seq = ExperimentSelection { seq: Some("ltsm".into()), ..select(&configs, &[]) };
    let error = refuse(&seq);
    assert!(error.contains("no seq is called `ltsm`"), "{error}");
    assert!(error.ends_with("did you mean `lstm`? Known: gru, lstm, none"), "{error}");
}

#[test]
fn a_file_in_a_folder_has_the_folders_name_in_front() {
    let configs = configs();
    let read = |path: &str| std::fs::read_to_string(configs.path().join(path)).unwrap();
    write(configs.path(), "seq/theirs/lstm.toml", &read("seq/lstm.toml"));
    let experiment = read("experiments/recall.toml").replace("\"lstm\"", "\"theirs/lstm\"");
    write(configs.path(), "experiments/theirs/recall.toml", &experiment);
    assert_eq!(
        config::names(configs.path(), "seq").unwrap(),
        ["gru", "lstm", "none", "theirs/lstm"]
    );
    assert_eq!(config::names(configs.path(), "experiments").unwrap(), ["recall", "theirs/recall"]);

    let mut selection = select(&configs, &[]);
    selection.experiment = "theirs/recall".into();
    let resolved = config::resolve(&selection).unwrap();
    assert_eq!(resolved.experiment(), "theirs/recall");
    assert_eq!(resolved.file_name(), "theirs-recall");
    assert_eq!(resolved.parts().seq, "theirs/lstm");
    selection.experiment = "theirs/recal".into();
    assert!(refuse(&selection).contains("did you mean `theirs/recall`?"));
}

#[test]
fn an_unknown_key_names_the_nearest_wherever_it_stands() {
    let configs = configs();
    let flag = refuse(&select(&configs, &["rl.lerning_rate=1"]));
    assert!(flag.contains("in --set; did you mean `rl.learning_rate`?"), "{flag}");

    let file = "experiments/recall.toml";
    let good = std::fs::read_to_string(configs.path().join(file)).unwrap();
    let with = |from: &str, to: &str| {
        write(configs.path(), file, &good.replace(from, to));
        refuse(&select(&configs, &[]))
    };
    let error = with("env.delay", "env.dealy");
    assert!(error.contains("`env.dealy` in [overrides] of"), "{error}");
    assert!(error.contains("did you mean `env.delay`?"), "{error}");
    let error = with("[overrides]", "[override]");
    assert!(error.contains("`override`") && error.contains("mean `overrides`?"), "{error}");
    let error = with("max_wait_ms", "max_wait");
    assert!(error.contains("`run.max_wait` in [run]; did you mean `max_wait_ms`?"), "{error}");
    let error = with("log_seconds = 2.0\n", "");
    assert!(error.contains("`run.log_seconds` is missing in [run]"), "{error}");
    let error = with("rl = \"vtrace\"\n", "");
    assert!(error.contains("`rl` is missing in"), "{error}");
}

#[test]
fn a_bad_value_names_its_key_and_what_would_be_right() {
    let configs = configs();
    let error = refuse(&select(&configs, &["run.actors=many"]));
    assert_eq!(error, "`run.actors` is \"many\"; expected a whole number, as in 2");
    let error = refuse(&select(&configs, &["run.actors=-1"]));
    assert_eq!(error, "`run.actors` is integer `-1`; expected a whole number, zero or more");
    let error = refuse(&select(&configs, &["run.actors=0"]));
    assert!(error.starts_with("`run.actors` is 0; it must be 1 to 4096"), "{error}");
    let error = refuse(&select(&configs, &["run.actors"]));
    assert!(error.contains("write section.key=value"), "{error}");
}

#[test]
fn broken_toml_names_file_and_line() {
    let configs = configs();
    write(configs.path(), "rl/vtrace.toml", "algorithm = \"vtrace\"\nlearning_rate = = 1\n");
    let error = refuse(&select(&configs, &[]));
    assert!(error.contains("rl/vtrace.toml:2:17: "), "{error}");
}

#[test]
fn a_missing_directory_says_how_to_name_it() {
    let selection = ExperimentSelection { configs: "/nowhere".into(), ..select(&configs(), &[]) };
    let error = config::resolve(&selection).unwrap_err();
    assert!(matches!(error, ConfigError::Directory { .. }));
    assert!(error.to_string().contains("--configs or ENGRAM_CONFIGS"), "{error}");
}
