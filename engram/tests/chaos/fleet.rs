//! Fleet: the real programs of one run, with a proxy before each server.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use engram_mdp::Seed;
use tempfile::TempDir;

use crate::faults::{Event, Port, garbage};
use crate::proxy::ChaosProxy;
use crate::support::{PATIENCE, Program, address, metric, progress, scrape, wait_for};

pub(crate) const ACTORS: usize = 8;
pub(crate) const SERVERS: usize = 2;

/// Environments of an actor.
const ENVS: usize = 8;

/// The most trajectories that may wait: the queue, and what is set aside for the next two batches,
/// since a batch takes one trajectory of a stream.
const WAITING: f64 = 64.0 + 2.0 * 16.0;

/// Decisions of a trajectory: two of its ten rows are Last, or three where first episodes are cut
/// off. Batches tell less, for one that waits in vain closes before it is full.
const DECISIONS: [f64; 2] = [7.0, 8.0];

/// Recall over two blank frames: small, and impossible without memory.
const SET: [&str; 8] = [
    "env.delay=2",
    "env.choices=2",
    "run.unroll_length=10",
    "run.env_steps=1_000_000_000",
    "run.checkpoint_seconds=1.0",
    "run.log_seconds=0.5",
    "run.queue_trajectories=64",
    "rl.batch_size=16",
];

/// The longest that one event is given to show its effect.
const EFFECT: Duration = Duration::from_secs(2);

/// Metrics of the learner.
const ENV_STEPS: &str = "engram_run_env_steps";
const UPDATES: &str = "engram_learner_updates_total";

/// The programs of one run.
pub(crate) struct Fleet {
    folder: TempDir,
    learner: Program,
    learner_metrics: String,
    learner_at: String,
    servers: Vec<Program>,
    servers_at: Vec<String>,
    actors: Vec<Program>,
    to_learner: ChaosProxy,
    to_servers: Vec<ChaosProxy>,
    /// Programs that go on or end after the next event.
    stopped: Option<Event>,
    strangers: Vec<TcpStream>,
    /// Env steps of the run when they were looked at last.
    env_steps: f64,
}

impl Fleet {
    pub(crate) fn start(seed: Seed) -> Fleet {
        let folder = tempfile::tempdir().expect("a folder");
        let to_learner = ChaosProxy::start(seed.derive("to learner", 0));
        let proxies = (0..SERVERS as u64).map(|n| ChaosProxy::start(seed.derive("to server", n)));
        let to_servers: Vec<ChaosProxy> = proxies.collect();
        let (learner, learner_metrics, learner_at) = start_learner(&folder);
        to_learner.lead_to(&learner_at);
        let mut fleet = Fleet {
            folder,
            learner,
            learner_metrics,
            learner_at,
            servers: Vec::new(),
            servers_at: Vec::new(),
            actors: Vec::new(),
            to_learner,
            to_servers,
            stopped: None,
            strangers: Vec::new(),
            env_steps: 0.0,
        };
        for number in 0..SERVERS {
            let (server, at) = fleet.start_server();
            fleet.to_servers[number].lead_to(&at);
            fleet.servers.push(server);
            fleet.servers_at.push(at);
        }
        fleet.actors = (0..ACTORS).map(|number| fleet.start_actor(number)).collect();
        fleet
    }

    /// Waits until it learns.
    pub(crate) fn learns(&mut self) {
        wait_for(&self.learner_metrics, UPDATES, |n| n >= 5.0);
    }

