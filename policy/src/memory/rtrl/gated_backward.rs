//! GatedUnroll cells, walked backwards: what an unroll does to the sensitivities of its last ones.
//!
//! ```text
//! c_t = f_t ⊙ c_{t-1} + (1 − f_t) ⊙ z_t
//! ```
//!
//! where z is a `candidate`, mostly a tanh, and f a σ of arguments that may see c_{t−1} through
//! weights w_z and w_f, as in the eLSTM, or do not, as in the GILR. What a moment does to c_t through
//! these arguments, and through c_{t−1}, is
//!
//! ```text
//! e_z = (1 − f) ⊙ z'     e_f = (c_{t-1} − z) ⊙ f ⊙ (1 − f)     a = f + e_z ⊙ w_z + e_f ⊙ w_f
//! ```
//!
//! z' being z's slope, 1 − z² where it is a tanh.
//!
//! In tensors that is some ten passes over T moments of all cells; on a CPU, where such passes are
//! what costs, [`on_cpu`] makes one of them. With 100 moments of 32 environments and 512 cells it
//! takes 2.5 ms of a core, where the tensors take 18.

use std::num::NonZero;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::sync::LazyLock;

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use super::suffix_products;
use crate::memory::candidate::Candidate;
use crate::resets::Resets;

/// Fewer numbers are not worth another thread.
const NUMBERS_PER_THREAD: usize = 1 << 16;

/// An unroll of gated cells over T moments.
pub(in crate::memory) struct GatedUnroll<'a> {
    /// c_0: `[B, N]`.
    pub(in crate::memory) start: &'a Tensor,
    /// Function that z is of its argument.
    pub(in crate::memory) candidate: Candidate,
    /// z_t, T of `[B, N]`.
    pub(in crate::memory) z: &'a [Tensor],
    /// f_t, T of `[B, N]`.
    pub(in crate::memory) f: &'a [Tensor],
    /// c_t, T of `[B, N]`.
    pub(in crate::memory) c: &'a [Tensor],
    /// w_z and w_f, `[2, N]`, where the arguments see c_{t-1}.
    pub(in crate::memory) recurrent_weight: Option<&'a Tensor>,
    /// Moments at which c_{t-1} is zero, T or more.
    pub(in crate::memory) resets: &'a Resets,
}

/// Effect of each moment on c_T.
#[derive(Debug)]
pub(in crate::memory) struct GatedBackward {
    /// `a_{t+1} ⊙ … ⊙ a_T ⊙ e_t` of z, then of f: `[T, B, 2 N]`.
    pub(in crate::memory) effects: Tensor,
    /// Σ_t effects ⊙ c_{t−1}: `[B, 2, N]`.
    pub(in crate::memory) through_cells: Tensor,
    /// `a_1 ⊙ … ⊙ a_T`: `[B, N]`.
    pub(in crate::memory) all_factors: Tensor,
}

impl GatedUnroll<'_> {
    /// The backward pass from c_T. Without gradients.
    pub(in crate::memory) fn backward(&self) -> GatedBackward {
        match (self.start.device(), self.start.kind()) {
            (Device::Cpu, Kind::Float) => on_cpu::<f32>(self, threads()),
            (Device::Cpu, Kind::Double) => on_cpu::<f64>(self, threads()),
            _ => in_tensors(self),
        }
    }

    /// T, B and N.
    fn shape(&self) -> [i64; 3] {
        let (batch, hidden) = self.start.size2().expect("c_0 has shape [B, N]");
        let time = self.z.len();
        assert!(time > 0 && self.resets.time() >= time, "a moment or more, with its resets");
        assert_eq!([self.f.len(), self.c.len()], [time; 2], "T moments of z, f and c");
        [time as i64, batch, hidden]
    }
}

