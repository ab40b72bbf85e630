//! A thread that hangs ends its process, and those who ask for the health hear of it before.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engram_service::health::{self, Health};
use engram_service::heartbeat::{EXIT_CODE, Heartbeat, Watchdog};
use engram_service::logs::{self, LogFormat};
use engram_service::net::{self, Listener};
use engram_service::{Shutdown, threads};
use tokio::runtime::Builder;

const CHILD: &str = "ENGRAM_TEST_HEARTBEAT_CHILD";

/// Silence after which a thread counts as hung. A process ends as long after that.
const LIMIT: Duration = Duration::from_secs(1);

/// Time after which a test fails; machines of tests are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A test below, in a process of its own; killed when dropped.
struct Server(Child);

impl Server {
    /// Nobody reads its stderr.
    fn start(test: &str) -> (Self, Lines<BufReader<ChildStdout>>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Server(child), lines)
    }

    fn ended(mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it goes on for ever");
            std::thread::park_timeout(LIMIT / 100);
        }
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// True in such a process; alone, its test does nothing.
fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A line for the test.
fn say(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n{line}").unwrap();
    stdout.flush().unwrap();
}

fn watchdog() -> (Watchdog, Heartbeat) {
    let mut watchdog = Watchdog::new(LIMIT);
    let heartbeat = watchdog.thread("learner");
    (watchdog, heartbeat)
}

/// Starts a thread that beats once, and then hangs with what `hold` returns.
fn hang<T>(heartbeat: Heartbeat, hold: impl FnOnce() -> T + Send + 'static) {
    let (held, is_held) = std::sync::mpsc::sync_channel(1);
    threads::spawn_named("learner", move || {
        let _hold = hold();
        heartbeat.beat();
        held.send(()).unwrap();
        loop {
            std::thread::park();
        }
    });
    is_held.recv().unwrap();
}

async fn health() -> Health {
    health::health().await.0
}

#[test]
fn a_hung_thread_is_told_by_the_health_service_and_then_ends_the_process() {
    let (server, lines) = Server::start("a_server_whose_thread_hangs");
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(server.ended().code(), Some(EXIT_CODE), "{said:?}");
    let after = said.iter().find_map(|line| line.strip_prefix("NOT_SERVING after ")).unwrap();
    assert!(after.parse::<f64>().unwrap() >= LIMIT.as_secs_f64(), "{said:?}");
}

#[test]
fn a_server_whose_thread_hangs() {
    if !is_child() {
        return;
    }
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = Listener::memory();
        let address = listener.address().clone();
        let (health, service) = health::health().await;
        let router = net::server_builder().add_service(service);
        tokio::spawn(net::serve(router, listener, Shutdown::new()));
        health.serving().await;
        let (watchdog, heartbeat) = watchdog();
        let start = Instant::now();
        heartbeat.beat();
        let _watch = watchdog.watch(&health);
        while health::check(&address).await.is_ok() {
            tokio::time::sleep(LIMIT / 100).await;
        }
        say(&format!("NOT_SERVING after {}", start.elapsed().as_secs_f64()));
        std::future::pending::<()>().await;
    });
}

/// A thread that hangs while it logs, since nobody reads stderr, once held the watchdog up, too, which
/// says what it has found.
#[test]
fn a_thread_that_hangs_with_the_lock_on_stderr_ends_the_process_as_well() {
    let (server, _lines) = Server::start("a_server_whose_thread_hangs_with_stderr");
    assert_eq!(server.ended().code(), Some(EXIT_CODE));
}

#[test]
fn a_server_whose_thread_hangs_with_stderr() {
    if !is_child() {
        return;
    }
    logs::init(LogFormat::Text, logs::USUAL);
    let (watchdog, heartbeat) = watchdog();
    hang(heartbeat, || std::io::stderr().lock());
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let _watch = watchdog.watch(&health().await);
        std::future::pending::<()>().await;
    });
}

/// The watchdog once looked from the runtime. A thread that hung with a lock for which calls wait took
/// all threads of that along, and nobody noticed.
#[test]
fn a_thread_that_hangs_with_what_the_whole_runtime_waits_for_ends_the_process_as_well() {
    let (server, _lines) = Server::start("a_server_whose_runtime_waits_for_a_thread_that_hangs");
    assert_eq!(server.ended().code(), Some(EXIT_CODE));
}

#[test]
fn a_server_whose_runtime_waits_for_a_thread_that_hangs() {
    const WORKERS: usize = 2;
    if !is_child() {
        return;
    }
    logs::init(LogFormat::Text, logs::USUAL);
    let lock = Arc::new(Mutex::new(()));
    let (watchdog, heartbeat) = watchdog();
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().unwrap();
    runtime.block_on(async {
        let _watch = watchdog.watch(&health().await);
        let held = lock.clone();
        hang(heartbeat, move || Box::leak(Box::new(held)).lock().unwrap());
        for _ in 0..WORKERS {
            let lock = lock.clone();
            tokio::spawn(async move { drop(lock.lock().unwrap()) });
        }
        drop(lock.lock().unwrap());
    });
}

/// A suspended machine, or container, goes on where it was.
#[test]
fn a_process_that_was_stopped_for_longer_than_the_limit_has_no_thread_that_hangs() {
    let (server, mut lines) = Server::start("a_server_that_is_well");
    let mut beats = |count: u32| {
        let beats = lines.by_ref().map_while(Result::ok).filter(|line| line == "beat");
        assert_eq!(beats.take(count as usize).count(), count as usize, "it has ended");
    };
    beats(1);
    server.signal("-STOP");
    let end = Instant::now() + 2 * LIMIT;
    while Instant::now() < end {
        std::thread::park_timeout(LIMIT);
    }
    server.signal("-CONT");
    // Four in a limit: it would have ended by then.
    beats(12);
}

#[test]
fn a_server_that_is_well() {
    if !is_child() {
        return;
    }
    let (watchdog, heartbeat) = watchdog();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let _watch = watchdog.watch(&health().await);
        loop {
            heartbeat.beat();
            say("beat");
            tokio::time::sleep(heartbeat.interval()).await;
        }
    });
}
