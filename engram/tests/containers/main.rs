//! The real programs in real containers, as `deploy/` describes them: on this machine's Docker
//! engine, where it has one. `cargo xtask test` brings what else they need.

#[path = "../support/mod.rs"]
mod support;

mod engine;

mod project;

use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use engine::{engine_or_skip, output};
use project::{Project, ROLES, RUN, SETTINGS};

/// One run at a time: each has as many processes as this machine may have cores.
static ENGINE: Mutex<()> = Mutex::new(());

const STEPS: &str = "sum(engram_learner_env_steps_total)";
const ACTORS: &str = "count(up{job='engram-actor'} == 1)";
const SERVERS: &str = "count(up{job='engram-inference-server'} == 1)";
const EVALUATIONS: &str = "max(engram_evaluations_total)";
const SUCCESS: &str = "max(engram_learner_episode_success)";
const CHECKPOINT: &str = "max(engram_checkpoint_last_success_timestamp_seconds)";

#[test]
fn a_run_in_containers_scales_survives_crashes_learns_and_leaves_in_peace() {
    let Some(engine) = engine_or_skip("a run in containers") else { return };
    let _alone = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let files = ["compose.yaml", "compose.override.yaml"];
    let mut project = Project::new(&engine, "insecure", &files);
    project.run(&[&["--profile", "*", "build"], &ROLES[..]].concat());

    for role in ROLES {
        let format = "--format={{.Config.User}} \
                      {{index .Config.Labels \"org.opencontainers.image.version\"}}";
        let said = engine.run(&["image", "inspect", format, &project.image(role)]);
        assert_eq!(said.trim(), format!("10001:10001 {}", env!("CARGO_PKG_VERSION")), "{role}");
    }

    // Any number of actors at any time, up and down, and of inference servers.
    project.up(&["actor=1"]);
    project.wait(ACTORS, |n| n == 1.0);
    project.wait("sum(engram_env_steps_total)", |n| n > 0.0);
    project.up(&["actor=4", "inference-server=2"]);
    project.wait(ACTORS, |n| n == 4.0);
    project.wait(SERVERS, |n| n == 2.0);
    project.wait("max(engram_actors)", |n| n == 4.0);
    project.up(&["actor=2"]);
    project.wait("max(engram_actors)", |n| n == 2.0);
    project.wait(ACTORS, |n| n == 2.0);

    // One of each kind crashes: it comes back, and the run goes on.
    project.crash("actor");
    project.wait("max(engram_actors)", |n| n == 2.0);
    project.crash("inference-server");
    let steps = project.wait(STEPS, |n| n > 0.0);
    project.wait(STEPS, |n| n > steps + 20_000.0);
    let (steps, now) = (project.wait(STEPS, |_| true), project.wait("vector(time())", |_| true));
    project.wait(CHECKPOINT, |time| time > now);
    project.crash("learner");
    let resumed = project.line("learner", "the run goes on");
    assert!(number(&resumed, "env_steps") >= steps, "{steps} were saved: {resumed}");
    project.wait("max(engram_actors)", |n| n == 2.0);
    project.wait(EVALUATIONS, |n| n >= 1.0);
    let registered = "registered with the learner";
    let before = project.count("evaluator", registered);
    project.crash("evaluator");
    // A program that is told to leave before it listens to signals ends by the signal.
    project.lines("evaluator", registered, before + 1);
    project.wait(EVALUATIONS, |n| n >= 2.0);

    // It learns, whatever happened, and others can see how well.
    project.wait(SUCCESS, |success| success > 0.95);
    let evaluated = project.run(&["run", "--rm", "--no-TTY", "eval"]);
    let line = evaluated.lines().find(|line| line.contains("evaluated")).expect("a verdict");
    assert!(number(line, "mean_return") > 0.9, "{line}");

    // Asked to leave, all do, the learner with a last checkpoint.
    project.run(&["stop"]);
    let exits = project.exits();
    assert!(exits.len() >= 5 && exits.iter().all(|exit| exit.ends_with(" exited 0")), "{exits:?}");
    let left = project.line("learner", "the learner leaves");
    let evaluations = finish(&mut project);
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("run");
    project.run(&["cp", &format!("learner:/runs/{RUN}"), &to.display().to_string()]);
    let checkpoint = format!("checkpoints/{:012}/state.json", number(&left, "updates"));
    assert!(to.join(&checkpoint).is_file(), "no {checkpoint}: {left}");
    let env_steps = support::progress(&to, "env_steps");
    assert!(env_steps.is_sorted(), "the curve goes back: {env_steps:?}");
    let evaluated = support::column(&to.join("evaluations.csv"), "env_steps");
    assert!(evaluated.len() >= 2 && evaluated.is_sorted(), "{evaluated:?}");
    assert!(to.join("checkpoints/best/weights.safetensors").is_file());
    let last = support::column(&to.join("final-evaluation.csv"), "success");
    assert!(last.len() == evaluations && last.iter().all(|share| *share > 0.9), "{last:?}");
    let run = format!("/runs/{RUN}");
    let scored =
        project.run(&["run", "--rm", "--no-TTY", "tools", "eval", &run, "--episodes", "50"]);
    assert!(scored.contains("50 greedy episodes: return 1.000"), "{scored}");

    project.run(&["--profile", "*", "down", "--volumes"]);
    assert_eq!(project.remains(), "");
}