fn in_tensors(cells: &GatedUnroll<'_>) -> GatedBackward {
    let [time, batch, hidden] = cells.shape();
    let options = (cells.start.kind(), cells.start.device());
    let [z, f] = [cells.z, cells.f].map(|moments| Tensor::stack(moments, 0));
    let kept = cells.resets.kept(options.0, options.1).narrow(0, 0, time);
    let earlier: Vec<_> = std::iter::once(cells.start).chain(cells.c).take(time as usize).collect();
    let earlier = Tensor::stack(&earlier, 0) * &kept;
    let e_z = cells.candidate.backward(&(1.0 - &f), &z);
    let e_f = Tensor::sigmoid_backward(&(&earlier - &z), &f);
    let factors = match cells.recurrent_weight {
        Some(w) => f.addcmul(&e_z, &w.get(0)).addcmul_(&e_f, &w.get(1)) * kept,
        None => f * kept,
    };
    let (later, all_factors) = suffix_products(&factors);
    let effects = Tensor::empty([time, batch, 2, hidden], options);
    let _ = e_z.mul_out(&effects.select(2, 0), &later);
    let _ = e_f.mul_out(&effects.select(2, 1), &later);
    let through_cells = (&effects * earlier.unsqueeze(2)).sum_dim_intlist(0, false, None);
    GatedBackward { effects: effects.flatten(2, 3), through_cells, all_factors }
}

/// Numbers to compute with.
trait Number:
    Element
    + Copy
    + PartialOrd
    + Send
    + Sync
    + From<u8>
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
{
    /// ½.
    const HALF: Self;
}

impl Number for f32 {
    const HALF: f32 = 0.5;
}

impl Number for f64 {
    const HALF: f64 = 0.5;
}

/// Input of all threads: the unroll as slices, each moment's `[B, N]`.
struct Moments<'a, T> {
    hidden: usize,
    candidate: Candidate,
    z: Vec<&'a [T]>,
    f: Vec<&'a [T]>,
    /// c_{t-1}.
    before: Vec<&'a [T]>,
    /// w_z, then w_f: `[2, N]`.
    weights: &'a [T],
    /// True where an episode begins, each moment's `[B]`.
    begins: Vec<&'a [bool]>,
    /// N of them.
    zeros: &'a [T],
}

/// Output of one thread: that of some environments, R in a row.
struct ThreadShare<'a, T> {
    /// The first one's number.
    first: usize,
    /// `a_{t+1} ⊙ … ⊙ a_T` so far: `[R, N]`.
    later: &'a mut [T],
    /// `[R, 2, N]`.
    through_cells: &'a mut [T],
    /// Each moment's `[R, 2, N]`.
    effects: Vec<&'a mut [T]>,
}

/// Threads that can be had. libtorch's own spin for a while after each of its operations: a thread
/// on the core of one of them makes both slow (2.5 ms of one core become 2.7 of two), so that
/// ours beside the caller's are for cores that libtorch does not use.
fn threads() -> usize {
    // Asked once: the answer is read from the system's files.
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    let of_libtorch = tch::get_num_threads() as usize;
    of_libtorch.min(1 + CORES.saturating_sub(of_libtorch))
}

