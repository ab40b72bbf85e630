//! SIGTERM asks a process to end; a second one does not ask.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use engram_service::Shutdown;

const CHILD: &str = "ENGRAM_TEST_SIGNALS_CHILD";

#[test]
fn the_first_signal_asks_and_the_second_one_leaves_at_once() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_never_ends", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let process = child.id().to_string();
    let terminate =
        || assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    assert!(lines.any(|line| line.ends_with("waiting")));
    terminate();
    assert!(lines.any(|line| line.ends_with("asked to end")));
    terminate();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

/// The child of the test above; alone it does nothing.
#[test]
fn a_process_that_never_ends() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().unwrap();
        say("waiting");
        shutdown.triggered().await;
        say("asked to end");
        std::future::pending::<()>().await;
    });
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").expect("the parent reads");
    stdout.flush().expect("the parent reads");
}
