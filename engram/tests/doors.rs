//! The real programs behind locked doors, with the files that `engram certs` makes.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::{Program, configs, wait_for};

const TOKEN: &str = "sesame-0123456789-abcdef";

/// The folder's certificates and token, as flags of all programs.
fn flags(folder: &Path) -> Vec<String> {
    let certs = folder.join("certs");
    let made = Command::new(env!("CARGO_BIN_EXE_engram"))
        .args(["certs", "--names", "localhost,127.0.0.1", "--out"])
        .arg(&certs)
        .output()
        .expect("it starts");
    assert!(made.status.success(), "{made:?}");
    std::fs::write(certs.join("token"), format!("{TOKEN}\n")).expect("room on disk");
    [
        ("--tls-cert", "server.pem"),
        ("--tls-key", "server.key"),
        ("--tls-client-ca", "ca.pem"),
        ("--tls-ca", "ca.pem"),
        ("--tls-client-cert", "client.pem"),
        ("--tls-client-key", "client.key"),
        ("--token-file", "token"),
    ]
    .into_iter()
    .flat_map(|(flag, file)| [flag.into(), certs.join(file).display().to_string()])
    .collect()
}

fn start(role: &str, own: &[&str], shared: &[String]) -> Program {
    let args: Vec<&str> = own.iter().copied().chain(shared.iter().map(String::as_str)).collect();
    Program::start(role, &args)
}

/// Runs to the end, which is soon.
fn run(role: &str, own: &[&str], shared: &[String]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_engram")).with_file_name(format!("engram-{role}"));
    Command::new(program).args(own).args(shared).output().expect("it starts")
}

/// The address that a program says it serves at.
fn address(line: &str) -> String {
    let rest = line.split("address=").nth(1).expect("the line names an address");
    rest.split_whitespace().next().expect("an address").to_string()
}

#[test]
fn three_programs_learn_behind_mutual_tls_and_a_token_and_a_stranger_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, configs) = (flags(folder.path()), configs());
    let runs = folder.path().join("runs").display().to_string();
    let experiment = [
        "main",
        "--configs",
        &configs,
        "--set",
        "env.delay=2",
        "--set",
        "env.choices=2",
        "--set",
        "run.unroll_length=10",
    ];
    let ready = ["--metrics", "127.0.0.1:0"];
    let own = ["--runs", &runs, "--listen", "0.0.0.0:0", "--set", "run.env_steps=1000000000"];
    let mut learner = start("learner", &[&experiment, &ready[..], &own].concat(), &shared);
    let learner_metrics = learner.metrics();
    // On all addresses, and found at one of them.
    let everywhere = address(&learner.line("serving"));
    let learner_at = everywhere.replace("0.0.0.0", "127.0.0.1");
    let own = ["--listen", "127.0.0.1:0", "--learner", &learner_at];
    let mut inference = start("inference-server", &[&own, &ready[..]].concat(), &shared);
    let inference_at = address(&inference.line("listens"));
    let peers = ["--learner", &learner_at, "--inference", &inference_at];
    let _actor = start("actor", &[&experiment[..], &peers].concat(), &shared);
    wait_for(&learner_metrics, "engram_learner_updates_total", |n| n >= 3.0);

    let healthy = run("learner", &["--listen", &everywhere, "--healthcheck"], &shared);
    assert!(healthy.status.success(), "{healthy:?}");
    let healthy = run("inference-server", &["--listen", &inference_at, "--healthcheck"], &shared);
    assert!(healthy.status.success(), "{healthy:?}");

    // The same certificates, another token.
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "guess-0123456789-abcdef").expect("room on disk");
    let mut stranger = shared.clone();
    *stranger.last_mut().expect("the token is the last") = wrong.display().to_string();
    let refused = run("actor", &[&experiment[..], &peers].concat(), &stranger);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("the token is not"), "{said}");
    let refused = run("learner", &["--listen", &everywhere, "--healthcheck"], &stranger);
    assert!(!refused.status.success());
    learner.line("a call without the right token was refused");
    let refused = run("learner", &["--listen", &everywhere, "--healthcheck"], &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("the server speaks TLS"), "{said}");
    let exposed = run("inference-server", &["--listen", "0.0.0.0:0", "--learner", "l:1"], &[]);
    let said = String::from_utf8_lossy(&exposed.stderr).into_owned();
    assert!(!exposed.status.success() && said.contains("so it needs TLS"), "{said}");

    wait_for(&learner_metrics, "engram_learner_updates_total", |n| n >= 6.0);
    for log in [learner.log(), inference.log()] {
        assert!(!log.contains(TOKEN), "{log}");
    }
}