#[test]
fn a_secured_run_in_containers_learns_and_refuses_strangers() {
    let Some(engine) = engine_or_skip("secured containers") else { return };
    let _alone = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let files = [
        "compose.yaml",
        "compose.override.yaml",
        "compose.secure.yaml",
        "compose.secure.override.yaml",
    ];
    let mut project = Project::new(&engine, "secure", &files);
    // Made by the engine, as in a new checkout.
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    project.set("ENGRAM_CERTS", &certs);
    project.run(&[&["--profile", "*", "build", "certs"], &ROLES[..4]].concat());
    project.run(&["run", "--rm", "--no-TTY", "certs"]);
    let made = project.run(&["run", "--rm", "--no-TTY", "--entrypoint", "ls", "certs", "/certs"]);
    assert_eq!(made.matches(".pem").count() + made.matches(".key").count(), 7, "{made}");

    project.up(&["actor=2"]);
    project.wait(ACTORS, |n| n == 2.0);
    project.wait("count(up == 1)", |n| n == 5.0);
    project.wait("max(engram_evaluators)", |n| n == 1.0);
    project.wait("max(engram_actors)", |n| n == 2.0);

    // Without keys; and with the right certificate, but another token.
    let network = format!("--network={}_default", project.name);
    let stranger = |options: &[&str]| {
        let mut args = vec!["run", "--rm", &network, "--entrypoint=engram-learner"];
        args.extend(options);
        let image = project.image("learner");
        args.extend([&image, "--listen=learner:7001", "--healthcheck"]);
        engine.ask(&args).expect_err("a stranger stays outside")
    };
    let said = stranger(&[]);
    assert!(said.contains("the server speaks TLS"), "{said}");
    let said = stranger(&[
        &format!("--volume={}:/keys:ro", certs.display()),
        "--env=ENGRAM_TLS_CA=/keys/ca.pem",
        "--env=ENGRAM_TLS_CLIENT_CERT=/keys/client.pem",
        "--env=ENGRAM_TLS_CLIENT_KEY=/keys/client.key",
        "--env=ENGRAM_TOKEN=guess-0123456789-abcdef",
    ]);
    assert!(said.contains("token"), "{said}");
    project.wait("sum(engram_connections_refused_total{reason='token'})", |n| n >= 1.0);

    project.wait(SUCCESS, |success| success > 0.95);
    let evaluated = project.run(&["run", "--rm", "--no-TTY", "eval"]);
    let line = evaluated.lines().find(|line| line.contains("evaluated")).expect("a verdict");
    assert!(number(line, "mean_return") > 0.9, "{line}");
    project.run(&["stop"]);
    let exits = project.exits();
    assert!(exits.iter().all(|exit| exit.ends_with(" exited 0")), "{exits:?}");
}

