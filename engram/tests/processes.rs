//! The programs as real processes: they learn together, and survive one another.

mod support;

use std::path::Path;
use std::process::Command;

use engram_learner::storage::best_checkpoint::BestCheckpoint;
use support::{Program, address, column, configs, progress, scrape, wait_for};

/// Recall over two blank frames: small, and impossible without memory.
const SET: [&str; 7] = [
    "env.delay=2",
    "env.choices=2",
    "run.unroll_length=10",
    "run.checkpoint_seconds=1.0",
    "run.log_seconds=0.5",
    "run.queue_trajectories=64",
    "rl.batch_size=16",
];

/// Seven evaluations while training, and two sets at the end.
const EVALUATED: [&str; 5] = [
    "run.env_steps=150_000",
    "run.eval_env_steps=20_000",
    "run.eval_episodes=20",
    "run.final_eval_episodes=30",
    "run.final_eval_sets=2",
];

/// A small system on Unix sockets or TCP.
struct System {
    learner_at: String,
    inference_at: String,
    runs: String,
    env_steps: u64,
}

impl System {
    fn learner(&self) -> Program {
        let budget = format!("run.env_steps={}", self.env_steps);
        let set = [&SET[..], &[&budget]].concat();
        let run = ["--runs", &self.runs, "--run-name", "run", "--listen", &self.learner_at];
        Program::of("main", &set, "learner", &run)
    }

    /// A learner whose run is evaluated.
    fn evaluated_learner(&self) -> Program {
        let set = [&SET[..], &EVALUATED].concat();
        let run = ["--runs", &self.runs, "--run-name", "run", "--listen", &self.learner_at];
        Program::of("main", &set, "learner", &run)
    }

    fn evaluator(&self) -> Program {
        Program::start("evaluator", &["--learner", &self.learner_at])
    }

    fn inference(&self) -> Program {
        let at = ["--listen", &self.inference_at, "--learner", &self.learner_at];
        Program::start("inference-server", &[&at[..], &["--metrics", "127.0.0.1:0"]].concat())
    }

    fn actor(&self, number: u32) -> Program {
        let number = number.to_string();
        let peers = ["--learner", &self.learner_at, "--inference", &self.inference_at];
        let own = [&peers[..], &["--actor", &number, "--envs", "16"]].concat();
        Program::of("main", &SET, "actor", &own)
    }
}

fn unix(folder: &Path, env_steps: u64) -> System {
    let socket = |name: &str| format!("unix:{}", folder.join(name).display());
    System {
        learner_at: socket("learner"),
        inference_at: socket("inference"),
        runs: folder.join("runs").display().to_string(),
        env_steps,
    }
}

#[test]
fn a_learner_an_inference_server_and_four_actors_learn_over_tcp() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut system = unix(folder.path(), 150_000);
    system.learner_at = "127.0.0.1:0".into();
    system.inference_at = "127.0.0.1:0".into();
    let mut learner = system.learner();
    let learner_metrics = learner.metrics();
    system.learner_at = address(&learner.line("serving"));
    let mut inference = system.inference();
    system.inference_at = address(&inference.line("listens"));
    let inference_metrics = inference.metrics();
    let mut actors: Vec<Program> = (0..4).map(|number| system.actor(number)).collect();
    let actor_metrics = actors[0].metrics();

    wait_for(&learner_metrics, "engram_learner_updates_total", |n| n >= 50.0);
    wait_for(&learner_metrics, "engram_actors", |n| n == 4.0);
    wait_for(&learner_metrics, "engram_policy_lag_count", |n| n > 0.0);
    wait_for(&inference_metrics, "engram_inference_batch_size_count", |n| n > 50.0);
    wait_for(&inference_metrics, "engram_inference_slots", |n| n == 64.0);
    wait_for(&inference_metrics, "engram_policy_version", |version| version > 10.0);
    wait_for(&actor_metrics, "engram_env_steps_total", |n| n > 1000.0);
    let text = scrape(&learner_metrics);
    assert!(text.contains("process_resident_memory_bytes"), "{text}");

    assert!(learner.ended().success(), "{}", learner.log());
    for actor in &mut actors {
        assert!(actor.ended().success(), "{}", actor.log());
    }
    inference.terminate();
    assert!(inference.ended().success(), "{}", inference.log());
    let returns = progress(&folder.path().join("runs/run"), "episode_return");
    let last = returns.last().expect("episodes have ended");
    assert!(*last > 0.95, "the optimum is 1, chance is 0.5: {returns:?}");
}

