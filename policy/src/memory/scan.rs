//! Linear recurrences, `h_t = a_t ⊙ h_{t−1} + b_t`, in about 2√(2T) operations instead of T.
//!
//! Steps in a row make a step: after (a₁, b₁) and (a₂, b₂) is (a₂ a₁, a₂ b₁ + b₂), which is what
//! parallel scans rest upon (Blelloch 1990; for recurrent layers Martin & Cundy 2018,
//! <https://arxiv.org/abs/1709.04057>). Here time is cut into K blocks of C steps:
//!
//! ```text
//! 1. C steps, all blocks at once:   local_j = a_j ⊙ local_{j-1} + b_j     from zero
//!                                   decay_j = a_j ⊙ decay_{j-1}           from one
//! 2. K steps, from block to block:  carried_k = decay_C ⊙ carried_{k-1} + local_C
//! 3. one operation:                 h = local + decay ⊙ carried
//! ```
//!
//! A reset is a factor of zero, which cuts off what was before it exactly: nothing is divided and
//! no logarithm taken, forward or backward. Real and complex numbers alike.
//!
//! Blocks pay where an operation costs more than its numbers. On a CPU that is so for small
//! steps only; larger ones are walked one by one, an `addcmul` each.

use tch::Tensor;

/// Steps that go through the blocks together: what bounds the memory for `local` and `decay`.
const STRETCH: i64 = 1024;

/// On a CPU, the fewest steps and the largest ones, in real numbers, for which blocks are faster:
/// forward and backward 1.5 times at 32 steps of 256 numbers, twice at 1000 of 1024; but half as
/// fast at 32 steps of 8192.
const CPU_MIN_TIME: i64 = 24;
const CPU_MAX_NUMBERS: i64 = 1024;

/// All h_t, `[T, ..]`, from a and b, `[T, ..]`, and h_0, `[..]`. Where all numbers along a
/// dimension of a are the same, its size there may be 1.
pub(super) fn scan(a: &Tensor, b: &Tensor, initial: &Tensor) -> Tensor {
    let shape = b.size();
    assert_eq!(shape[1..], initial.size(), "an initial state for steps of its shape");
    assert_eq!(a.dim(), shape.len(), "factors have as many dimensions as what is added");
    let fits = |(factors, added): (i64, &i64)| factors == 1 || factors == *added;
    assert!(a.size().into_iter().zip(&shape).all(fits), "{:?} fits {shape:?}", a.size());
    let mut of_each_step = a.size();
    of_each_step[0] = shape[0];
    let a = a.expand(of_each_step, false);
    let numbers = initial.numel() as i64 * if initial.is_complex() { 2 } else { 1 };
    let small = shape[0] >= CPU_MIN_TIME && numbers <= CPU_MAX_NUMBERS;
    if initial.device().is_cuda() || small {
        by_stretches(&a, b, initial)
    } else {
        step_by_step(&a, b, initial)
    }
}

fn step_by_step(a: &Tensor, b: &Tensor, initial: &Tensor) -> Tensor {
    let mut h = initial.shallow_clone();
    let step = |(a, b): (Tensor, Tensor)| {
        h = b.addcmul(&a, &h);
        h.shallow_clone()
    };
    let all: Vec<Tensor> = a.unbind(0).into_iter().zip(b.unbind(0)).map(step).collect();
    Tensor::stack(&all, 0)
}

fn by_stretches(a: &Tensor, b: &Tensor, initial: &Tensor) -> Tensor {
    let mut h = initial.shallow_clone();
    let stretch = |(a, b): (Tensor, Tensor)| {
        let all = by_blocks(&a, &b, &h);
        h = all.get(-1);
        all
    };
    let pairs = a.split(STRETCH, 0).into_iter().zip(b.split(STRETCH, 0));
    let mut all: Vec<Tensor> = pairs.map(stretch).collect();
    match all.len() {
        1 => all.remove(0),
        _ => Tensor::cat(&all, 0),
    }
}

fn by_blocks(a: &Tensor, b: &Tensor, initial: &Tensor) -> Tensor {
    let time = b.size()[0];
    let length = block_length(time);
    let whole = time - time % length;
    // Step j of all K blocks, `[K, ..]`, for j from 1 to C.
    let cut = |x: &Tensor| x.narrow(0, 0, whole).unflatten(0, [-1, length]).unbind(1);
    let (a_by_step, b_by_step) = (cut(a), cut(b));
    let (mut local, mut decay) = (b_by_step[0].shallow_clone(), a_by_step[0].shallow_clone());
    let mut locals = vec![local.shallow_clone()];
    let mut decays = vec![decay.shallow_clone()];
    for (a, b) in a_by_step.iter().zip(&b_by_step).skip(1) {
        (local, decay) = (b.addcmul(a, &local), a * decay);
        locals.push(local.shallow_clone());
        decays.push(decay.shallow_clone());
    }
    let mut carried = vec![initial.shallow_clone()];
    for (k, (decay, local)) in decay.unbind(0).iter().zip(local.unbind(0)).enumerate() {
        carried.push(local.addcmul(decay, &carried[k]));
    }
    // The last block's end is carried to the steps that fill no block.
    let last = carried.pop().expect("time has at least one block");
    let carried = Tensor::stack(&carried, 0).unsqueeze(1);
    let (locals, decays) = (Tensor::stack(&locals, 1), Tensor::stack(&decays, 1));
    let h = locals.addcmul(&decays, &carried).flatten(0, 1);
    if whole == time {
        return h;
    }
    let rest = |x: &Tensor| x.narrow(0, whole, time - whole);
    Tensor::cat(&[h, step_by_step(&rest(a), &rest(b), &last)], 0)
}

