//! The mixer of a Mamba block: what it does along time. From u `[D]`, a moment of the normalized
//! stream, to `[D]`, by way of twice as many channels:
//!
//! ```text
//! x, z    = W_in u
//! x       = SiLU( conv(x) )                  over the last K moments, channel by channel
//! δ, B, C = W_x x                            D / 16, N and N numbers
//! Δ       = softplus( W_Δ δ + b_Δ )          one for each channel
//! h_t     = exp(Δ A) ⊙ h_{t-1} + B (Δ ⊙ x)ᵀ       [N, 2 D], where A = −exp(L)
//! y       = W_out( (hᵀ C + S ⊙ x) ⊙ SiLU(z) )
//! ```
//!
//! L starts as log 1 .. N in every channel, S as ones, W_Δ uniform in ± its inputs' number to the
//! power −½, and b_Δ such that Δ starts between 0.001 and 0.1, uniform in its logarithm. The other
//! weights start as linear layers do, W_out then divided by the root of the number of blocks, and
//! B's and C's rows of W_x multiplied with `selection_scale`.
//!
//! That last one is ours. What was written n frames ago is read back as Δ B·C times itself, with a
//! Δ of about 1/n if it is to last so long, and B and C of about 0.1 at the authors' start: after
//! 30 frames some 10⁻⁴ of what passes by S, and so is its share of the gradient. Learning then
//! waits for long at chance, longer where rewards are few and noisy. `recall-30-mamba`, with a scale
//! of 4, waited for three and a half million env steps in three runs of three.
//!
//! # Unrolling
//!
//! h is a linear recurrence (see `scan`); at a reset its factor is zero, by an exponent of
//! [`SHUT`]. All of h is N times as large as all of x, so time is cut into chunks that pass h on.
//! Without gradients, no more than a chunk of h exists; with them, autograd keeps three numbers
//! per number of h: its factor, and h twice. On a CPU a chunk is what fits its cache, which takes
//! 0.6 of the time that one chunk for all would, 0.85 with gradients. On one core, 1000 moments
//! of 4 environments (D = 64, N = 16, K = 4) take 17 ms against 86 ms in steps; 64 of 32 take 9
//! ms, forward and backward 35 ms.

use std::f64::consts::LOG2_E;

use tch::{Device, Tensor};

use super::settings::MambaConfig;
use crate::memory::causal_conv::CausalConv;
use crate::memory::scan::scan;
use crate::parameters::Parameters;
use crate::resets::Resets;

/// An exponent to which 2 is 0 in any float.
const SHUT: f64 = -1e4;

/// Bytes of a chunk of h.
const CPU_CHUNK: i64 = 1 << 20;
const CUDA_CHUNK: i64 = 64 << 20;

/// Bounds of Δ at the start, and the least that it may start with.
const INITIAL_DELTA: [f64; 2] = [0.001, 0.1];
const LOWEST_INITIAL_DELTA: f64 = 1e-4;

/// A block without its norm and its residual path.
pub(super) struct Mixer {
    /// W_in: `[4 D, D]`.
    input: Tensor,
    conv: CausalConv,
    /// W_x: `[R + 2 N, 2 D]`, where R is the number of δ.
    select: Tensor,
    /// W_Δ: `[2 D, R]`.
    delta_weight: Tensor,
    /// b_Δ: `[2 D]`.
    delta_bias: Tensor,
    /// L: `[N, 2 D]`.
    log_decay: Tensor,
    /// S: `[2 D]`.
    skip: Tensor,
    /// W_out: `[D, 2 D]`.
    output: Tensor,
}

/// Selection by x, for moments `[..]`.
struct ScanParameters {
    /// Δ: `[.., 2 D]`.
    delta: Tensor,
    /// B: `[.., N]`.
    write: Tensor,
    /// C: `[.., N]`.
    read: Tensor,
}

impl Mixer {
    pub(super) fn new(config: &MambaConfig, name: &str, p: &mut Parameters) -> Self {
        let (width, channels, state) = (config.width, 2 * config.width, config.state);
        let rank = (width as u64).div_ceil(16) as i64;
        let part = |part: &str| format!("{name}.{part}");
        let bound = |inputs: i64| 1.0 / (inputs as f64).sqrt();
        let input = p.uniform(part("input.weight"), &[2 * channels, width], bound(width));
        let conv = CausalConv::new(channels, config.conv, &part("conv"), p);
        let selected = [rank + 2 * state, channels];
        let select = p.uniform(part("select.weight"), &selected, bound(channels));
        p.once_drawn(|| {
            let mut rows = select.narrow(0, rank, 2 * state);
            let _ = rows.g_mul_scalar_(config.selection_scale);
        });
        let delta_weight = p.uniform(part("delta.weight"), &[channels, rank], bound(rank));
        let delta_bias = p.mapped(part("delta.bias"), &[channels], initial_delta_bias);
        let logs: Vec<f32> = (1..=state).map(|n| (n as f32).ln()).collect();
        let logs = Tensor::from_slice(&logs).unsqueeze(1).expand([state, channels], false);
        let bound_of_output = bound(channels) * bound(config.blocks);
        Mixer {
            input,
            conv,
            select,
            delta_weight,
            delta_bias,
            log_decay: p.add(part("log_decay"), &logs),
            skip: p.constant(part("skip"), &[channels], 1.0),
            output: p.uniform(part("output.weight"), &[width, channels], bound_of_output),
        }
    }

    /// Zeros: the convolution's, `[B, K - 1, 2 D]`, and h, `[B, N, 2 D]`.
    pub(super) fn initial_state(&self, batch: i64) -> [Tensor; 2] {
        let (state, channels) = self.log_decay.size2().expect("L has shape [N, 2 D]");
        let options = (self.log_decay.kind(), self.log_decay.device());
        [self.conv.initial(batch), Tensor::zeros([batch, state, channels], options)]
    }

