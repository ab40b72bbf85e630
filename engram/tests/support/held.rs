//! Held thread: one thread of another process that stands still, as if its device, or the folder that
//! it writes to, did not answer.
//!
//! A debugger's means, `ptrace`, hold single threads; signals stop whole processes.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A thread of a child of ours that stands still. It goes on when this is dropped.
pub(crate) struct HeldThread {
    thread: libc::pid_t,
}

impl HeldThread {
    /// Holds the thread of that name. `None`, and the reason on stderr, where the system forbids it.
    pub(crate) fn hold(process: u32, name: &str) -> Option<Self> {
        let thread = thread_named(process, name);
        let held = HeldThread { thread };
        match trace(libc::PTRACE_SEIZE, thread) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                panic!("{name} of {process} has ended")
            }
            Err(error) => {
                std::mem::forget(held);
                eprintln!("left out: no thread of another process may be held here: {error}");
                return None;
            }
        }
        trace(libc::PTRACE_INTERRUPT, thread).expect("a thread that was seized can be stopped");
        let (_, status) = wait(thread, 0).expect("it is ours to wait for");
        assert!(libc::WIFSTOPPED(status), "{name} stands still: {status:#x}");
        Some(held)
    }

    /// Waits until the thread is gone. Its process has not ended before somebody knows.
    pub(crate) fn gone(self) {
        let end = Instant::now() + PATIENCE;
        while !self.is_gone() {
            assert!(Instant::now() < end, "the thread is still there");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        std::mem::forget(self);
    }

    /// True once it has ended, and once it was said that it has.
    fn is_gone(&self) -> bool {
        match wait(self.thread, libc::WNOHANG) {
            Ok((0, _)) => false,
            Ok((_, status)) => libc::WIFEXITED(status) || libc::WIFSIGNALED(status),
            Err(_) => true,
        }
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        // One that is being killed cannot go on, and is gone soon.
        while trace(libc::PTRACE_DETACH, self.thread).is_err() && !self.is_gone() {
            std::thread::yield_now();
        }
    }
}

/// Number of the one thread of a process that has this name, once there is one.
fn thread_named(process: u32, name: &str) -> libc::pid_t {
    let end = Instant::now() + PATIENCE;
    loop {
        let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
        let of_that_name = threads.filter_map(|thread| {
            let path = thread.ok()?.path();
            let found = fs::read_to_string(path.join("comm")).ok()?;
            (found.trim_end() == name).then(|| path.file_name()?.to_str()?.parse().ok())?
        });
        if let [thread] = of_that_name.collect::<Vec<_>>()[..] {
            return thread;
        }
        assert!(Instant::now() < end, "{process} has no thread {name}, or several");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[expect(unsafe_code, reason = "std holds no threads")]
fn trace(request: libc::c_uint, thread: libc::pid_t) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests neither read nor write memory of ours.
    match unsafe { libc::ptrace(request, thread, nothing, nothing) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits for a change of a thread that is traced: its number, or 0 for none, and its status.
#[expect(unsafe_code, reason = "std waits for processes only")]
fn wait(thread: libc::pid_t, options: libc::c_int) -> io::Result<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: `status` outlives the call, which writes nothing else.
    match unsafe { libc::waitpid(thread, &raw mut status, options | libc::__WALL) } {
        -1 => Err(io::Error::last_os_error()),
        found => Ok((found, status)),
    }
}
