//! A disk that stands still in the middle of a checkpoint, of a real learner: it trains on, and leaves
//! out the checkpoints that fall due, instead of keeping them in memory.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::held::HeldThread;
use support::{PATIENCE, Program, address, memory, metric, scrape, wait_for};

/// Few and wide streams, whose sensitivities make a large checkpoint of a small network.
const SET: [&str; 9] = [
    "env.delay=2",
    "run.env_steps=1_000_000_000",
    "run.checkpoint_seconds=1.0",
    "run.checkpoints_kept=1",
    "run.envs_per_actor=16",
    "run.queue_trajectories=16",
    "rl.batch_size=16",
    "seq.torso.hidden=[256]",
    "seq.memory.hidden=512",
];

/// Checkpoints that fall due while the disk stands still.
const LEFT_OUT: usize = 3;

/// Waits until something is there.
fn wait<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(there) = there() {
            return there;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Bytes of the newest checkpoint.
fn bytes_of_newest(checkpoints: &Path) -> Option<u64> {
    let whole = |path: &Path| path.file_name()?.to_str()?.parse::<u64>().ok();
    let folders = fs::read_dir(checkpoints).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = folders.filter(|path| whole(path).is_some()).max()?;
    let files = fs::read_dir(newest).ok()?;
    files.map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

/// True while a checkpoint is being written.
fn is_writing(checkpoints: &Path) -> Option<bool> {
    let names = fs::read_dir(checkpoints).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
    Some(names.into_iter().any(|name| name.to_string_lossy().starts_with(".new")))
}

#[test]
fn a_learner_whose_disk_stands_still_trains_on_and_keeps_one_checkpoint_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    let checkpoints = folder.path().join("run/checkpoints");
    let own = ["--runs", &runs, "--run-name", "run", "--listen", "127.0.0.1:0"];
    let mut learner = Program::of("main", &SET, "learner", &own);
    let metrics = learner.metrics();
    let learner_at = address(&learner.line("serving"));
    let own = ["--listen", "127.0.0.1:0", "--learner", &learner_at];
    let mut server = Program::start("inference-server", &own);
    let server_at = address(&server.line("listens"));
    let peers = ["--learner", &learner_at, "--inference", &server_at, "--actor", "0"];
    let _actor = Program::of("main", &SET, "actor", &[&peers[..], &["--envs", "16"]].concat());
    // Some checkpoints with all that streams carry, so that memory is as large as it is without a fault.
    let written = |text: &str| metric(text, "engram_checkpoint_seconds_count");
    wait_for(&metrics, "engram_checkpoint_seconds_count", |n| n >= 2.0);
    let bytes = bytes_of_newest(&checkpoints).expect("a checkpoint");
    assert!(bytes > 20 << 20, "{bytes} bytes could be overlooked");

    wait("no checkpoint is written", || is_writing(&checkpoints)?.then_some(()));
    let Some(held) = HeldThread::hold(learner.id(), "checkpoint") else { return };
    let (before, at) = (memory(learner.id(), "VmHWM"), written(&scrape(&metrics)));
    let left_out = |learner: &mut Program| learner.log().matches("one is left out").count();
    let from = left_out(&mut learner);
    wait("checkpoints fall due", || (left_out(&mut learner) >= from + LEFT_OUT).then_some(()));
    let updates = wait_for(&metrics, "engram_learner_updates_total", |_| true);
    wait_for(&metrics, "engram_learner_updates_total", |n| n >= updates + 20.0);
    let grown = memory(learner.id(), "VmHWM") - before;
    assert!(grown < bytes, "{grown} bytes more, and a checkpoint has {bytes}");
    assert_eq!(written(&scrape(&metrics)), at, "the disk stood still");

    drop(held);
    wait_for(&metrics, "engram_checkpoint_seconds_count", |n| Some(n) > at);
    learner.terminate();
    assert!(learner.ended().success(), "{}", learner.log());
}