/// C, for the fewest operations: two for each step of a block, one for each block, and one for
/// each step that is left over.
fn block_length(time: i64) -> i64 {
    let operations = |length: &i64| 2 * length + time / length + time % length;
    (1..=time).min_by_key(operations).expect("at least one step")
}

#[cfg(test)]
mod tests {
    use engram_mdp::{Generator, Seed};
    use tch::{Device, Kind};

    use super::*;
    use crate::random;

    /// Normal numbers, a third of them zero if `resets`.
    fn numbers(generator: &mut Generator, kind: Kind, shape: &[i64], resets: bool) -> Tensor {
        let mut draw = || random::normal(generator, shape).to_kind(Kind::Double);
        let x = match kind {
            Kind::ComplexDouble => Tensor::complex(&draw(), &draw()),
            _ => draw(),
        };
        let kept = random::uniform(generator, shape).ge(0.33).logical_or(&Tensor::from(!resets));
        (x * kept.to_kind(Kind::Double)).set_requires_grad(true)
    }

    /// h and the gradients of a loss by a, b and h_0.
    fn all_of(
        run: fn(&Tensor, &Tensor, &Tensor) -> Tensor,
        [a, b, initial]: [&Tensor; 3],
    ) -> Vec<Tensor> {
        let h = run(a, b, initial);
        let weights = Tensor::arange(h.numel() as i64, (Kind::Double, Device::Cpu)).sin();
        let product = &h * weights.view_as(&h);
        // Complex numbers count by both parts.
        let loss = match h.is_complex() {
            true => product.view_as_real().square().sum(Kind::Double),
            false => product.square().sum(Kind::Double),
        };
        let mut found = Tensor::run_backward(&[loss], &[a, b, initial], false, false);
        found.push(h);
        found
    }

    #[test]
    fn blocks_equal_steps_and_so_do_their_gradients_even_at_resets() {
        let mut generator = Seed::new(1).generator();
        for kind in [Kind::Double, Kind::ComplexDouble] {
            for time in [1, 2, 3, 5, 16, 31, 100, STRETCH, STRETCH + 7] {
                for width_of_a in [1, 3] {
                    let mut draw = |shape: &[i64], resets| {
                        let scale = if resets { 0.8 } else { 1.0 };
                        let x = numbers(&mut generator, kind, shape, resets) * scale;
                        x.detach().set_requires_grad(true)
                    };
                    let a = draw(&[time, 2, width_of_a], true);
                    let (b, initial) = (draw(&[time, 2, 3], false), draw(&[2, 3], false));
                    let expected = all_of(step_by_step, [&a, &b, &initial]);
                    for run in [by_stretches, scan] {
                        let found = all_of(run, [&a, &b, &initial]);
                        for (found, expected) in found.iter().zip(&expected) {
                            let error = (found - expected).abs().max().double_value(&[]);
                            let size = expected.abs().max().double_value(&[]);
                            assert!(error <= 1e-12 * size.max(1.0), "{kind:?} {time}: {error}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn factors_of_all_steps_alike_are_said_once() {
        let mut generator = Seed::new(2).generator();
        let mut draw = |shape: &[i64]| numbers(&mut generator, Kind::Double, shape, false);
        let (a, b, initial) = (draw(&[1, 1, 3]), draw(&[30, 2, 3]), draw(&[2, 3]));
        let expected = scan(&a.repeat([30, 2, 1]), &b, &initial);
        assert_eq!(scan(&a, &b, &initial), expected);
    }

    #[test]
    fn a_reset_cuts_exactly() {
        let mut generator = Seed::new(3).generator();
        let mut draw = |shape: &[i64]| numbers(&mut generator, Kind::Double, shape, false);
        let (a, b) = (draw(&[50, 4]).detach(), draw(&[50, 4]));
        let _ = a.get(30).zero_();
        let later = |initial: &Tensor| scan(&a, &b, initial).narrow(0, 30, 20);
        assert_eq!(later(&(draw(&[4]) * 1e30)), later(&draw(&[4])));
    }
}