    /// Lets an event happen, and gives it a moment.
    pub(crate) fn suffer(&mut self, event: Event) {
        let (stopped, strangers) = (self.stopped.take(), std::mem::take(&mut self.strangers));
        self.happen(event);
        self.look(EFFECT);
        drop(strangers);
        self.go_on(stopped);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::KillActor(number) => {
                self.actors[number].kill();
                self.actors[number] = self.start_actor(number);
            }
            Event::KillServer(number) => {
                self.servers[number].kill();
                let (server, at) = self.start_server();
                self.to_servers[number].lead_to(&at);
                (self.servers[number], self.servers_at[number]) = (server, at);
            }
            Event::KillLearner => self.kill_learner(),
            Event::StopActor(number) => self.actors[number].signal("STOP"),
            Event::StopServer(number) => self.servers[number].signal("STOP"),
            Event::Cut(Port::Learner) => self.to_learner.cut(),
            Event::Cut(Port::Server(number)) => self.to_servers[number].cut(),
            Event::Garbage(port, seed) => {
                if let Ok(mut stranger) = TcpStream::connect(self.port(port)) {
                    // A server that hangs up in the middle does well.
                    let _ = stranger.write_all(&garbage(seed));
                    self.strangers.push(stranger);
                }
            }
            Event::Flood(port, strangers) => {
                let at = self.port(port);
                let at: SocketAddr = at.parse().expect("an address");
                // A stopped server takes no more than its backlog: the system would try for minutes.
                let stranger = |_| TcpStream::connect_timeout(&at, EFFECT).ok();
                let strangers = (0..strangers).map_while(stranger);
                self.strangers.extend(strangers);
            }
        }
        if matches!(event, Event::StopActor(_) | Event::StopServer(_)) {
            self.stopped = Some(event);
        }
    }

    /// The learner is killed once it has a checkpoint, and resumes.
    fn kill_learner(&mut self) {
        let saved = "engram_checkpoint_last_success_timestamp_seconds";
        wait_for(&self.learner_metrics, saved, |n| n > 0.0);
        self.learner.kill();
        let (learner, metrics, at) = start_learner(&self.folder);
        self.to_learner.lead_to(&at);
        (self.learner, self.learner_metrics, self.learner_at) = (learner, metrics, at);
        let resumed = self.learner.line("the run goes on");
        assert!(!resumed.contains("env_steps=0"), "{resumed}");
        // What was learned after the checkpoint is lost.
        self.env_steps = 0.0;
    }

    fn go_on(&mut self, stopped: Option<Event>) {
        match stopped {
            Some(Event::StopActor(number)) => self.actors[number].signal("CONT"),
            Some(Event::StopServer(number)) => self.servers[number].signal("CONT"),
            _ => {}
        }
    }

    /// Watches the run until it has made progress, or `limit` is over. It never goes back.
    fn look(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            let text = scrape(&self.learner_metrics);
            let env_steps = metric(&text, ENV_STEPS).unwrap_or(0.0);
            assert!(env_steps >= self.env_steps, "{env_steps} after {}", self.env_steps);
            let (before, after) = (self.env_steps, env_steps);
            self.env_steps = env_steps;
            if (after > before && before > 0.0) || Instant::now() > end {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Everything is well again: all are there, and it learns.
    pub(crate) fn recover(&mut self) {
        let stopped = self.stopped.take();
        self.go_on(stopped);
        self.strangers.clear();
        self.to_learner.calm();
        self.to_servers.iter().for_each(ChaosProxy::calm);
        wait_for(&self.learner_metrics, "engram_actors", |n| n == ACTORS as f64);
        let updates = wait_for(&self.learner_metrics, UPDATES, |_| true);
        wait_for(&self.learner_metrics, UPDATES, |n| n >= updates + 50.0);
        self.look(Duration::ZERO);
    }

    /// All leave in peace, and the learner's books balance.
    pub(crate) fn close(mut self) {
        for actor in &self.actors {
            actor.terminate();
        }
        for actor in &mut self.actors {
            assert!(actor.ended().success(), "{}", actor.log());
        }
        wait_for(&self.learner_metrics, "engram_actors", |n| n == 0.0);
        self.books_balance();
        for program in self.servers.iter_mut().chain([&mut self.learner]) {
            program.terminate();
            assert!(program.ended().success(), "{}", program.log());
        }
        let env_steps = progress(&self.folder.path().join("runs/run"), "env_steps");
        assert!(env_steps.is_sorted(), "the curve goes back: {env_steps:?}");
        let connections: u64 = self.to_servers.iter().map(ChaosProxy::connections).sum();
        assert!(connections + self.to_learner.connections() >= (ACTORS + SERVERS) as u64);
    }

    /// Everything that has come to this learner is learned from, or dropped, or waits for a batch to fill.
    fn books_balance(&self) {
        let end = Instant::now() + PATIENCE;
        let mut waits = f64::INFINITY;
        // Quiet: nothing has changed for a while.
        let mut quiet = 0;
        while quiet < 25 {
            let text = scrape(&self.learner_metrics);
            let number = |name: &str| metric(&text, name).unwrap_or(0.0);
            let stale = text
                .lines()
                .filter(|line| line.starts_with("engram_trajectories_dropped_total"))
                .filter(|line| line.contains("reason=\"stale\""))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
            let came = number("engram_trajectories_received_total") - stale;
            let learned = number("engram_learner_env_steps_total");
            let [least, most] = DECISIONS;
            assert!(learned <= most * came, "more was learned from than has come:\n{text}");
            let left = came - learned / least;
            quiet = if left == waits { quiet + 1 } else { 0 };
            waits = left;
            assert!(Instant::now() < end, "it is never quiet:\n{text}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert!(waits <= WAITING, "{waits} trajectories are nowhere");
    }

    fn port(&self, port: Port) -> String {
        match port {
            Port::Learner => self.learner_at.clone(),
            Port::Server(number) => self.servers_at[number].clone(),
        }
    }

    fn start_server(&self) -> (Program, String) {
        let learner = self.to_learner.address();
        let args = ["--listen", "127.0.0.1:0", "--learner", learner, "--metrics", "127.0.0.1:0"];
        let mut server = Program::start("inference-server", &args);
        let at = address(&server.line("listens"));
        (server, at)
    }

    /// An actor, whose groups begin at one server each, and know both.
    fn start_actor(&self, number: usize) -> Program {
        let servers: Vec<&str> = self.to_servers.iter().map(ChaosProxy::address).collect();
        let (servers, number, envs) = (servers.join(","), number.to_string(), ENVS.to_string());
        let peers = ["--learner", self.to_learner.address(), "--inference", &servers];
        let own = ["--actor", &number, "--envs", &envs];
        Program::of("main", &SET, "actor", &[&peers[..], &own].concat())
    }
}

fn start_learner(folder: &TempDir) -> (Program, String, String) {
    let runs = folder.path().join("runs").display().to_string();
    let own = ["--runs", &runs, "--run-name", "run", "--listen", "127.0.0.1:0"];
    let mut learner = Program::of("main", &SET, "learner", &own);
    let metrics = learner.metrics();
    let at = address(&learner.line("serving"));
    (learner, metrics, at)
}