#[test]
fn each_program_can_be_killed_and_the_run_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let system = unix(folder.path(), 1_000_000_000);
    let mut learner = system.learner();
    let mut learner_metrics = learner.metrics();
    let mut inference = system.inference();
    let mut actors: Vec<Program> = (0..2).map(|number| system.actor(number)).collect();
    let steps = "engram_learner_env_steps_total";
    wait_for(&learner_metrics, steps, |n| n > 0.0);

    // An actor: the other one goes on, and a new one takes its number at once.
    actors[0].kill();
    wait_for(&learner_metrics, "engram_actors", |n| n == 1.0);
    actors[0] = system.actor(0);
    wait_for(&learner_metrics, "engram_actors", |n| n == 2.0);

    // The inference server: its actors find the new one by themselves.
    inference.kill();
    inference = system.inference();
    let before = wait_for(&learner_metrics, steps, |_| true);
    wait_for(&learner_metrics, steps, |n| n > before + 20_000.0);

    // The learner: it resumes, and nobody else is started again.
    wait_for(&learner_metrics, "engram_checkpoint_last_success_timestamp_seconds", |n| n > 0.0);
    learner.kill();
    learner = system.learner();
    learner_metrics = learner.metrics();
    let resumed = learner.line("the run goes on");
    assert!(!resumed.contains("env_steps=0"), "{resumed}");
    wait_for(&learner_metrics, "engram_actors", |n| n == 2.0);
    wait_for(&learner_metrics, "engram_learner_updates_total", |n| n > 20.0);

    // Everybody leaves in peace when asked to.
    for program in actors.iter_mut().chain([&mut inference, &mut learner]) {
        program.terminate();
        assert!(program.ended().success(), "{}", program.log());
    }
    let env_steps = progress(&folder.path().join("runs/run"), "env_steps");
    assert!(env_steps.is_sorted(), "the curve goes back: {env_steps:?}");
}

#[test]
fn a_run_is_evaluated_whatever_happens_to_its_evaluator_and_as_in_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut system = unix(folder.path(), 0);
    system.learner_at = "127.0.0.1:0".into();
    system.inference_at = "127.0.0.1:0".into();
    let mut learner = system.evaluated_learner();
    let metrics = learner.metrics();
    system.learner_at = address(&learner.line("serving"));
    let mut evaluator = system.evaluator();
    let mut inference = system.inference();
    system.inference_at = address(&inference.line("listens"));
    let mut actors: Vec<Program> = (0..2).map(|number| system.actor(number)).collect();

    // Killed, it is not waited for; and the next one goes on.
    wait_for(&metrics, "engram_evaluations_total", |n| n >= 1.0);
    evaluator.kill();
    wait_for(&metrics, "engram_evaluators", |n| n == 0.0);
    let before = wait_for(&metrics, "engram_run_env_steps", |_| true);
    wait_for(&metrics, "engram_run_env_steps", |n| n > (before + 20_000.0).min(149_000.0));
    evaluator = system.evaluator();
    for program in actors.iter_mut().chain([&mut learner, &mut evaluator]) {
        assert!(program.ended().success(), "{}", program.log());
    }
    inference.terminate();
    assert!(inference.ended().success(), "{}", inference.log());

    let run = folder.path().join("runs/run");
    let evaluations = run.join("evaluations.csv");
    let numbers: Vec<u64> =
        column(&evaluations, "env_steps").iter().map(|at| *at as u64 / 20_000).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "one per interval: {numbers:?}");
    assert_eq!((numbers.first(), numbers.last()), (Some(&1), Some(&7)));
    let returns = column(&evaluations, "episode_return");
    let best = BestCheckpoint::read(&run.join("checkpoints")).expect("a disk").expect("a best one");
    assert_eq!(best.evaluation.score.mean_return, returns.iter().copied().fold(0.0, f64::max));
    let last = run.join("final-evaluation.csv");
    let solved = column(&last, "success");
    assert!(solved.len() >= 2 && solved.iter().all(|share| *share > 0.9), "{solved:?}");

    // The command line plays what the first set was.
    let engram = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        let output = command.args(args).output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let folder_of = run.display().to_string();
    for checkpoint in ["newest", "best"] {
        let args = ["eval", &folder_of, "--episodes", "30", "--checkpoint", checkpoint];
        let said = engram(&args);
        let mut table = csv::Reader::from_path(&last).expect("a table");
        let rows = table.records().map(|row| row.expect("a row"));
        let row = rows.into_iter().find(|row| [checkpoint, "both"].contains(&&row[3]));
        let mean: f64 = row.expect("it was evaluated")[6].parse().expect("a number");
        assert!(said.contains(&format!("return {mean:.3} ")), "{checkpoint}: {said}");
    }

    // One process leaves the same.
    let configs = configs();
    let mut args =
        vec!["train", "main", "--configs", &configs, "--runs", &system.runs, "--run-name", "one"];
    args.extend(SET.iter().chain(&EVALUATED).flat_map(|set| ["--set", set]));
    let said = engram(&args);
    assert!(said.contains("evaluated  "), "{said}");
    let one = folder.path().join("runs/one");
    assert!(BestCheckpoint::read(&one.join("checkpoints")).expect("a disk").is_some());
    for table in ["evaluations.csv", "final-evaluation.csv", "progress.csv"] {
        let header = |run: &Path| {
            let text = std::fs::read_to_string(run.join(table)).expect("a table");
            text.lines().next().map(str::to_owned)
        };
        assert_eq!(header(&one), header(&run), "{table}");
    }
}
