//! This process: a number of its own, the files that it may open, and its costs: CPU time to the
//! nanosecond, memory.
//!
//! The page of metrics has more of them, by the crate `metrics-process`; its CPU time comes in
//! hundredths of a second, which is too coarse for a benchmark of single updates.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// A number unlike that of any other process, here or elsewhere: host, process and time are mixed.
/// It is an identity, and no seed of anything that is to be repeated.
pub fn any_number() -> u64 {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (host, std::process::id(), now.as_nanos()).hash(&mut hasher);
    hasher.finish()
}

/// Raises the number of files that the process may have open to the most that it is allowed, and
/// returns that. A connection is a file, and many systems begin with 1024 of them, which is fewer than
/// a learner may have actors. The small number is for programs that use `select`; ours do not. Call it
/// in `main`.
pub fn open_as_many_files_as_allowed() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::debug!(%error, "the limit of open files stays as it was");
        0
    })
}

/// CPU time of all threads of the process since its start.
#[expect(unsafe_code, reason = "std has no clock of CPU time")]
pub fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "every system we build for has a clock of CPU time");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Memory in RAM, in bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    metrics_process::collector::collect().resident_memory_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_is_resident() {
        let before = resident_bytes().unwrap();
        let block = vec![1_u8; 256 << 20];
        assert!(resident_bytes().unwrap() > before + (128 << 20));
        assert_eq!(block[77], 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn as_many_files_may_be_open_as_are_allowed() {
        open_as_many_files_as_allowed();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers: Vec<&str> = files.split_ascii_whitespace().skip(3).collect();
        assert_eq!(numbers[0], numbers[1], "{files}");
    }

    #[test]
    fn work_takes_cpu_time() {
        let before = cpu_seconds();
        while cpu_seconds() - before < 0.002 {
            std::hint::spin_loop();
        }
    }
}
