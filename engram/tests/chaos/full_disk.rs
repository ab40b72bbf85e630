//! A full disk: the run's folder is a small file system of its own, which fills and empties.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Program, address, binary, configs, wait_for};

const SET: [&str; 6] = [
    "env.delay=2",
    "run.unroll_length=10",
    "run.env_steps=1_000_000_000",
    "run.checkpoint_seconds=1.0",
    "run.log_seconds=0.5",
    "rl.batch_size=16",
];

/// A shell that sees a file system of its own at its first argument, and becomes the rest.
const SCRIPT: &str = r#"mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@""#;

fn unshared(args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT]).args(args);
    command.env("RUST_LOG", "info");
    command
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is left out says why")]
fn a_full_disk_costs_checkpoints_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    match unshared(&[&runs, "true"]).output() {
        Ok(output) if output.status.success() => {}
        refused => {
            eprintln!("left out: no file system may be mounted here: {refused:?}");
            return;
        }
    }
    let (program, configs) = (binary("engram-learner").display().to_string(), configs());
    let mut args = vec![&*runs, &program, "main", "--configs", &configs, "--runs", &runs];
    args.extend(["--run-name", "run", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    args.extend(SET.iter().flat_map(|set| ["--set", set]));
    let mut learner = Program::spawn("learner", unshared(&args));
    let metrics = learner.metrics();
    let at = address(&learner.line("serving"));
    let args = ["--listen", "127.0.0.1:0", "--learner", &at];
    let mut server = Program::start("inference-server", &args);
    let inference = address(&server.line("listens"));
    let peers = ["--learner", &at, "--inference", &inference, "--actor", "0", "--envs", "8"];
    let mut actor = Program::of("main", &SET, "actor", &peers);
    let saved = "engram_checkpoint_last_success_timestamp_seconds";
    wait_for(&metrics, saved, |n| n > 0.0);

    // The learner's own view of its folder.
    let filler: PathBuf = format!("/proc/{}/root{runs}/filler", learner.id()).into();
    let full = std::fs::write(&filler, vec![0; 32 << 20]).expect_err("the file system is small");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let failures = wait_for(&metrics, "engram_checkpoint_failures_total", |n| n > 0.0);
    let updates = wait_for(&metrics, "engram_learner_updates_total", |_| true);
    wait_for(&metrics, "engram_learner_updates_total", |n| n > updates + 20.0);
    wait_for(&metrics, "engram_checkpoint_failures_total", |n| n > failures);

    let last = wait_for(&metrics, saved, |_| true);
    std::fs::remove_file(&filler).expect("it is there");
    wait_for(&metrics, saved, |n| n > last);
    for program in [&mut actor, &mut server, &mut learner] {
        program.terminate();
        assert!(program.ended().success(), "{}", program.log());
    }
}
