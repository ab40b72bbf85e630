//! V-trace: value targets and advantages, corrected for actions that an older policy chose.
//!
//! Espeholt et al. 2018, section 4.1, <https://arxiv.org/abs/1802.01561>. Nothing here is
//! differentiated, so the numbers of an unroll are brought to the host in one copy and worked
//! through in plain loops, whatever the device. As tensors the recursion would launch kernels for
//! every step, each on a handful of numbers: on one core that takes 65 µs where this takes 25
//! (T=20, B=64), and 200 where this takes 45 (T=100, B=32).

use tch::{Device, Kind, Tensor};

/// Clips of V-trace, which trade bias for variance. Infinity switches one off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VtraceOptions {
    /// ρ̄, the largest importance weight of a temporal difference: it decides which policy's values
    /// are learned, between the behavior policy (ρ̄ near 0) and the target policy (infinity).
    pub rho_clip: f64,
    /// c̄, the largest importance weight of a trace: it decides how fast, not what.
    pub c_clip: f64,
    /// The largest importance weight of an advantage; `None` leaves advantages unweighted, for a
    /// loss that weighs them itself.
    pub pg_rho_clip: Option<f64>,
    /// λ, by which every trace is multiplied (remark 2 of the paper).
    pub lambda: f64,
}

/// An unroll as V-trace sees it. Everything has shape `[T, B]` but the values.
#[derive(Clone, Copy, Debug)]
pub struct VtraceInput<'a> {
    /// log π(a_t | x_t): of the policy being learned.
    pub target_log_probs: &'a Tensor,
    /// log μ(a_t | x_t): of the policy that acted.
    pub behavior_log_probs: &'a Tensor,
    /// The reward that followed the decision.
    pub rewards: &'a Tensor,
    /// Weight of the value of the next frame: γ, or 0 where that frame terminated the episode.
    pub discounts: &'a Tensor,
    /// 1, or 0 where the frame is the Last of its episode and the decision meant nothing.
    pub weights: &'a Tensor,
    /// V(x_t), of shape `[T + 1, B]`.
    pub values: &'a Tensor,
}

/// Targets and advantages of an unroll. The tensors have shape `[T, B]`, and the values' kind and
/// device.
#[derive(Debug)]
pub struct VtraceReturns {
    /// v_t: what V(x_t) should have been. At a Last frame V(x_t) itself.
    pub targets: Tensor,
    /// ρ_t (r_t + γ v_{t+1} − V(x_t)): how much better the action was, by its importance weight. At a
    /// Last frame 0.
    pub advantages: Tensor,
    /// Summary for graphs.
    pub summary: VtraceSummary,
}

/// Means over the decisions of an unroll, Last frames left out; zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VtraceSummary {
    /// Number of decisions.
    pub decisions: f64,
    /// The importance weight π / μ, not clipped: 1 when nothing has changed since the actors acted.
    pub mean_rho: f64,
    /// V(x_t).
    pub mean_value: f64,
    /// The share of the targets' variance that the values account for: 1 is perfect, 0 as good as
    /// a constant. Zero where the targets do not vary.
    pub explained_variance: f64,
}

