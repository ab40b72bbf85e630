//! Real programs on loopback: started, watched through their logs and metrics, killed.

#![allow(dead_code, reason = "each test uses its own part of this")]
#![allow(clippy::print_stderr, reason = "a failed test shows what its programs said")]

#[cfg(target_os = "linux")]
pub(crate) mod held;

pub(crate) mod secured;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use engram_service::Resolved;
use engram_service::config::{ExperimentSelection, resolve};

/// Time after which a test fails; machines of tests are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running program, killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts `engram-<role>` of this build with `args`.
    pub(crate) fn start(role: &str, args: &[&str]) -> Program {
        let program = binary(&format!("engram-{role}"));
        let mut command = Command::new(&program);
        command.args(args).env("RUST_LOG", "info");
        Program::spawn(role, command)
    }

    /// The same, of an experiment with settings, and with metrics.
    pub(crate) fn of(experiment: &str, set: &[&str], role: &str, own: &[&str]) -> Program {
        let configs = configs();
        let mut args = vec![experiment, "--configs", &configs, "--metrics", "127.0.0.1:0"];
        args.extend(set.iter().flat_map(|set| ["--set", set]));
        args.extend(own);
        Program::start(role, &args)
    }

    /// Starts any program, which speaks on stderr.
    pub(crate) fn spawn(name: &str, mut command: Command) -> Program {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}; run `cargo build --workspace` first")
            });
        let stderr = child.stderr.take().expect("stderr is piped");
        // Room for far more than a test's programs say; a full channel only delays them.
        let (sender, lines) = sync_channel(100_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Program { name: name.into(), child, lines, seen: Vec::new() }
    }

    /// Waits for a line that holds `text`, unless one came already, and returns it.
    pub(crate) fn line(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("never said `{text}`")),
                Err(RecvTimeoutError::Disconnected) => {
                    self.fail(&format!("ended before it said `{text}`"))
                }
            }
        }
    }

    /// The address of its metrics, from its log.
    pub(crate) fn metrics(&mut self) -> String {
        let line = self.line("metrics at http://");
        let url = line.split("http://").nth(1).expect("an address");
        url.trim_end_matches("/metrics").to_string()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a running program can be killed");
        self.child.wait().expect("a killed program ends");
    }

    /// Asks it to leave, as `kill` and docker do.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.id().to_string());
        let status = Command::new("kill").args([signal, pid]).status();
        assert!(status.expect("kill is installed").success());
    }

    /// Its number as a process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself, and has been heard to the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.seen.extend(self.lines.iter());
                return status;
            }
            if Instant::now() > end {
                self.fail("did not end");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Everything it has said so far.
    pub(crate) fn log(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    fn fail(&mut self, what: &str) -> ! {
        let (name, log) = (self.name.clone(), self.log());
        panic!("{name} {what}; its log:\n{log}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let (name, log) = (self.name.clone(), self.log());
            eprintln!("--- log of {name}\n{log}");
        }
    }
}

/// A program of this build: all of them lie beside one another.
pub(crate) fn binary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_engram")).with_file_name(name)
}

/// The address that a program says it serves at.
pub(crate) fn address(line: &str) -> String {
    let rest = line.split("address=").nth(1).expect("the line names an address");
    rest.split_whitespace().next().expect("an address").to_string()
}

/// Folder of experiments.
pub(crate) fn configs() -> String {
    format!("{}/../configs", env!("CARGO_MANIFEST_DIR"))
}

/// An experiment with keys that are set.
pub(crate) fn resolved(experiment: &str, set: &[&str]) -> Resolved {
    let selection = ExperimentSelection {
        experiment: experiment.into(),
        env: None,
        rl: None,
        seq: None,
        set: set.iter().map(|&set| set.into()).collect(),
        configs: configs().into(),
    };
    resolve(&selection).expect("an experiment")
}

/// Body of a page, over HTTP/1.0, whose answers are not cut into chunks.
pub(crate) fn http_get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(answer))
}

/// A query as it stands in a URL.
pub(crate) fn escaped(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Text of a process at `/metrics`.
pub(crate) fn scrape(address: &str) -> String {
    http_get(address, "/metrics").expect("the metrics are served")
}

/// The sum of a metric over its labels; `None` where it is not there.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Scrapes until `enough` holds of a metric, and returns it.
pub(crate) fn wait_for(address: &str, name: &str, enough: impl Fn(f64) -> bool) -> f64 {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = scrape(address);
        if let Some(value) = metric(&text, name).filter(|&value| enough(value)) {
            return value;
        }
        assert!(Instant::now() < end, "{name} is {:?}:\n{text}", metric(&text, name));
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A number of bytes that Linux tells of a process: `VmRSS`, or `VmHWM`, the largest of these.
pub(crate) fn memory(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.expect("Linux tells it").trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().expect("a number") << 10
}

/// A column of `progress.csv` as numbers.
pub(crate) fn progress(folder: &Path, name: &str) -> Vec<f64> {
    column(&folder.join("progress.csv"), name)
}

/// A column of a table as numbers.
pub(crate) fn column(file: &Path, column: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(file).expect("a run leaves this table");
    let place = reader.headers().expect("headers").iter().position(|header| header == column);
    let place = place.unwrap_or_else(|| panic!("no column {column}"));
    reader
        .records()
        .filter_map(|record| record.expect("a whole row").get(place)?.parse().ok())
        .collect()
}
