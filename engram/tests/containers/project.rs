//! A run as docker compose starts it, from the files in `deploy/`, under a name of its own.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engine::{self, BASE, Engine, PROMETHEUS};
use crate::support::{PATIENCE, escaped, http_get};

/// Services under test: all of compose.yaml but Grafana, which Debian does not package.
const SERVICES: [&str; 5] = ["learner", "inference-server", "actor", "evaluator", "prometheus"];

/// Recall over two blank frames: small, and impossible without memory. It ends by itself some day,
/// should nobody be left to end it.
pub(crate) const SETTINGS: &str = "env.delay=2;env.choices=2;run.unroll_length=10;rl.batch_size=16;\
                        run.queue_trajectories=64;run.checkpoint_seconds=1.0;run.log_seconds=0.5;\
                        run.env_steps=20_000_000;run.eval_env_steps=100_000;run.eval_episodes=20";

/// Images of a run, and of the tools beside it.
pub(crate) const ROLES: [&str; 5] = ["learner", "inference-server", "actor", "evaluator", "tools"];

/// The run's name, and its folder's.
pub(crate) const RUN: &str = "contained";

/// A compose project. When dropped, everything of it is removed, its images too.
pub(crate) struct Project<'a> {
    engine: &'a Engine,
    /// Its name, which nothing else on this machine has.
    pub(crate) name: String,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Project<'a> {
    /// A project of these files below `deploy/`.
    pub(crate) fn new(engine: &'a Engine, what: &str, files: &[&str]) -> Project<'a> {
        let name = format!("engram-test-{what}-{}", std::process::id());
        let deploy = format!("{}/../deploy", env!("CARGO_MANIFEST_DIR"));
        let files: Vec<_> = files.iter().map(|file| format!("{deploy}/{file}")).collect();
        let programs = format!("engram-test/programs:{name}");
        engine.import_programs(&programs);
        let environment = vec![
            ("COMPOSE_PROJECT_NAME", name.clone()),
            ("COMPOSE_FILE", files.join(":")),
            ("COMPOSE_PROFILES", "cpu,monitoring".into()),
            ("ENGRAM_REGISTRY", "engram-test/".into()),
            ("ENGRAM_TAG", name.clone()),
            ("ENGRAM_BASE_IMAGE", BASE.into()),
            ("ENGRAM_PROMETHEUS_IMAGE", PROMETHEUS.into()),
            ("ENGRAM_PROMETHEUS_PORT", "0".into()),
            ("ENGRAM_LIBTORCH", engine.libtorch()),
            ("ENGRAM_ACTOR_PROGRAMS", programs.clone()),
            ("ENGRAM_PROGRAMS", programs),
            ("ENGRAM_EXPERIMENT", "main".into()),
            ("ENGRAM_RUN_NAME", RUN.into()),
            ("ENGRAM_SET", SETTINGS.into()),
            ("ENGRAM_ENVS", "16".into()),
        ];
        Project { engine, name, environment }
    }

    /// Sets a variable of the compose files.
    pub(crate) fn set(&mut self, variable: &'static str, value: &Path) {
        self.environment.push((variable, value.display().to_string()));
    }

    /// The name of a role's image.
    pub(crate) fn image(&self, role: &str) -> String {
        format!("engram-test/engram/{role}:{}", self.name)
    }

    fn compose(&self, args: &[&str]) -> Command {
        let mut command = self.engine.docker();
        command.args(["compose", "--ansi=never"]).args(args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Output of `docker compose`, which must succeed.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        engine::output(&mut self.compose(args))
            .unwrap_or_else(|why| panic!("docker compose {args:?}: {why}"))
    }

    /// Starts all services, with so many containers of some.
    pub(crate) fn up(&self, scale: &[&str]) {
        let mut args = vec!["up", "--detach", "--quiet-pull"];
        args.extend(scale.iter().flat_map(|scale| ["--scale", scale]));
        args.extend(SERVICES);
        self.run(&args);
    }

    /// Kills the program in a container of a service from within, so that the engine takes it for a
    /// fault. Waits until it was started again.
    pub(crate) fn crash(&self, service: &str) {
        let all = self.run(&["ps", "--quiet", service]);
        let id = all.split_whitespace().next().expect("a container runs");
        let kill = ["exec", id, "sh", "-c", "kill -9 -1"];
        // What was asked to kill everybody may be gone before it can tell.
        let told = self.engine.ask(&kill);
        self.poll(&format!("{service} is started again after {told:?}"), || {
            let format = "--format={{.RestartCount}} {{.State.Running}}";
            let state = self.engine.run(&["inspect", format, id]);
            (state.trim() == "1 true").then_some(()).ok_or(state)
        });
    }

    /// The value of a query as Prometheus sees it, once it is `enough`.
    pub(crate) fn wait(&self, query: &str, enough: impl Fn(f64) -> bool) -> f64 {
        let at = self.run(&["port", "prometheus", "9090"]);
        self.poll(query, || match ask_prometheus(at.trim(), query) {
            Ok(Some(value)) if enough(value) => Ok(value),
            other => Err(format!("{other:?}")),
        })
    }

    /// The log of a service.
    pub(crate) fn log(&self, service: &str) -> String {
        self.run(&["logs", "--no-log-prefix", service])
    }

    /// The last line of a service's log that holds `text`, once there is one.
    pub(crate) fn line(&self, service: &str, text: &str) -> String {
        self.poll(&format!("{service} says `{text}`"), || {
            let log = self.log(service);
            log.lines().rfind(|line| line.contains(text)).map(str::to_owned).ok_or(log)
        })
    }

    /// Lines of a service's log that say `text`.
    pub(crate) fn count(&self, service: &str, text: &str) -> usize {
        self.log(service).lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many lines of a service's log say `text`.
    pub(crate) fn lines(&self, service: &str, text: &str, count: usize) {
        self.poll(&format!("{service} says `{text}` {count} times"), || {
            let log = self.log(service);
            let found = log.lines().filter(|line| line.contains(text)).count();
            (found >= count).then_some(()).ok_or(log)
        });
    }

    /// The names of all containers that have ended, with their exit codes.
    pub(crate) fn exits(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let all = self.engine.run(&["ps", "--all", "--quiet", "--filter", &label]);
        let format = "--format={{.Name}} {{.State.Status}} {{.State.ExitCode}}";
        let mut args = vec!["inspect", format];
        args.extend(all.split_whitespace());
        self.engine.run(&args).lines().map(|line| line.replace(&self.name, "")).collect()
    }

    /// Remains of this project in the engine: containers, networks, volumes.
    pub(crate) fn remains(&self) -> String {
        let label = format!("label=com.docker.compose.project={}", self.name);
        [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]]
            .map(|list| self.engine.run(&[list, &["--quiet", "--filter", &label]].concat()))
            .concat()
    }

    fn poll<T>(&self, what: &str, look: impl Fn() -> Result<T, String>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            match look() {
                Ok(found) => return found,
                Err(seen) => {
                    assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}: {seen}")
                }
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for args in [&["ps", "--all"][..], &["logs", "--tail", "100"]] {
                let said = engine::output(&mut self.compose(args)).unwrap_or_else(|why| why);
                let _ = writeln!(std::io::stderr(), "--- {}: {args:?}\n{said}", self.name);
            }
        }
        let down = ["--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5"];
        let _ = engine::output(&mut self.compose(&down));
        let mut images = vec!["image".into(), "rm".into(), "--force".into()];
        images.extend(ROLES.map(|role| self.image(role)));
        images.push(format!("engram-test/programs:{}", self.name));
        let _ = engine::output(self.engine.docker().args(images));
    }
}

/// The sum of what a query finds; `None` where it finds nothing.
fn ask_prometheus(at: &str, query: &str) -> Result<Option<f64>, String> {
    let path = format!("/api/v1/query?query={}", escaped(query));
    let answer = http_get(at, &path).map_err(|error| error.to_string())?;
    let body: serde_json::Value = serde_json::from_str(&answer).map_err(|_| answer.clone())?;
    let found = body["data"]["result"].as_array().ok_or_else(|| answer.clone())?;
    let values = found.iter().filter_map(|one| one["value"][1].as_str()?.parse::<f64>().ok());
    Ok(values.reduce(|a, b| a + b))
}