/// Value targets (eq. 1 of the paper, by its recursion) and policy-gradient advantages.
///
/// A Last frame has no decision: its temporal difference is zero and its trace is cut, so its
/// target is its own value. The step before it bootstraps from that value if the episode was
/// truncated, and from nothing (a discount of zero) if it was terminated.
pub fn vtrace(input: &VtraceInput<'_>, options: VtraceOptions) -> VtraceReturns {
    let (unroll_length, batch) = input.checked_shape();
    let host = input.to_host();
    let cells = unroll_length * batch;
    let [target_log_probs, behavior_log_probs, rewards, discounts, weights] =
        [0, 1, 2, 3, 4].map(|column| &host[column * cells..(column + 1) * cells]);
    let values = &host[5 * cells..];

    let mut result = vec![0.0; 2 * cells];
    let (targets, advantages) = result.split_at_mut(cells);
    let mut summary = VtraceSums::default();
    // v_{t+1} − V(x_{t+1}) of every row of the batch, while t runs backwards.
    let mut correction = vec![0.0; batch];
    for t in (0..unroll_length).rev() {
        for (b, correction) in correction.iter_mut().enumerate() {
            let (here, next) = (t * batch + b, (t + 1) * batch + b);
            if weights[here] == 0.0 {
                *correction = 0.0;
                targets[here] = values[here];
                continue;
            }
            let ratio = (target_log_probs[here] - behavior_log_probs[here]).exp();
            let (reward, discount) = (rewards[here], discounts[here]);
            let rho = clipped(ratio, options.rho_clip);
            let c = options.lambda * clipped(ratio, options.c_clip);
            let delta = rho * (reward + discount * values[next] - values[here]);
            let next_target = values[next] + *correction;
            let weight = options.pg_rho_clip.map_or(1.0, |clip| clipped(ratio, clip));
            advantages[here] = weight * (reward + discount * next_target - values[here]);
            *correction = delta + discount * c * *correction;
            targets[here] = values[here] + *correction;
            summary.add(ratio, values[here], targets[here]);
        }
    }

    let returns = Tensor::from_slice(&result)
        .view([2, unroll_length as i64, batch as i64])
        .to_kind(input.values.kind())
        .to_device(input.values.device());
    VtraceReturns { targets: returns.get(0), advantages: returns.get(1), summary: summary.means() }
}

/// The smaller of the two; what is not a number stays so, and is noticed later.
fn clipped(ratio: f64, clip: f64) -> f64 {
    if ratio > clip { clip } else { ratio }
}

impl VtraceInput<'_> {
    /// T and B.
    fn checked_shape(&self) -> (usize, usize) {
        let (unroll_length, batch) = self.rewards.size2().expect("rewards are [T, B]");
        let columns = [
            ("target_log_probs", self.target_log_probs),
            ("behavior_log_probs", self.behavior_log_probs),
            ("discounts", self.discounts),
            ("weights", self.weights),
        ];
        for (name, column) in columns {
            assert_eq!(column.size(), [unroll_length, batch], "{name} are [T, B]");
        }
        let expected = [unroll_length + 1, batch];
        assert_eq!(self.values.size(), expected, "values are [T + 1, B]");
        (unroll_length as usize, batch as usize)
    }

    /// Everything, one after another, in the order of the fields: one copy from the device.
    fn to_host(self) -> Vec<f64> {
        let columns = [
            self.target_log_probs,
            self.behavior_log_probs,
            self.rewards,
            self.discounts,
            self.weights,
            self.values,
        ];
        let flat = columns.map(|column| column.detach().flatten(0, 1));
        let all = Tensor::cat(&flat, 0).to_device(Device::Cpu).to_kind(Kind::Double);
        let mut host = vec![0.0; all.numel()];
        all.copy_data(&mut host, all.numel());
        host
    }
}

/// Sums of what a [`VtraceSummary`] holds the means of.
#[derive(Default)]
struct VtraceSums {
    count: f64,
    ratio: f64,
    value: f64,
    target: f64,
    target_square: f64,
    error: f64,
    error_square: f64,
}

impl VtraceSums {
    fn add(&mut self, ratio: f64, value: f64, target: f64) {
        let error = target - value;
        self.count += 1.0;
        self.ratio += ratio;
        self.value += value;
        self.target += target;
        self.target_square += target * target;
        self.error += error;
        self.error_square += error * error;
    }

    fn means(&self) -> VtraceSummary {
        let count = self.count.max(1.0);
        let variance = |sum: f64, squares: f64| squares / count - (sum / count).powi(2);
        let total = variance(self.target, self.target_square);
        let left = variance(self.error, self.error_square);
        VtraceSummary {
            decisions: self.count,
            mean_rho: self.ratio / count,
            mean_value: self.value / count,
            explained_variance: if total > 1e-12 { 1.0 - left / total } else { 0.0 },
        }
    }
}
