//! The real programs of a run, on this machine: a [`Fleet`] of them, started, watched through their
//! metrics, killed and started again.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use engram_policy::Device;
use engram_service::net::{ClientCredentials, ClientTls, Identity, Token, http_get};
use engram_service::{Address, Shutdown, health};
use rustix::process::{Pid, setpriority_process};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::certs;
use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::watch::samples::Page;

/// Transport between programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// TCP on loopback
    Tcp,
    /// Unix sockets
    Unix,
    /// TCP on loopback, behind mutual TLS and a token
    Tls,
}

impl Transport {
    pub(super) fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "TCP",
            Transport::Unix => "Unix sockets",
            Transport::Tls => "TCP, mutual TLS",
        }
    }
}

/// Role of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Learner,
    InferenceServer,
    /// The one with this number.
    Actor(u32),
}

impl Role {
    fn program(self) -> &'static str {
        match self {
            Role::Learner => "engram-learner",
            Role::InferenceServer => "engram-inference-server",
            Role::Actor(_) => "engram-actor",
        }
    }

    /// Its name in files and messages.
    fn name(self) -> String {
        match self {
            Role::Actor(number) => format!("actor-{number}"),
            other => other.program().trim_start_matches("engram-").into(),
        }
    }
}

/// A learner, an inference server, and actors.
pub(super) struct Fleet {
    launch: Launch,
    learner: ChildProgram,
    inference: ChildProgram,
    actors: Vec<ChildProgram>,
    /// Runtime of requests to programs. Its own: this thread stands in that of the signals.
    runtime: Runtime,
}

/// Launch settings of all programs.
struct Launch {
    folder: TempDir,
    learner: Address,
    inference: Address,
    compute: Compute,
    /// Flags that all share: keys.
    shared: Vec<String>,
    credentials: ClientCredentials,
    shutdown: Shutdown,
}

/// A running program, killed when dropped.
struct ChildProgram {
    role: Role,
    child: Child,
    metrics: Address,
    log: PathBuf,
}

/// Time after which the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks. It bounds how exact times are.
const LOOK: Duration = Duration::from_millis(5);

/// Environments that an inference server may serve: as many as there are.
const MAX_SLOTS: &str = "1048576";

/// The secret of programs that live for seconds, on loopback, with certificates of their own.
const TOKEN: &str = "engram-bench-on-loopback";

impl Fleet {
    /// Starts the programs. They do not yet serve.
    pub(super) fn start(
        experiment: &Experiment,
        transport: Transport,
        actors: u32,
        compute: Compute,
        shutdown: &Shutdown,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("config.toml"), experiment.resolved.to_toml())?;
        let (shared, credentials) = match transport {
            Transport::Tls => locked(&folder.path().join("certs"))?,
            Transport::Tcp | Transport::Unix => Default::default(),
        };
        let [learner, inference] = match transport {
            Transport::Unix => {
                ["learner", "inference-server"].map(|name| Address::Unix(folder.path().join(name)))
            }
            Transport::Tcp | Transport::Tls => free_ports()?,
        };
        let shutdown = shutdown.clone();
        let launch = Launch { folder, learner, inference, compute, shared, credentials, shutdown };
        Ok(Fleet {
            learner: launch.start(Role::Learner)?,
            inference: launch.start(Role::InferenceServer)?,
            actors: (0..actors).map(|n| launch.start(Role::Actor(n))).collect::<Result<_>>()?,
            runtime: Builder::new_current_thread().enable_all().build()?,
            launch,
        })
    }

    /// Leaves all other programs the processor time that the learner does not take, as if they ran on
    /// other machines.
    pub(super) fn prefer_learner(&self) -> Result<()> {
        for program in std::iter::once(&self.inference).chain(&self.actors) {
            for thread in std::fs::read_dir(format!("/proc/{}/task", program.child.id()))? {
                let name = thread?.file_name();
                if let Some(id) = name.to_str().and_then(|id| Pid::from_raw(id.parse().ok()?)) {
                    stand_back(Some(id))?;
                }
            }
        }
        Ok(())
    }

    /// Kills a program as `kill -9` does, and starts it anew at once, as a supervisor would.
    pub(super) fn replace(&mut self, role: Role) -> Result<()> {
        let program = match role {
            Role::Learner => &mut self.learner,
            Role::InferenceServer => &mut self.inference,
            Role::Actor(number) => &mut self.actors[number as usize],
        };
        program.kill();
        *program = self.launch.start(role)?;
        Ok(())
    }

    /// Metrics of a program; none if it does not answer.
    pub(super) fn page(&self, role: Role) -> Page {
        self.read(self.program(role))
    }

    /// A metric of a program, summed over labels; 0 where it is not shown.
    pub(super) fn metric(&self, role: Role, name: &str) -> f64 {
        self.page(role).sum(name)
    }

    /// The same, summed over all actors.
    pub(super) fn of_actors(&self, name: &str) -> f64 {
        self.actors.iter().map(|actor| self.read(actor).sum(name)).sum()
    }

    /// True once a server says that it serves.
    pub(super) fn serves(&self, role: Role) -> Result<bool> {
        let address = self.address(role)?;
        Ok(self.runtime.block_on(health::check(&address)).is_ok())
    }

    /// The address of a server, with what opens it.
    pub(super) fn address(&self, role: Role) -> Result<Address> {
        let address = match role {
            Role::Learner => &self.launch.learner,
            Role::InferenceServer => &self.launch.inference,
            Role::Actor(_) => unreachable!("an actor serves nobody"),
        };
        Ok(self.launch.credentials.at(address)?)
    }

    fn read(&self, program: &ChildProgram) -> Page {
        let text = self.runtime.block_on(http_get(&program.metrics, "page of metrics", "/metrics"));
        let text = text.unwrap_or_default();
        Page::parse(&program.role.name(), &String::from_utf8_lossy(&text)).unwrap_or_default()
    }

    /// Log of a program since it was started last.
    pub(super) fn log(&self, role: Role) -> String {
        std::fs::read_to_string(&self.program(role).log).unwrap_or_default()
    }

    /// Waits until something holds, and returns how long that took.
    pub(super) fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Fleet) -> Result<bool>,
    ) -> Result<Duration> {
        let start = Instant::now();
        while !holds(self)? {
            if self.launch.shutdown.is_triggered() {
                bail!("interrupted");
            }
            self.check_alive()?;
            if start.elapsed() > PATIENCE {
                let log = self.log(Role::Learner);
                bail!("{what}: not within {} s; the learner:\n{}", PATIENCE.as_secs(), tail(&log));
            }
            std::thread::sleep(LOOK);
        }
        Ok(start.elapsed())
    }

    /// Lets it run for so long.
    pub(super) fn run_for(&mut self, seconds: f64) -> Result<()> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        self.wait("running", |_| Ok(Instant::now() >= end)).map(|_| ())
    }

    fn program(&self, role: Role) -> &ChildProgram {
        match role {
            Role::Learner => &self.learner,
            Role::InferenceServer => &self.inference,
            Role::Actor(number) => &self.actors[number as usize],
        }
    }

    fn check_alive(&mut self) -> Result<()> {
        let all = [&mut self.learner, &mut self.inference].into_iter().chain(&mut self.actors);
        for program in all {
            if let Some(status) = program.child.try_wait()? {
                let log = std::fs::read_to_string(&program.log).unwrap_or_default();
                bail!("the {} ended ({status}):\n{}", program.role.name(), tail(&log));
            }
        }
        Ok(())
    }
}

