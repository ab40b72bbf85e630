//! ε.

use engram_learner::config::exploration::LinearEpsilon;

use crate::assert_near;

#[test]
fn epsilon_falls_on_a_line_and_stays_at_its_end() {
    let schedule = LinearEpsilon { steps: 400, last: 0.2 };
    let expected = [(0, 1.0), (1, 0.998), (200, 0.6), (400, 0.2), (u64::MAX, 0.2)];
    for (env_steps, epsilon) in expected {
        assert_near(schedule.at(env_steps), epsilon, 1e-15, &format!("ε at {env_steps}"));
    }
    assert_eq!(schedule.at(400), 0.2);
}

#[test]
fn a_fall_of_no_steps_is_a_jump() {
    let schedule = LinearEpsilon { steps: 0, last: 0.05 };
    assert_eq!([0, 1].map(|steps| schedule.at(steps)), [0.05, 0.05]);
}
