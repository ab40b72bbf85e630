//! mimalloc, for the whole process: libtorch's memory too, since it takes the place of `malloc`.
//!
//! libtorch allocates for every small operation, on every thread that runs a network, and frees on
//! another. glibc's allocator then either maps a tensor of a few hundred megabytes afresh each
//! time, a page fault per 4 KiB, or shares one arena, whose lock the learner and the inference
//! server fight for: training recall (LSTM 128, two cores, everything in one process) took a third
//! more CPU time with glibc than with mimalloc, both told to keep what was freed.
//!
//! Every program that links this crate gets the allocator; [`keep_big_blocks`] tells it never to return
//! memory.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds for which freed memory is kept before it is given back to the system; -1 for ever.
/// The number of `mi_option_purge_delay` in `mimalloc.h`, which the crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Tells the allocator to keep big blocks. Call it first in `main`.
#[expect(unsafe_code, reason = "the allocator is C")]
pub fn keep_big_blocks() {
    // SAFETY: the call stores a number; the option exists in all versions that the crate builds.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
