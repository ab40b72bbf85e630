//! `engram reproduce` as people use it: a column of a published table, trained in processes of its
//! own and set beside what was published.

mod support;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use support::configs;

#[test]
fn a_column_is_trained_and_stands_beside_what_was_published() {
    let root = tempfile::tempdir().expect("a folder");
    let runs = root.path().join("runs");
    let reproduce = || -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        command.args(["reproduce", "popgym", "--seq", "mlp", "--worlds", "repeat-previous"]);
        command.args(["--seeds", "1,2", "--evaluate", "4", "--configs", &configs()]);
        let tiny = ["run.envs_per_actor=8", "run.unroll_length=26", "run.env_steps=2000"];
        let batches = ["rl.batch_size=8", "rl.epochs=1", "run.log_seconds=0.1"];
        for set in tiny.iter().chain(&batches) {
            command.args(["--set", set]);
        }
        command.arg("--runs").arg(&runs).output().expect("the program starts")
    };
    let said = reproduce();
    let [out, err] = [&said.stdout, &said.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(said.status.success(), "{out}{err}");
    assert!(out.contains("Morad et al. 2023"), "{out}");
    let row = out.lines().find(|line| line.starts_with("| repeat-previous |")).expect("a row");
    // The table has no score of a layer without memory, and a best one.
    assert!(row.contains("| – |") && row.contains("| 2 |") && row.contains("1.000 (GRU)"), "{row}");

    let file = runs.join("popgym-easy-mlp/results.json");
    let read = || -> Value {
        serde_json::from_str(&fs::read_to_string(&file).expect("results")).expect("JSON")
    };
    let world = &read()["worlds"][0];
    let [best, last] = ["best_epochs", "last_epochs"].map(|key| world[key].as_array().unwrap());
    assert_eq!((best.len(), last.len()), (2, 2));
    for score in best.iter().chain(last).map(|score| score.as_f64().unwrap()) {
        assert!((-1.0..0.0).contains(&score), "one in four is right by chance: {score}");
    }
    assert!(world["env_steps"][0].as_f64().unwrap() >= 2000.0);

    // What is finished is not trained again.
    let again = String::from_utf8_lossy(&reproduce().stdout).into_owned();
    assert!(again.contains("2 finished already") && again.contains("| 2 |"), "{again}");
}
