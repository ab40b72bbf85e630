//! Actions of evaluations, as the whole program plays them.

use std::process::{Command, Stdio};

mod support;

/// Final evaluation of `engram train` on a bandit that it has not learned: the kind of its episodes,
/// and the standard deviation of their returns.
fn evaluated(settings: &[&str]) -> (String, f64) {
    let runs = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
    command.args(["train", "main", "--env", "bandit", "--seq", "feedforward", "--evaluate", "64"]);
    command.args(["--configs", &support::configs()]).arg("--runs").arg(runs.path());
    let tiny = ["run.env_steps=64", "run.unroll_length=2", "run.stagger_steps=0"];
    for setting in tiny.iter().chain(&["rl.learning_rate=1e-9"]).chain(settings) {
        command.args(["--set", setting]);
    }
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let (out, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = out.lines().find_map(|line| line.strip_prefix("evaluated  64 "));
    let line = line.unwrap_or_else(|| panic!("no score in: {out}{log}"));
    let (kind, score) = line.split_once(": return ").expect("a score");
    let deviation = score.split(' ').nth(2).and_then(|number| number.parse().ok());
    (kind.to_owned(), deviation.unwrap_or_else(|| panic!("no deviation in: {score}")))
}

#[test]
fn they_are_greedy_unless_the_run_draws_them() {
    assert_eq!(evaluated(&[]), ("greedy episodes".into(), 0.0));
    let (kind, deviation) = evaluated(&["run.eval_actions=drawn"]);
    assert_eq!(kind, "episodes of drawn actions");
    assert!(deviation > 0.1, "{deviation}");
}