fn on_cpu<T: Number>(cells: &GatedUnroll<'_>, threads: usize) -> GatedBackward {
    let [time, batch, hidden] = cells.shape();
    let options = (T::KIND, Device::Cpu);
    let contiguous = |moments: &[Tensor]| moments.iter().map(Tensor::contiguous).collect();
    let (z, f): (Vec<Tensor>, Vec<Tensor>) = (contiguous(cells.z), contiguous(cells.f));
    let before = std::iter::once(cells.start).chain(cells.c).take(time as usize);
    let before: Vec<Tensor> = before.map(Tensor::contiguous).collect();
    let weights = match cells.recurrent_weight {
        Some(weights) => weights.contiguous(),
        None => Tensor::zeros([2, hidden], options),
    };
    let zeros = Tensor::zeros([hidden], options);
    let moments = Moments {
        hidden: hidden as usize,
        candidate: cells.candidate,
        z: z.iter().map(numbers::<T>).collect(),
        f: f.iter().map(numbers::<T>).collect(),
        before: before.iter().map(numbers::<T>).collect(),
        weights: numbers(&weights),
        begins: (0..time as usize).map(|t| cells.resets.at(t)).collect(),
        zeros: numbers(&zeros),
    };
    let mut effects = Tensor::empty([time, batch, 2 * hidden], options);
    let mut through_cells = Tensor::zeros([batch, 2, hidden], options);
    let mut later = Tensor::ones([batch, hidden], options);
    let shares = shares(
        batch as usize,
        threads,
        numbers_mut(&mut effects).chunks_exact_mut((2 * batch * hidden) as usize),
        numbers_mut::<T>(&mut through_cells),
        numbers_mut::<T>(&mut later),
    );
    std::thread::scope(|threads| {
        let mut shares = shares.into_iter();
        let own = shares.next();
        shares.for_each(|share| drop(threads.spawn(|| share.backward(&moments))));
        own.into_iter().for_each(|share| share.backward(&moments));
    });
    GatedBackward { effects, through_cells, all_factors: later }
}

/// Environments in equal shares, one for each of the threads if that pays.
fn shares<'a, T>(
    batch: usize,
    threads: usize,
    effects: impl ExactSizeIterator<Item = &'a mut [T]>,
    through_cells: &'a mut [T],
    later: &'a mut [T],
) -> Vec<ThreadShare<'a, T>> {
    let hidden = later.len() / batch;
    let useful = effects.len() * later.len() / NUMBERS_PER_THREAD;
    let threads = threads.min(useful).clamp(1, batch);
    let rows = batch.div_ceil(threads);
    let of_cells = later.chunks_mut(rows * hidden).zip(through_cells.chunks_mut(2 * rows * hidden));
    let share = |(i, (later, through_cells))| ThreadShare {
        first: i * rows,
        later,
        through_cells,
        effects: Vec::with_capacity(effects.len()),
    };
    let mut shares: Vec<_> = of_cells.enumerate().map(share).collect();
    for moment in effects {
        let parts = moment.chunks_mut(2 * rows * hidden);
        shares.iter_mut().zip(parts).for_each(|(share, part)| share.effects.push(part));
    }
    shares
}

impl<T: Number> ThreadShare<'_, T> {
    fn backward(self, moments: &Moments<'_, T>) {
        let one = T::from(1);
        // One loop each, so that none asks at every number.
        match moments.candidate {
            Candidate::Tanh => self.walk(moments, |z| one - z * z),
            Candidate::Linear => self.walk(moments, |_| one),
            Candidate::Positive => {
                self.walk(moments, |z| if z >= T::HALF { one } else { z - z * z });
            }
        }
    }

    /// `slope` gives that of a candidate by its value.
    fn walk(self, moments: &Moments<'_, T>, slope: impl Fn(T) -> T) {
        let n = moments.hidden;
        for (t, effects) in self.effects.into_iter().enumerate().rev() {
            let later = self.later.chunks_exact_mut(n);
            let through_cells = self.through_cells.chunks_exact_mut(2 * n);
            let rows = effects.chunks_exact_mut(2 * n).zip(through_cells).zip(later);
            for (row, ((effects, through_cells), later)) in (self.first..).zip(rows) {
                let at = row * n..(row + 1) * n;
                let begins = moments.begins[t][row];
                let before = if begins { moments.zeros } else { &moments.before[t][at.clone()] };
                let gates = [&moments.z[t][at.clone()], &moments.f[t][at]];
                moment(gates, &slope, before, moments.weights, effects, through_cells, later);
                if begins {
                    later.fill(T::from(0));
                }
            }
        }
    }
}

