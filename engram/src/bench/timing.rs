//! Timing of works that take turns.

use std::time::Instant;

use tch::Tensor;

/// An accelerator works on its own: ask for a number, and it must have finished.
pub(super) fn wait_for(tensor: &Tensor) {
    let _ = tensor.reshape([-1]).narrow(0, 0, 1).double_value(&[0]);
}

/// Seconds that each of `works` takes, medians of as many turns as fit into `seconds`, three at
/// least. They take turns, so that what else happens on the machine strikes all alike.
pub(super) fn medians<const N: usize>(seconds: f64, mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    works.iter_mut().for_each(|work| work());
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let started = Instant::now();
    while times[0].len() < 3 || started.elapsed().as_secs_f64() < seconds * N as f64 {
        for (work, times) in works.iter_mut().zip(&mut times) {
            let before = Instant::now();
            work();
            times.push(before.elapsed().as_secs_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}
