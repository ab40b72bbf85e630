//! The process of a server: its start, its log, its end.
//!
//! It gets a socket as its standard input, so there is no name to agree on, and either side sees
//! the other's end. Lines that it prints go into the log.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of the log that an error quotes.
const TAIL: usize = 12;
/// Time that a process has to close its environments before it is killed.
const FAREWELL: Duration = Duration::from_secs(1);

/// A server's process; dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    program: String,
    child: Child,
    tail: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected once the log has ended.
    log: Receiver<()>,
}

impl Process {
    /// Starts `program -m engram_gym`; returns the other end of its standard input too.
    pub(super) fn start(program: &str) -> Result<(Process, UnixStream), String> {
        let failed = |error: io::Error| {
            format!(
                "`{program}` cannot be started ({error}); set `python` in [env], or the variable \
                 ENGRAM_PYTHON, to a Python 3 that has engram-gym"
            )
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["-m", "engram_gym", "--stdin"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let errors = child.stderr.take().expect("it was piped");
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        // Nothing is ever sent: its end is the message.
        let (end, log) = sync_channel(0);
        let kept = tail.clone();
        let reader = thread::Builder::new().name("gym-log".into()).spawn(move || {
            pass_on(errors, &kept);
            drop(end);
        });
        let process = Process { program: program.into(), child, tail, log };
        reader.map_err(failed)?;
        Ok((process, ours))
    }

    /// Reason of an end that came before its time, from its exit and its last words.
    pub(super) fn last_words(&mut self) -> String {
        let exit = match self.exit_within(FAREWELL) {
            Some(status) => format!("the server ended ({status})"),
            None => "the server closed its connection".into(),
        };
        // Whoever inherited the log may keep it open.
        let _ = self.log.recv_timeout(FAREWELL);
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<&str> = tail.iter().map(String::as_str).collect();
        let said = said.join("\n");
        match remedy(&self.program, &said) {
            Some(remedy) => remedy,
            None if said.is_empty() => exit,
            None => format!("{exit}; it said:\n{said}"),
        }
    }

    /// Waits for its end.
    fn exit_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(5)),
                Ok(exit) => return exit,
                Err(_) => return None,
            }
        }
    }

    /// Ends it at once, whatever it does.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    /// The connection is closed, so the process ends by itself; or else it is killed.
    fn drop(&mut self) {
        if self.exit_within(FAREWELL).is_none() {
            self.kill();
        }
    }
}

/// The command that installs what a server lacks, if that is why it ended.
pub(super) fn remedy(program: &str, said: &str) -> Option<String> {
    let (_, missing) = said.rsplit_once("No module named ")?;
    let name = missing.trim_start_matches(['\'', '"']);
    let end = name.find(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).unwrap_or(name.len());
    Some(match &name[..end] {
        "engram_gym" => format!(
            "`{program}` has no engram-gym; install it, in a checkout of Engram: {program} -m pip \
             install ./envs/python (or set `python` in [env], or ENGRAM_PYTHON, to a Python that \
             has it)"
        ),
        name => format!(
            "`{program}` has no module `{name}`; install the package that brings it: {program} -m \
             pip install {name}"
        ),
    })
}

/// Passes the lines of a log on, and keeps the last of them.
fn pass_on(log: ChildStderr, tail: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        tracing::info!(target: "engram_envs::gym", "{line}");
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}