/// One moment of one environment: z and f, z's slope by its value, c_{t−1}, and both weights, all
/// `[N]` or `[2, N]`.
fn moment<T: Number>(
    [z, f]: [&[T]; 2],
    slope: impl Fn(T) -> T,
    before: &[T],
    weights: &[T],
    effects: &mut [T],
    through_cells: &mut [T],
    later: &mut [T],
) {
    // Cut to one length, so that the loop needs no checks and becomes vector instructions.
    let n = later.len();
    let (z, f, before) = (&z[..n], &f[..n], &before[..n]);
    let (w_z, w_f) = (&weights[..n], &weights[n..2 * n]);
    let (effects_z, effects_f) = effects[..2 * n].split_at_mut(n);
    let (through_z, through_f) = through_cells[..2 * n].split_at_mut(n);
    let one = T::from(1);
    for i in 0..n {
        let (z, f, c) = (z[i], f[i], before[i]);
        let e_z = (one - f) * slope(z);
        let e_f = (c - z) * f * (one - f);
        let (effect_z, effect_f) = (e_z * later[i], e_f * later[i]);
        effects_z[i] = effect_z;
        effects_f[i] = effect_f;
        through_z[i] += effect_z * c;
        through_f[i] += effect_f * c;
        later[i] = later[i] * (f + e_z * w_z[i] + e_f * w_f[i]);
    }
}

/// A contiguous tensor's numbers.
#[expect(unsafe_code, reason = "libtorch's memory")]
fn numbers<T: Number>(tensor: &Tensor) -> &[T] {
    check::<T>(tensor);
    // SAFETY: what was checked, and nobody writes to it: no other handle is used meanwhile.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// A contiguous tensor's numbers, to be written.
#[expect(unsafe_code, reason = "libtorch's memory")]
fn numbers_mut<T: Number>(tensor: &mut Tensor) -> &mut [T] {
    check::<T>(tensor);
    // SAFETY: what was checked, and the tensor is new: there is no other handle.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

fn check<T: Number>(tensor: &Tensor) {
    assert_eq!((tensor.kind(), tensor.device()), (T::KIND, Device::Cpu), "numbers of the CPU");
    assert!(tensor.is_contiguous() && tensor.numel() > 0, "numbers in a row");
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use rand::RngExt;

    use super::*;
    use crate::random;

    /// One thread's, and several threads'.
    const SHAPES: [[i64; 3]; 3] = [[1, 1, 1], [7, 5, 6], [40, 9, 512]];

    #[test]
    fn one_pass_is_what_the_tensors_say() {
        let mut generator = Seed::new(1).generator();
        for [time, batch, hidden] in SHAPES {
            let resets = (0..(time + 1) * batch).map(|_| generator.random_bool(0.1)).collect();
            let resets = Resets::new(resets, batch as usize);
            let mut draw =
                |shape: &[i64]| random::normal(&mut generator, shape).to_kind(Kind::Double);
            let start = draw(&[batch, hidden]);
            let [z, f, c] = [(); 3].map(|()| draw(&[time, batch, hidden]));
            let (z, f, c) = (z.tanh().unbind(0), f.sigmoid().unbind(0), c.unbind(0));
            let weights = draw(&[2, hidden]);
            let candidates = [Candidate::Tanh, Candidate::Linear, Candidate::Positive];
            let cases = candidates.map(|candidate| [None, Some(&weights)].map(|w| (candidate, w)));
            for (candidate, recurrent_weight) in cases.into_iter().flatten() {
                let cells = GatedUnroll {
                    start: &start,
                    candidate,
                    z: &z,
                    f: &f,
                    c: &c,
                    recurrent_weight,
                    resets: &resets,
                };
                let (found, expected) = (on_cpu::<f64>(&cells, 2), in_tensors(&cells));
                for (found, expected) in [
                    (found.effects, expected.effects),
                    (found.through_cells, expected.through_cells),
                    (found.all_factors, expected.all_factors),
                ] {
                    assert_eq!(found.size(), expected.size());
                    let error = (found - &expected).abs().max().double_value(&[]);
                    let size = expected.abs().max().double_value(&[]).max(1.0);
                    assert!(error < 1e-12 * size, "{time} {batch} {hidden}: off by {error}");
                }
            }
        }
    }
}
