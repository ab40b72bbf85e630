//! Costs of this process: memory and CPU time.

/// Resources that the process has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// CPU time of all threads since the start, in user and kernel mode.
    pub cpu_seconds: f64,
    /// Threads alive.
    pub threads: u64,
}

/// Resources that the process has used; `None` where `/proc` does not tell.
pub fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (threads, resident_pages) = threads_and_pages(&stat)?;
    Some(Usage {
        resident_bytes: resident_pages * page_bytes(),
        cpu_seconds: cpu_seconds(),
        threads,
    })
}

/// CPU time of all threads of the process since its start.
pub fn cpu_seconds() -> f64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the calling thread since its start.
pub fn thread_cpu_seconds() -> f64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[expect(unsafe_code, reason = "std has no clock of CPU time")]
fn clock(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    let code = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(code, 0, "every system we build for has clocks of CPU time");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[expect(unsafe_code, reason = "std does not tell the size of a page")]
fn page_bytes() -> u64 {
    // SAFETY: a question about a constant.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).expect("a page has a size")
}

/// Fields 20 and 24 of `/proc/self/stat`; see proc(5). The second field, the program's name, may
/// hold anything, a parenthesis too.
fn threads_and_pages(stat: &str) -> Option<(u64, u64)> {
    let third_and_on: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| third_and_on.get(number - 3)?.parse().ok();
    Some((field(20)?, field(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let rest: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("1 (a) b (c) {}", rest.join(" "));
        assert_eq!(threads_and_pages(&stat), Some((20, 24)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_is_resident() {
        let before = usage().unwrap();
        let block = vec![1_u8; 256 << 20];
        let after = usage().unwrap();
        assert!(after.resident_bytes > before.resident_bytes + (128 << 20));
        assert!(after.threads >= 1);
        assert_eq!(block[77], 1);
    }

    #[test]
    fn work_takes_cpu_time_of_its_thread_and_of_the_process() {
        // The process is asked first and last, so its span holds the thread's.
        let process = cpu_seconds();
        let thread = thread_cpu_seconds();
        while thread_cpu_seconds() - thread < 0.002 {
            std::hint::spin_loop();
        }
        assert!(cpu_seconds() - process >= 0.002);
    }
}
