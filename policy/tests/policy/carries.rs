//! Carries: what goes from one unroll of a stream to the next where gradients are exact.

use engram_mdp::Seed;
use engram_policy::Batched;

use super::rtrl::{BATCH, UNROLL, flat, policy, relative};
use super::{DISCRETE, frames_with, moments, random, real_time_memories};

#[test]
fn random_carries_do_not_survive_a_reset() {
    for memory in real_time_memories(6) {
        let policy = policy(memory);
        let mut generator = Seed::new(3).generator();
        let first = (0..(UNROLL + 1) * BATCH).map(|row| row < BATCH).collect();
        let inputs = frames_with(&mut generator, UNROLL + 1, BATCH, DISCRETE, first);
        let carry = policy.initial_carry(BATCH);
        let noise = random(&mut generator, &[BATCH, carry.width() as i64]);
        let noise = policy.initial_carry(1).unflatten(&noise).unwrap();
        let state = flat(&policy.initial_state(BATCH));
        let [clean, noisy] = [carry, noise].map(|carry| {
            let unrolled = policy.unroll_streams(&inputs, &state, carry).unwrap();
            flat(&policy.next_carry(unrolled.context))
        });
        assert_eq!(clean, noisy);
    }
}

#[test]
fn how_a_life_is_cut_makes_no_difference_to_what_is_carried() {
    // Large and long enough for a layer to go through its moments and its environments in parts.
    let (hidden, time) = (512, 120);
    for memory in real_time_memories(hidden) {
        let policy = policy(memory.clone());
        let mut generator = Seed::new(4).generator();
        let first = (0..(time + 1) * BATCH).map(|row| row < BATCH || row % 97 == 0).collect();
        let inputs = frames_with(&mut generator, time + 1, BATCH, DISCRETE, first);
        let carried = |unroll: i64| {
            let (mut state, mut carry) = (policy.initial_state(BATCH), policy.initial_carry(BATCH));
            for start in (0..time).step_by(unroll as usize) {
                let frames = moments(&inputs, start, unroll + 1);
                let unrolled = policy.unroll_streams(&frames, &flat(&state), carry).unwrap();
                carry = policy.next_carry(unrolled.context);
                state = tch::no_grad(|| policy.unroll(&moments(&inputs, start, unroll), &state).1);
            }
            carry
        };
        let (whole, parts) = (flat(&carried(time)), flat(&carried(6)));
        assert!(whole.abs().max().double_value(&[]) > 0.1, "{memory:?}");
        assert!(relative(&parts, &whole) < 1e-9, "{memory:?}");
    }
}