    /// u `[B, D]` and the state before it, zero where an episode begins. Returns `[B, D]` and the
    /// state after it.
    pub(super) fn step(&self, u: &Tensor, [conv, h]: [&Tensor; 2]) -> (Tensor, [Tensor; 2]) {
        let [x, z] = self.halves(u);
        let (x, conv) = self.conv.step(&x, conv);
        let x = x.silu();
        let ScanParameters { delta, write, read } = self.select(&x);
        let decay = (delta.unsqueeze(1) * self.decay()).exp2_();
        let written = write.unsqueeze(2) * (delta * &x).unsqueeze(1);
        let h = written.addcmul(&decay, h); // [B, N, 2 D]
        let y = read.unsqueeze(1).bmm(&h).squeeze_dim(1);
        (self.finish(&y, &x, &z), [conv, h])
    }

    /// u `[T, B, D]` and the state before it. Returns `[T, B, D]` and the state after it.
    pub(super) fn unroll(
        &self,
        u: &Tensor,
        [conv, h]: [&Tensor; 2],
        resets: &Resets,
    ) -> (Tensor, [Tensor; 2]) {
        let [x, z] = self.halves(u);
        let (x, conv) = self.conv.unroll(&x, conv, resets);
        let x = x.silu();
        let (y, h) = self.state_space(&x, &self.select(&x), h, resets);
        (self.finish(&y, &x, &z), [conv, h])
    }

    /// u `[.., D]` to x and z, each `[.., 2 D]`.
    fn halves(&self, u: &Tensor) -> [Tensor; 2] {
        let both = u.linear::<&Tensor>(&self.input, None);
        both.chunk(2, -1).try_into().expect("x and z")
    }

    /// A, `[N, 2 D]`, as an exponent of 2, whose powers libtorch finds 4 times faster than those
    /// of e on a CPU.
    fn decay(&self) -> Tensor {
        self.log_decay.exp() * -LOG2_E
    }

    /// x `[.., 2 D]` to what it selects.
    fn select(&self, x: &Tensor) -> ScanParameters {
        let (state, rank) = (self.log_decay.size()[0], self.delta_weight.size()[1]);
        let all = x.linear::<&Tensor>(&self.select, None);
        let parts: [Tensor; 3] =
            all.split_with_sizes([rank, state, state], -1).try_into().expect("δ, B and C");
        let [delta, write, read] = parts;
        let delta = delta.linear(&self.delta_weight, Some(&self.delta_bias)).softplus();
        ScanParameters { delta, write, read }
    }

    /// hᵀ C, x and z, each `[.., 2 D]`, to `[.., D]`.
    fn finish(&self, y: &Tensor, x: &Tensor, z: &Tensor) -> Tensor {
        let y = y.addcmul(&self.skip, x) * z.silu();
        y.linear::<&Tensor>(&self.output, None)
    }

    /// x `[T, B, 2 D]`, what it selects, and h `[B, N, 2 D]` before it, to hᵀ C `[T, B, 2 D]` and
    /// h after it.
    fn state_space(
        &self,
        x: &Tensor,
        selected: &ScanParameters,
        before: &Tensor,
        resets: &Resets,
    ) -> (Tensor, Tensor) {
        let (time, batch, channels) = x.size3().expect("channels have shape [T, B, 2 D]");
        assert_eq!([time, batch], [resets.time(), resets.batch()].map(|n| n as i64));
        assert_eq!(before.size(), [batch, self.log_decay.size()[0], channels], "h before x");
        let chunk = chunk_length(before);
        let chunks = |tensor: &Tensor| tensor.split(chunk, 0);
        // Each `[t, B, N or 1, 2 D or 1]`. Split once, so that gradients are joined once.
        let first: Tensor = 1.0 - resets.kept(x.kind(), x.device());
        let shut = chunks(&(first * SHUT).unsqueeze(2));
        let delta = chunks(&selected.delta.unsqueeze(2));
        let amount = chunks(&(&selected.delta * x).unsqueeze(2));
        let write = chunks(&selected.write.unsqueeze(3));
        let read = chunks(&selected.read.unsqueeze(2));
        let decay = self.decay();
        let mut h = before.shallow_clone();
        let mut outputs = Vec::with_capacity(shut.len());
        for i in 0..shut.len() {
            let factors = shut[i].addcmul(&delta[i], &decay).exp2_();
            let all = scan(&factors, &(&write[i] * &amount[i]), &h); // [t, B, N, 2 D]
            outputs.push(read[i].matmul(&all).squeeze_dim(2));
            h = all.get(-1);
        }
        // A copy, so that the state does not keep its chunk.
        (Tensor::cat(&outputs, 0), h.copy())
    }
}

/// The moments whose h fill a chunk.
fn chunk_length(h: &Tensor) -> i64 {
    let bytes = h.numel() as i64 * h.kind().elt_size_in_bytes() as i64;
    let chunk = if h.device() == Device::Cpu { CPU_CHUNK } else { CUDA_CHUNK };
    (chunk / bytes.max(1)).max(1)
}

/// b_Δ from `uniform`, numbers in [0, 1): softplus⁻¹ of a Δ uniform in its logarithm.
fn initial_delta_bias(uniform: &Tensor) -> Tensor {
    let [low, high] = INITIAL_DELTA.map(f64::ln);
    let delta = (uniform * (high - low) + low).exp().clamp_min(LOWEST_INITIAL_DELTA);
    &delta + (-(-&delta).expm1()).log()
}
