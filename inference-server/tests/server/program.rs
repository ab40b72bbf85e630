//! The program: its flags, its health, its signals.

use std::process::{Command, Output, Stdio};

use engram_service::net::Address;

use crate::support::*;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram-inference-server"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn failed(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = program(arguments).output().expect("it starts");
    assert!(!status.success());
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_serves_a_file_tells_its_health_and_ends_well_when_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name| folder.path().join(name).display().to_string();
    std::fs::write(path("weights"), weights(1, 12)).expect("room on disk");
    let listen = format!("unix:{}", path("socket"));
    let address: Address = listen.parse().expect("an address");
    let unhealthy = failed(&["--listen", &listen, "--healthcheck"]);
    assert!(unhealthy.contains("cannot reach the server"), "{unhealthy}");

    let mut server = program(&["--listen", &listen, "--weights", &path("weights"), "--run", "run"])
        .spawn()
        .expect("it starts");
    while engram_service::health::check(&address).await.is_err() {
        assert_eq!(server.try_wait().expect("a child"), None, "it serves");
    }
    let healthy = program(&["--listen", &listen, "--healthcheck"]).status().expect("it starts");
    assert!(healthy.success());
    let mut stream = Client::register(&address, &registration(0, 0..2)).await.expect("registered");
    let act = stream.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    assert_eq!(act.policy_version, 12);

    let number = server.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &number]).status().expect("kill").success());
    let status = stream.answer().await.expect_err("the server ends");
    assert!(status.message().contains("shutting down"), "{status}");
    assert!(server.wait().expect("a child").success());
}
