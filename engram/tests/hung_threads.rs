//! Real programs of which one thread hangs: they are no longer healthy within the time that is
//! stated, say which thread it was, and end with a code of their own.

#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use engram_service::heartbeat::{EXIT_CODE, GRACE};
use engram_service::{Address, NetError, health};
use support::held::HeldThread;
use support::{PATIENCE, Program, address, binary, configs, wait_for};

/// Recall over two blank frames, for ever.
const SET: [&str; 6] = [
    "env.delay=2",
    "run.unroll_length=10",
    "run.env_steps=1_000_000_000",
    "run.actors=1",
    "run.envs_per_actor=4",
    "rl.batch_size=4",
];

/// Silence after which a thread counts as hung; a busy machine runs everything else within it.
const LIMIT: Duration = Duration::from_secs(4);

const WATCHDOG: [&str; 2] = ["--watchdog", "4"];

/// Waits until a server says that it does not serve, and returns when that was.
async fn not_serving(at: &Address) -> Instant {
    let end = Instant::now() + PATIENCE;
    loop {
        match health::check(at).await {
            Err(NetError::NotServing { .. }) => return Instant::now(),
            Ok(()) => assert!(Instant::now() < end, "{at} still serves"),
            Err(error) => panic!("it ended before it said that it does not serve: {error}"),
        }
        tokio::time::sleep(LIMIT / 100).await;
    }
}

/// Says what hung, and ends.
fn ends(program: &mut Program, held: HeldThread, thread: &str) {
    held.gone();
    let status = program.ended();
    assert_eq!(status.code(), Some(EXIT_CODE), "{}", program.log());
    let said = format!("the {thread} thread has given no sign of life for {} s", LIMIT.as_secs());
    program.line(&said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_and_a_server_whose_own_thread_hangs_are_not_healthy_and_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    let own = ["--runs", &runs, "--run-name", "run", "--listen", "127.0.0.1:0"];
    let mut learner = Program::of("main", &SET, "learner", &[&own[..], &WATCHDOG].concat());
    let metrics = learner.metrics();
    let learner_at = address(&learner.line("serving"));
    let own = ["--listen", "127.0.0.1:0", "--learner", &learner_at];
    let mut server = Program::start("inference-server", &[&own[..], &WATCHDOG].concat());
    let server_at = address(&server.line("listens"));
    let peers = ["--learner", &learner_at, "--inference", &server_at, "--actor", "0"];
    let _actor = Program::of("main", &SET, "actor", &[&peers[..], &["--envs", "4"]].concat());
    wait_for(&metrics, "engram_learner_updates_total", |n| n >= 1.0);
    let [learner_at, server_at] =
        [learner_at, server_at].map(|at| at.parse::<Address>().expect("an address"));
    for at in [&learner_at, &server_at] {
        health::check(at).await.expect("all is well");
    }

    let begin = Instant::now();
    let Some(training) = HeldThread::hold(learner.id(), "learner") else { return };
    let Some(model) = HeldThread::hold(server.id(), "engram-model") else { return };
    let told = tokio::join!(not_serving(&learner_at), not_serving(&server_at));
    for (told, program) in [(told.0, "the learner"), (told.1, "the server")] {
        let after = told - begin;
        assert!(after > LIMIT / 2, "{program}, which is at work or waits, beats: {after:?}");
        assert!(after < LIMIT + GRACE, "{program} was not healthy for {after:?}");
    }
    ends(&mut learner, training, "learner");
    ends(&mut server, model, "model");
}

/// `engram train` once had nobody who watched: it stood still for ever.
#[test]
fn a_run_in_one_process_of_which_a_thread_hangs_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |run: &str| {
        let mut command = std::process::Command::new(binary("engram"));
        command.args(["train", "main", "--configs", &configs(), "--run-name", run, "--runs"]);
        command.arg(folder.path()).args(SET.iter().flat_map(|set| ["--set", set])).args(WATCHDOG);
        command.args(["--metrics", "127.0.0.1:0"]).env("RUST_LOG", "info");
        Program::spawn(run, command)
    };
    let mut runs = ["learner", "model"].map(|thread| (thread, start(thread)));
    let held = runs.each_mut().map(|(thread, run)| {
        wait_for(&run.metrics(), "engram_learner_updates_total", |n| n >= 1.0);
        let name = if *thread == "model" { "engram-model" } else { "learner" };
        HeldThread::hold(run.id(), name)
    });
    for ((thread, run), held) in runs.iter_mut().zip(held) {
        let Some(held) = held else { return };
        ends(run, held, thread);
    }
}
