//! The program `engram-actor`, as a process.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_engram-actor");

/// Starts an actor whose peers are not there, and waits until it has started.
fn start() -> (Child, impl Iterator<Item = String>) {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let mut actor = Command::new(PROGRAM)
        .args(["main", "--configs", configs, "--actor", "3"])
        .args(["--learner", "unix:/nowhere/learner", "--inference", "unix:/nowhere/inference"])
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(actor.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("starting")), "it did not start");
    (actor, lines)
}

#[test]
fn sigterm_ends_it_with_exit_code_0_even_while_its_peers_are_away() {
    let (mut actor, mut lines) = start();
    let lost = lines.find(|line| line.contains("lost the learner")).unwrap();
    assert!(lost.contains("unix:/nowhere/learner"), "{lost}");
    let pid = actor.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(actor.wait().unwrap().success());
    assert!(lines.any(|line| line.contains("left") && line.contains("Shutdown")));
}

#[test]
fn it_does_not_link_libtorch() {
    let program = std::fs::read(PROGRAM).unwrap();
    for library in ["libtorch.so", "libtorch_cpu.so", "libc10.so"] {
        let links = program.windows(library.len()).any(|bytes| bytes == library.as_bytes());
        assert!(!links, "engram-actor mentions {library}");
    }
}

#[test]
fn a_bad_setting_ends_it_with_a_message_and_exit_code_1() {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let output = Command::new(PROGRAM)
        .args(["main", "--configs", configs, "--set", "env.delai=3"])
        .args(["--learner", "127.0.0.1:1", "--inference", "127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("did you mean `env.delay`?"), "{message}");
}
