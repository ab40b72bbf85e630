//! The real programs behind mutual TLS and a token, with the files that `engram certs` makes.

mod support;

use support::secured::{TOKEN, flags, run, start};
use support::{address, configs, wait_for};

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
