//! Keeps big blocks of memory instead of returning them.
//!
//! A tensor of a few hundred megabytes that is freed and asked for again costs glibc a page fault
//! per 4 KiB each time: by default it gives such blocks back to the system. Twenty rounds of
//! allocating, touching and freeing 500 MB took 4.8 s on a thread, and 0.03 s after
//! [`keep_big_blocks`].
//!
//! The price: memory once used stays with the process, and all threads share one arena. Sharing
//! costs nothing that can be measured when threads do a microsecond of work per allocation; it
//! has to be, because arenas of other threads hold no block above 64 MiB and map it afresh.

/// Tells glibc to keep big blocks. Call it first in `main`: threads that run already keep the
/// arena that they have. Does nothing on systems without glibc.
pub fn keep_big_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        // No block has a mapping of its own.
        (libc::M_MMAP_MAX, 0),
        // Nothing at the top of the heap is given back,
        (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
        // and the heap grows by large steps, of which only what is touched takes memory.
        (libc::M_TOP_PAD, 64 << 20),
        (libc::M_ARENA_MAX, 1),
    ] {
        set(parameter, value);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "std does not configure malloc")]
fn set(parameter: libc::c_int, value: libc::c_int) {
    // SAFETY: mallopt takes any two numbers, under malloc's own lock. A refusal (0) leaves the
    // default, which is slow but right.
    if unsafe { libc::mallopt(parameter, value) } == 0 {
        tracing::warn!(parameter, value, "malloc refused a setting");
    }
}