impl Launch {
    fn start(&self, role: Role) -> Result<ChildProgram> {
        let folder = self.folder.path();
        let name = role.name();
        let metrics = Address::Unix(folder.join(format!("{name}.metrics")));
        let log = folder.join(format!("{name}.log"));
        let child = self
            .command(role)?
            .args(["--metrics", &metrics.to_string()])
            .args(&self.shared)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| {
                format!("cannot start {}: build all programs, with --bins", role.program())
            })?;
        Ok(ChildProgram { role, child, metrics, log })
    }

    /// The program beside this one, with what it needs to know.
    fn command(&self, role: Role) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name(role.program()));
        let (learner, inference) = (self.learner.to_string(), self.inference.to_string());
        let folder = self.folder.path();
        match role {
            Role::Learner => command
                .arg(folder.join("config.toml"))
                .args(["--run-name", "bench", "--listen", &learner])
                .arg("--runs")
                .arg(folder.join("runs")),
            Role::InferenceServer => command
                .args(["--listen", &inference, "--learner", &learner])
                .args(["--max-slots", MAX_SLOTS]),
            Role::Actor(number) => command
                .arg(folder.join("config.toml"))
                .args(["--learner", &learner, "--inference", &inference])
                .args(["--actor", &number.to_string()]),
        };
        let threads = match role {
            Role::Learner => self.compute.learner_threads,
            Role::InferenceServer => self.compute.inference_threads,
            Role::Actor(_) => return Ok(command),
        };
        let device = match self.compute.device {
            Device::Cpu => "cpu".into(),
            Device::Cuda(number) => format!("cuda:{number}"),
        };
        command.args(["--threads", &threads.to_string(), "--device", &device]);
        Ok(command)
    }
}

impl ChildProgram {
    fn kill(&mut self) {
        // One that has ended already cannot be killed, and need not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ChildProgram {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Gives a thread, or else this one, the least priority.
pub(super) fn stand_back(thread: Option<Pid>) -> Result<()> {
    setpriority_process(thread, 19).context("cannot lower a priority")
}

/// Certificates and a token in `folder`: the flags that name them, and the same as keys.
fn locked(folder: &Path) -> Result<(Vec<String>, ClientCredentials)> {
    certs::create(folder, &["localhost".into(), "127.0.0.1".into()], &[], 1)?;
    std::fs::write(folder.join("token"), TOKEN)?;
    let flags = [
        ("--tls-cert", "server.pem"),
        ("--tls-key", "server.key"),
        ("--tls-client-ca", "ca.pem"),
        ("--tls-ca", "ca.pem"),
        ("--tls-client-cert", "client.pem"),
        ("--tls-client-key", "client.key"),
        ("--token-file", "token"),
    ];
    let flags = flags
        .into_iter()
        .flat_map(|(flag, file)| [flag.into(), folder.join(file).display().to_string()]);
    let identity = Identity { cert: folder.join("client.pem"), key: folder.join("client.key") };
    let tls = ClientTls::load(&folder.join("ca.pem"), Some(&identity), None)?;
    let token = Token::new(TOKEN, "the bench's token")?;
    Ok((flags.collect(), ClientCredentials { tls: Some(tls), token: Some(token), insecure: false }))
}

/// Two ports that nobody has now. A program that is started again needs the same one, so the system
/// cannot choose when it listens.
fn free_ports() -> Result<[Address; 2]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let both = [bind()?, bind()?];
    let [first, second] = both.each_ref().map(|listener| listener.local_addr());
    Ok([Address::loopback(first?.port()), Address::loopback(second?.port())])
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_bench_open_its_own_doors() {
        let folder = tempfile::tempdir().unwrap();
        let (flags, credentials) = locked(&folder.path().join("certs")).unwrap();
        assert_eq!(flags.len(), 14);
        assert!(flags.iter().skip(1).step_by(2).all(|file| Path::new(file).exists()));
        credentials.at(&Address::loopback(1)).unwrap();
    }
}
