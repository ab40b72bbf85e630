//! Prints the robots' physics beside PyBullet's:
//! `cargo run --release -p engram-envs --example locomotion_table [ROBOT...]`.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

#[path = "../tests/locomotion_table/mod.rs"]
mod locomotion_table;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    println!("{:<58} {:>10} {:>10} {:>10}", "", "ours", "PyBullet", "difference");
    for (robot, _) in locomotion_table::ROBOTS {
        if asked.is_empty() || asked.iter().any(|name| name == robot) {
            locomotion_table::measure(robot, episodes(robot))
                .iter()
                .for_each(|line| println!("{line}"));
        }
    }
}

/// As many episodes as PyBullet was measured over; those of the first two are short.
fn episodes(robot: &str) -> usize {
    if matches!(robot, "hopper" | "walker2d") { 300 } else { 20 }
}
