//! A thread that hangs ends its process, and those who ask for the health hear of it before.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use engram_service::heartbeat::{EXIT_CODE, GRACE, LIMIT, Watchdog};
use engram_service::logs::{self, LogFormat};
use engram_service::net::{self, Listener};
use engram_service::{Shutdown, health};
use tokio::time::{Instant, sleep};

const CHILD: &str = "ENGRAM_TEST_HEARTBEAT_CHILD";

#[test]
fn a_hung_thread_is_told_by_the_health_service_and_then_ends_the_process() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_whose_thread_hangs", "--nocapture"])
        .env(CHILD, "1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(EXIT_CODE), "{child:?}");
    let said = String::from_utf8(child.stdout).unwrap();
    let seconds: u64 = said
        .lines()
        .find_map(|line| line.strip_prefix("NOT_SERVING after "))
        .unwrap()
        .parse()
        .unwrap();
    let limit = LIMIT.as_secs();
    assert!((limit..limit + limit / 4).contains(&seconds), "{said}");
}

/// A thread that hangs while it logs, since nobody reads stderr, once held the watchdog up, too, which
/// says what it has found.
#[test]
fn a_thread_that_hangs_with_the_lock_on_stderr_ends_the_process_as_well() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_whose_thread_hangs_with_stderr", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > 20 * GRACE => {
                child.kill().unwrap();
                panic!("it goes on for ever");
            }
            None => std::thread::park_timeout(GRACE / 100),
        }
    };
    assert_eq!(status.code(), Some(EXIT_CODE));
}

/// The child of the test above; alone it does nothing. Its time is paused.
#[test]
fn a_server_whose_thread_hangs_with_stderr() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    logs::init(LogFormat::Text, logs::USUAL);
    let (locked, is_locked) = std::sync::mpsc::sync_channel(1);
    let mut watchdog = Watchdog::new(LIMIT);
    let heartbeat = watchdog.thread("learner");
    std::thread::spawn(move || {
        let _lock = std::io::stderr().lock();
        heartbeat.beat();
        locked.send(()).unwrap();
        loop {
            std::thread::park();
        }
    });
    is_locked.recv().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(async {
        let (health, _service) = health::health().await;
        watchdog.guard(&health).await;
    });
}

/// The child of the first test; alone it does nothing. Its time is paused: it runs as fast as it can.
#[test]
fn a_server_whose_thread_hangs() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(async {
        let listener = Listener::memory();
        let address = listener.address().clone();
        let (health, service) = health::health().await;
        let router = net::server_builder().add_service(service);
        tokio::spawn(net::serve(router, listener, Shutdown::new()));
        health.serving().await;
        let mut watchdog = Watchdog::new(LIMIT);
        let heartbeat = watchdog.thread("learner");
        heartbeat.beat();
        let ask = async {
            let start = Instant::now();
            while health::check(&address).await.is_ok() {
                sleep(GRACE / 5).await;
            }
            let mut stdout = std::io::stdout();
            writeln!(stdout, "\nNOT_SERVING after {}", start.elapsed().as_secs()).unwrap();
            stdout.flush().unwrap();
            std::future::pending::<()>().await;
        };
        tokio::join!(watchdog.guard(&health), ask);
    });
}
