//! `engram sweep` as people use it: real runs in processes of their own, some of which fail, on
//! machines that a script pretends to be.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{PATIENCE, configs};

/// A sweep of two delays and two seeds of a tiny recall.
struct Sweep {
    root: tempfile::TempDir,
}

impl Sweep {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let file = "experiment = \"main\"\nseeds = [1, 2]\nevaluate = 8\n\
            [overrides]\n\"env.choices\" = 2\n\"run.actors\" = 1\n\"run.envs_per_actor\" = 8\n\
            \"run.max_batch_size\" = 8\n\"run.stagger_steps\" = 0\n\"run.unroll_length\" = 5\n\
            \"run.env_steps\" = 20_000\n\"run.log_seconds\" = 0.1\n\"rl.batch_size\" = 8\n\
            [[vary]]\n\"env.delay\" = [1, 2]\n";
        fs::write(root.path().join("tiny.toml"), file).expect("a file");
        Sweep { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn run_folder(&self, run: &str) -> PathBuf {
        self.path("runs/tiny").join(run)
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        let file = self.path("tiny.toml");
        command.arg("sweep").arg(file).args(["--configs", &configs()]);
        command.arg("--runs").arg(self.path("runs")).args(flags);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().expect("the program starts")
    }

    /// Number of starts of a run.
    fn starts(&self, run: &str) -> usize {
        let meta = fs::read_to_string(self.run_folder(run).join("meta.json"));
        meta.map_or(0, |text| text.matches("unix_seconds").count())
    }

    /// A script in the place of ssh, which notes what it is asked for; the machine `down` is not
    /// reached.
    fn fake_ssh(&self) -> String {
        let script = self.path("ssh");
        let log = self.path("ssh.log");
        let text = format!(
            "#!/bin/sh\necho \"$1\" >> {}\n[ \"$1\" = down ] && exit 255\nexec sh -c \"$2\"\n",
            log.display()
        );
        fs::write(&script, text).expect("a file");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it can be run");
        format!("{} {{host}}", script.display())
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn terminate(child: &Child) {
    let status = Command::new("kill").arg(child.id().to_string()).status();
    assert!(status.expect("kill is installed").success());
}

/// Waits for something, at most as long as a slow machine may take.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

const RUNS: [&str; 4] = ["delay-1-seed1", "delay-1-seed2", "delay-2-seed1", "delay-2-seed2"];

#[test]
fn a_failing_run_stops_no_other_and_is_tried_again_while_finished_ones_stay() {
    let sweep = Sweep::new();
    // Where a file is, no run's folder can be made.
    fs::create_dir_all(sweep.path("runs/tiny")).unwrap();
    fs::write(sweep.run_folder(RUNS[1]), "in the way").unwrap();
    let output = sweep.run(&["--jobs", "2"]);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("1 of 4 runs failed"), "{said}");
    let log = sweep.path("runs/tiny/delay-1-seed2.log");
    assert!(said.contains("failed     delay-1-seed2: ") && said.contains("cannot write"), "{said}");
    assert!(said.contains(&format!("log {}", log.display())) && log.exists(), "{said}");
    assert_eq!(RUNS.map(|run| sweep.starts(run)), [1, 0, 1, 1], "{said}");
    assert!(said.contains("| length |"), "what is finished is drawn: {said}");

    fs::remove_file(sweep.run_folder(RUNS[1])).unwrap();
    let output = sweep.run(&[]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("3 finished already"), "{said}");
    assert_eq!(RUNS.map(|run| sweep.starts(run)), [1; 4], "finished runs are not started again");
    for name in ["learning-curves.png", "aggregate.svg", "table.csv", "table.md"] {
        assert!(sweep.path("runs/tiny/plots").join(name).exists(), "{name}");
    }
    let table = fs::read_to_string(sweep.path("runs/tiny/plots/table.csv")).unwrap();
    assert_eq!(table.lines().count(), 3, "two delays: {table}");
}

#[test]
fn runs_go_to_machines_that_can_be_reached() {
    let sweep = Sweep::new();
    let ssh = sweep.fake_ssh();
    let copied = sweep.path("copied");
    let fetch = format!("touch {}-{{host}}", copied.display());
    let output = sweep.run(&["--on", "down,up", "--ssh", &ssh, "--fetch", &fetch]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("down cannot be reached"), "{said}");
    let asked = fs::read_to_string(sweep.path("ssh.log")).unwrap();
    let count = |host: &str| asked.lines().filter(|line| *line == host).count();
    assert_eq!((count("down"), count("up")), (1, 4), "{said}");
    assert_eq!(RUNS.map(|run| sweep.starts(run)), [1; 4], "{said}");
    assert!(sweep.path("copied-up").exists());

    let fresh = Sweep::new();
    let ssh = fresh.fake_ssh();
    let output = fresh.run(&["--on", "down", "--ssh", &ssh]);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("no machine is left") && said.contains("4 of 4 runs failed"), "{said}");
}

#[test]
fn a_stopped_sweep_leaves_no_run_behind_and_goes_on_from_its_checkpoints() {
    let sweep = Sweep::new();
    let ssh = sweep.fake_ssh();
    let long = ["--seeds", "1", "--set", "run.env_steps=1_000_000_000"];
    let flags = [&long[..], &["--on", "a,b", "--ssh", &ssh]].concat();
    let mut command = sweep.command(&flags);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running = [RUNS[0], RUNS[2]];
    until("both runs to learn", || {
        let rows = |run: &str| fs::read_to_string(sweep.run_folder(run).join("progress.csv"));
        running.iter().all(|run| rows(run).is_ok_and(|text| text.lines().count() > 2))
    });
    assert!(child.try_wait().unwrap().is_none());
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("stopped with 0 of 2 runs finished; go on with"), "{said}");
    assert!(said.contains("--set run.env_steps=1_000_000_000"), "{said}");
    for run in running {
        let lock = fs::File::open(sweep.run_folder(run).join("lock")).unwrap();
        lock.try_lock().expect("its learner has ended");
        let checkpoints = fs::read_dir(sweep.run_folder(run).join("checkpoints")).unwrap();
        assert!(checkpoints.count() > 0, "{run} has left a checkpoint");
    }
    // One env step is less than all of them have: they resume, and are finished at once.
    let output = sweep.run(&["--seeds", "1", "--set", "run.env_steps=1"]);
    assert!(output.status.success(), "{}", text(&output));
    for run in running {
        assert_eq!(sweep.starts(run), 2);
        let meta = fs::read_to_string(sweep.run_folder(run).join("meta.json")).unwrap();
        let resumed = meta.matches("\"env_steps\": 0").count();
        assert_eq!(resumed, 1, "the second start goes on: {meta}");
    }
}

#[test]
fn a_sweep_s_file_is_checked_before_anything_runs() {
    let sweep = Sweep::new();
    let file = sweep.path("tiny.toml");
    let good = fs::read_to_string(&file).unwrap();
    let refuse = |from: &str, to: &str| {
        fs::write(&file, good.replace(from, to)).unwrap();
        let output = sweep.run(&[]);
        assert!(!output.status.success());
        text(&output)
    };
    assert!(refuse("seeds", "seds").contains("did you mean `seeds`?"));
    assert!(refuse("env.delay", "env.dely").contains("did you mean `env.delay`?"));
    assert!(refuse("rl.batch_size", "rl.batchsize").contains("did you mean `rl.batch_size`?"));
    assert!(refuse("[1, 2]\nevaluate", "[]\nevaluate").contains("at least one seed"));
    assert!(!Path::new(&sweep.path("runs")).exists());
}