#[test]
fn swarm_takes_the_same_files_as_compose() {
    let Some(engine) = engine_or_skip("the files of a Swarm") else { return };
    if engine.ask(&["stack", "config", "--help"]).is_err() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED the files of a Swarm: this client is too old");
        return;
    }
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let stack = |files: &[&str]| {
        let mut command = engine.docker();
        command.current_dir(&deploy).args(["stack", "config"]);
        command.args(files.iter().flat_map(|file| ["-c", file]));
        output(&mut command).unwrap_or_else(|why| panic!("{files:?}: {why}"))
    };
    let insecure = stack(&["compose.yaml"]);
    let own = format!("image: engram/actor:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(insecure.contains(&own), "{insecure}");
    assert!(
        insecure.contains("replicas: 2") && insecure.contains("ENGRAM_INSECURE: \"true\""),
        "{insecure}"
    );
    let secure = stack(&["compose.yaml", "compose.secure.yaml"]);
    assert!(!secure.contains("ENGRAM_INSECURE: \"true\""), "{secure}");
    assert!(secure.contains("prometheus.secure.yml") && secure.contains("certs/token"), "{secure}");
}

#[test]
fn every_profile_has_its_images_and_gpus_are_asked_for_where_they_are_used() {
    let Some(engine) = engine_or_skip("profiles of compose") else { return };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let config = |profiles: &str, args: &[&str]| {
        let mut command = engine.docker();
        command.current_dir(&deploy).args(["compose", "config"]).args(args);
        command.env("COMPOSE_PROFILES", profiles).stderr(Stdio::null());
        output(&mut command).unwrap_or_else(|why| panic!("{profiles}: {why}"))
    };
    let version = env!("CARGO_PKG_VERSION");
    let images = |profiles| config(profiles, &["--images"]);
    let cuda = format!("engram/learner:{version}-cuda");
    assert!(images("cpu").contains(&format!("engram/learner:{version}\n")));
    assert!(images("gpu").contains(&cuda) && !images("cpu").contains("cuda"));
    assert!(images("cpu,monitoring").contains("grafana"));
    let all: serde_json::Value =
        serde_json::from_str(&config("gpu,monitoring", &["--format=json"])).expect("JSON");
    let learner = &all["services"]["learner-gpu"];
    let device = &learner["deploy"]["resources"]["reservations"]["devices"][0];
    assert_eq!(device["capabilities"][0], "gpu", "{learner}");
    assert_eq!(learner["networks"]["default"]["aliases"][0], "learner", "{learner}");
    assert_eq!(learner["build"]["args"]["DEVICE"], "cuda", "{learner}");
    // Nothing is reachable from other machines, and the two pages from this one.
    let services = all["services"].as_object().expect("services");
    for (name, service) in services {
        let ports = service["ports"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(ports.iter().all(|port| port["host_ip"] == "127.0.0.1"), "{name}: {ports:?}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
    }
}

/// Ends a stopped run where it is, with a final evaluation, for which learner and evaluator are
/// enough. Returns the number of its scores.
fn finish(project: &mut Project<'_>) -> usize {
    let end = ";run.env_steps=1000;run.final_eval_episodes=25;run.final_eval_sets=2";
    project.set("ENGRAM_SET", format!("{SETTINGS}{end}").as_ref());
    project.run(&["up", "--detach", "learner", "evaluator"]);
    project.line("learner", "the learner leaves");
    let log = project.log("learner");
    assert!(log.contains("ended=Finished"), "{log}");
    log.lines().filter(|line| line.contains("evaluated: 25 episodes")).count()
}

/// The number behind `name=` in a line of a log.
fn number(line: &str, name: &str) -> f64 {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let text = found.unwrap_or_else(|| panic!("no {name} in: {line}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}
