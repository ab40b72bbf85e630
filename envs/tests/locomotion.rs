//! The robots' physics beside PyBullet's.

mod locomotion_table;

use locomotion_table::{Line, ROBOTS, measure};

#[test]
fn links_weigh_and_turn_like_pybullets() {
    for (robot, _) in ROBOTS {
        let lines = measure(robot, 1);
        let links = lines.iter().filter(|line| line.what.contains(" of "));
        let links: Vec<&Line> = links.filter(|line| !line.what.contains("speed")).collect();
        assert!(links.len() >= 16, "{robot}");
        for line in links {
            assert!((line.ours - line.theirs).abs() <= 1e-4 * line.theirs.abs().max(1.0), "{line}");
        }
    }
}
