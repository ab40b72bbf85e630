//! ε.

use engram_learner::exploration::LinearEpsilon;

use crate::assert_near;

#[test]
fn epsilon_falls_on_a_line_after_the_warm_up() {
    let schedule = LinearEpsilon { warm_up: 100, steps: 400, last: 0.2 };
    let expected =
        [(0, 1.0), (99, 1.0), (100, 1.0), (101, 0.998), (300, 0.6), (500, 0.2), (u64::MAX, 0.2)];
    for (env_steps, epsilon) in expected {
        assert_near(schedule.at(env_steps), epsilon, 1e-15, &format!("ε at {env_steps}"));
    }
    assert_eq!(schedule.at(500), 0.2);
}

#[test]
fn a_fall_of_no_steps_is_a_jump() {
    let schedule = LinearEpsilon { warm_up: 10, steps: 0, last: 0.05 };
    assert_eq!([9, 10, 11].map(|steps| schedule.at(steps)), [1.0, 0.05, 0.05]);
    let constant = LinearEpsilon { warm_up: 0, steps: 0, last: 0.05 };
    assert_eq!(constant.at(0), 0.05);
}
