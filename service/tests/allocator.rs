//! Freed memory is kept. Alone in its process, because the allocator is configured once.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::hint::black_box;

use engram_service::allocator;

/// Page faults of the calling thread: field 10 of `/proc/thread-self/stat`; see proc(5).
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has /proc");
    let third_and_on = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let field = third_and_on.split_ascii_whitespace().nth(10 - 3);
    field.expect("a tenth field").parse().expect("a number")
}

#[test]
fn a_big_block_that_is_asked_for_again_costs_no_page_faults() {
    allocator::keep_big_blocks();
    let faults = std::thread::spawn(|| {
        let fill = || drop(black_box(vec![black_box(1_u8); 200 << 20]));
        fill();
        let before = page_faults();
        fill();
        page_faults() - before
    });
    let faults = faults.join().expect("the thread only counts");
    assert!(faults < 500, "{faults} page faults for 51200 pages");
}
