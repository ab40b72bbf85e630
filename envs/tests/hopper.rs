//! Hopper's physics beside PyBullet's: a free fall to four digits, controlled falls within a few
//! percent, and the returns of simple policies. `cargo run -p engram-envs --example hopper_table`
//! prints the whole table.

mod hopper_table;

#[test]
fn hopper_moves_like_pybullets() {
    let comparison = hopper_table::measure();
    let apart: Vec<_> = comparison.lines.iter().filter(|line| !line.agrees()).collect();
    assert!(apart.is_empty(), "{comparison}");
    assert!(comparison.lines.iter().filter(|line| line.tolerance.is_some()).count() > 40);
}
