//! Prints Hopper's physics beside PyBullet's: `cargo run -p engram-envs --example hopper_table`.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

#[path = "../tests/hopper_table/mod.rs"]
mod hopper_table;

fn main() {
    print!("{}", hopper_table::measure());
}
