//! Clients that do not belong: without a token, with a wrong one, in plaintext, of another
//! environment. Each is refused by both servers, which are real programs, and the run that goes on
//! meanwhile does not notice. The tests of each server have those that send too much, or nonsense.

mod support;

use support::secured::{TOKEN, flags, run, start};
use support::{Program, address, configs, metric, scrape, wait_for};

const SET: [&str; 5] = [
    "env.delay=2",
    "env.choices=2",
    "run.unroll_length=10",
    "rl.batch_size=16",
    "run.env_steps=1000000000",
];

/// A run behind mutual TLS and a token.
struct Run {
    folder: tempfile::TempDir,
    shared: Vec<String>,
    learner: Program,
    inference: Program,
    actor: Program,
    /// Addresses of the learner and of the inference server.
    servers: [String; 2],
    /// Metrics of the learner, the inference server and the actor.
    metrics: [String; 3],
}

impl Run {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (shared, runs) = (flags(folder.path()), folder.path().join("runs"));
        let runs = runs.display().to_string();
        let serve = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
        let mut own = experiment("main");
        own.extend(["--runs", &runs].map(String::from));
        own.extend(serve.map(String::from));
        let mut learner = start("learner", &words(&own), &shared);
        let learner_at = address(&learner.line("serving"));
        let own = [&serve[..], &["--learner", &learner_at]].concat();
        let mut inference = start("inference-server", &own, &shared);
        let inference_at = address(&inference.line("listens"));
        let servers = [learner_at, inference_at];
        let mut own = trains_at("main", &servers);
        own.extend(["--metrics", "127.0.0.1:0", "--envs", "16"].map(String::from));
        let mut actor = start("actor", &words(&own), &shared);
        let metrics = [learner.metrics(), inference.metrics(), actor.metrics()];
        Run { folder, shared, learner, inference, actor, servers, metrics }
    }

    /// All credentials but the token.
    fn without_token(&self) -> Vec<String> {
        self.shared[..self.shared.len() - 2].to_vec()
    }

    fn with_token(&self, token: &str) -> Vec<String> {
        let file = self.folder.path().join(token);
        std::fs::write(&file, token).expect("room on disk");
        let mut flags = self.without_token();
        flags.extend(["--token-file".into(), file.display().to_string()]);
        flags
    }

    /// Flags with which each server is asked whether it serves.
    fn healthchecks(&self) -> [(&'static str, [String; 3]); 2] {
        let flags = |server: &String| ["--listen".into(), server.clone(), "--healthcheck".into()];
        let [learner, inference] = self.servers.each_ref().map(flags);
        [("learner", learner), ("inference-server", inference)]
    }

    /// The run has not noticed anything, and goes on.
    fn goes_on(&self, after: &str) {
        let updates = "engram_learner_updates_total";
        let before = wait_for(&self.metrics[0], updates, |_| true);
        wait_for(&self.metrics[0], updates, |now| now >= before + 3.0);
        wait_for(&self.metrics[0], "engram_actors", |actors| actors == 1.0);
        let [learner, _, actor] = self.metrics.each_ref().map(|page| scrape(page));
        for (page, name) in [
            (&learner, "engram_stream_gaps_total"),
            (&actor, "engram_actor_interruptions_total"),
            (&actor, "engram_actor_reconnects_total"),
        ] {
            assert_eq!(metric(page, name).unwrap_or(0.0), 0.0, "{name} after {after}");
        }
    }
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The flags of an experiment, with small settings where it is the run's.
fn experiment(name: &str) -> Vec<String> {
    let mut flags = vec![name.into(), "--configs".into(), configs()];
    let set = if name == "main" { &SET[..] } else { &[] };
    flags.extend(set.iter().flat_map(|set| ["--set".into(), set.to_string()]));
    flags
}

fn trains_at(name: &str, [learner, inference]: &[String; 2]) -> Vec<String> {
    let mut flags = experiment(name);
    flags.extend(["--learner", learner, "--inference", inference].map(String::from));
    flags
}

/// Of an actor that speaks with the inference server alone.
fn plays_at(name: &str, [_, inference]: &[String; 2]) -> Vec<String> {
    let mut flags = experiment(name);
    flags.extend(["--evaluate", "4", "--inference", inference].map(String::from));
    flags
}

/// A program that ends by itself, and says why.
fn is_refused(role: &str, own: &[String], credentials: &[String], says: &[&str]) {
    let output = run(role, &words(own), credentials);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(says.iter().all(|words| said.contains(words)), "{says:?}: {said}");
}

fn refused_total(page: &str) -> f64 {
    metric(&scrape(page), "engram_connections_refused_total").unwrap_or(0.0)
}

#[test]
fn every_stranger_is_refused_by_both_servers_and_the_run_learns() {
    let mut run = Run::start();
    run.goes_on("nothing at all");
    let pages = [run.metrics[0].clone(), run.metrics[1].clone()];
    let before = pages.each_ref().map(|page| refused_total(page));

    // An actor is refused by whichever server hears it first, so each is asked by itself as well.
    let actors = [trains_at("main", &run.servers), plays_at("main", &run.servers)];
    let no_token = run.without_token();
    let wrong_token = run.with_token("another-0123456789-abcdef");
    for (credentials, says) in [
        (no_token, "asks for a token: pass --token-file"),
        (wrong_token, "the token is not this server's"),
    ] {
        for actor in &actors {
            is_refused("actor", actor, &credentials, &[says]);
        }
        for (role, own) in run.healthchecks() {
            is_refused(role, &own, &credentials, &[says]);
        }
        run.goes_on(says);
    }

    // An actor would try again and again; a check of the health says it once.
    for (role, own) in run.healthchecks() {
        is_refused(role, &own, &[], &["the server speaks TLS"]);
    }
    run.goes_on("plaintext");

    let credentials = run.shared.clone();
    for own in [trains_at("catch", &run.servers), plays_at("catch", &run.servers)] {
        is_refused("actor", &own, &credentials, &["recall(choices=2)", "catch"]);
    }
    run.goes_on("actors of another environment");

    for (page, before) in pages.iter().zip(before) {
        let refused = refused_total(page) - before;
        assert!(refused >= 3.0, "{refused}: two tokens and plaintext");
    }

    wait_for(&run.metrics[0], "engram_learner_episode_return", |mean| mean > 0.95);
    run.goes_on("everything");
    for program in [&mut run.actor, &mut run.inference, &mut run.learner] {
        program.terminate();
        assert!(program.ended().success(), "{}", program.log());
        assert!(!program.log().contains(TOKEN));
    }
}
