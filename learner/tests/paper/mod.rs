//! The formulas of DDPG, TD3 and SAC over plain numbers, for feed-forward heads of two layers.

use std::collections::BTreeMap;
use std::f64::consts::{LN_2, PI};

use engram_mdp::{Actions, Ending, Observations, StepType, Trajectory};
use tch::{Kind, Tensor};

use crate::fixtures::VECTOR;

const GAMMA: f64 = 0.9;

/// Weights by name, as plain numbers.
pub(crate) type Weights = BTreeMap<String, Vec<f64>>;

/// `named`, each name behind `part`.
pub(crate) fn numbers(part: &str, named: &[(String, Tensor)]) -> Weights {
    let flat = |x: &Tensor| x.detach().to_kind(Kind::Double).contiguous().view(-1);
    let all = named
        .iter()
        .map(|(name, x)| (format!("{part}{name}"), Vec::try_from(flat(x)).expect("numbers")));
    all.collect()
}

/// One decision, and where it lies among rows of frames.
#[derive(Clone, Debug)]
struct Step {
    t: usize,
    row: usize,
    observation: Vec<f64>,
    action: Vec<f64>,
    reward: f64,
    next: Vec<f64>,
    terminated: bool,
}

/// Decisions, and all weights.
#[derive(Clone, Debug)]
pub(crate) struct Paper {
    steps: Vec<Step>,
    rows: usize,
    pub(crate) weights: Weights,
}

impl Paper {
    /// The decisions of `rows` where `mask`, `[T, B]`, is 1.
    pub(crate) fn new(rows: &[Trajectory], mask: &Tensor, weights: Weights) -> Self {
        let mut steps = Vec::new();
        for (row, trajectory) in rows.iter().enumerate() {
            let frames = &trajectory.frames;
            let Observations::F32(seen) = &frames.observations else { panic!("numbers") };
            let Actions::Continuous(taken) = &frames.previous_actions else { panic!("vectors") };
            let width = seen.len() / frames.step_types.len();
            let part = |all: &[f32], width: usize, at: usize| {
                all[at * width..(at + 1) * width].iter().map(|&x| f64::from(x)).collect()
            };
            for t in 0..frames.step_types.len() - 1 {
                if mask.double_value(&[t as i64, row as i64]) == 0.0 {
                    continue;
                }
                steps.push(Step {
                    t,
                    row,
                    observation: part(seen, width, t),
                    action: part(taken, VECTOR, t + 1),
                    reward: f64::from(frames.previous_rewards[t + 1]),
                    next: part(seen, width, t + 1),
                    terminated: frames.step_types[t + 1] == StepType::Last(Ending::Terminated),
                });
            }
        }
        assert!(steps.iter().any(|step| step.terminated) && steps.len() > 4);
        Paper { steps, rows: rows.len(), weights }
    }

    /// Two layers below `part`, those of member `member` of an ensemble.
    fn heads(&self, part: &str, member: usize, x: &[f64]) -> Vec<f64> {
        let layer = |number: usize, x: &[f64]| {
            let weight = &self.weights[&format!("{part}.{number}.weight")];
            let bias = &self.weights[&format!("{part}.{number}.bias")];
            let outputs = if number == 0 { 5 } else { self.last_outputs(part) };
            let (w, b) = (member * outputs * x.len(), member * outputs);
            let of = |o: usize| {
                let row = &weight[w + o * x.len()..w + (o + 1) * x.len()];
                row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias[b + o]
            };
            (0..outputs).map(of).collect::<Vec<f64>>()
        };
        let hidden: Vec<f64> = layer(0, x).into_iter().map(f64::tanh).collect();
        layer(1, &hidden)
    }

    fn last_outputs(&self, part: &str) -> usize {
        match part.ends_with("policy") {
            true => self.weights[&format!("{part}.1.bias")].len(),
            false => 1,
        }
    }

    /// Q of one critic of the network `of`.
    fn value(&self, of: &str, member: usize, observation: &[f64], action: &[f64]) -> f64 {
        let x = [observation, action].concat();
        self.heads(&format!("{of}state_action_values"), member, &x)[0]
    }

    /// Action and its log-density by the Gaussian policy of `of` with this noise.
    fn soft_action(&self, of: &str, observation: &[f64], noise: &[f64]) -> (Vec<f64>, f64) {
        let says = self.heads(&format!("{of}policy"), 0, observation);
        let (mut action, mut log_prob) = (Vec::new(), 0.0);
        for (i, noise) in noise.iter().enumerate() {
            let (mean, log_std) = (says[i], says[VECTOR + i].clamp(-20.0, 2.0));
            let u = mean + log_std.exp() * noise;
            action.push(u.tanh());
            let slope = 2.0 * (LN_2 - u - (-2.0 * u).exp().ln_1p());
            log_prob += -0.5 * noise * noise - log_std - 0.5 * (2.0 * PI).ln() - slope;
        }
        (action, log_prob)
    }

    fn certain_action(&self, of: &str, observation: &[f64]) -> Vec<f64> {
        self.heads(&format!("{of}policy"), 0, observation).into_iter().map(f64::tanh).collect()
    }

    /// Noise of frame `t` of a row.
    fn noise_at<'a>(&self, noise: &'a [f64], t: usize, row: usize) -> &'a [f64] {
        let at = (t * self.rows + row) * VECTOR;
        &noise[at..at + VECTOR]
    }

    /// Targets of SAC by the critics `members` of the network `target`.
    pub(crate) fn soft_targets(
        &self,
        actor: &str,
        target: &str,
        members: &[usize],
        alpha: f64,
        noise: &[f64],
    ) -> Vec<f64> {
        let of: Vec<(String, usize)> = members.iter().map(|&m| (target.into(), m)).collect();
        self.soft_targets_of(actor, &of, alpha, noise)
    }

    /// The same by members of several networks.
    pub(crate) fn soft_targets_of(
        &self,
        actor: &str,
        critics: &[(String, usize)],
        alpha: f64,
        noise: &[f64],
    ) -> Vec<f64> {
        let target = |step: &Step| {
            let noise = self.noise_at(noise, step.t + 1, step.row);
            let (action, log_prob) = self.soft_action(actor, &step.next, noise);
            let values = critics.iter().map(|(of, m)| self.value(of, *m, &step.next, &action));
            let least = values.fold(f64::INFINITY, f64::min);
            let goes_on = if step.terminated { 0.0 } else { GAMMA };
            step.reward + goes_on * (least - alpha * log_prob)
        };
        self.steps.iter().map(target).collect()
    }

    /// Targets of DDPG and TD3; `smoothing` is what is added to number i of all next actions.
    pub(crate) fn certain_targets(
        &self,
        actor: &str,
        target: &str,
        members: &[usize],
        smoothing: impl Fn(usize) -> f64,
    ) -> Vec<f64> {
        let of = |step: &Step| {
            let first = (step.t * self.rows + step.row) * VECTOR;
            let action: Vec<f64> = (self.certain_action(actor, &step.next).into_iter())
                .enumerate()
                .map(|(i, a)| (a + smoothing(first + i)).clamp(-1.0, 1.0))
                .collect();
            let values = members.iter().map(|&m| self.value(target, m, &step.next, &action));
            let least = values.fold(f64::INFINITY, f64::min);
            step.reward + if step.terminated { 0.0 } else { GAMMA * least }
        };
        self.steps.iter().map(of).collect()
    }

    /// Sum over critics of the mean squared error.
    pub(crate) fn critic_loss(&self, targets: &[f64], networks: &[&str], members: usize) -> f64 {
        let mut sum = 0.0;
        for network in networks {
            for member in 0..members {
                for (step, target) in self.steps.iter().zip(targets) {
                    let value = self.value(network, member, &step.observation, &step.action);
                    sum += (target - value).powi(2);
                }
            }
        }
        sum / self.steps.len() as f64
    }

    /// SAC's loss of the actor, and its entropy.
    pub(crate) fn soft_actor_loss(
        &self,
        actor: &str,
        networks: &[&str],
        members: usize,
        judged: impl Fn(&[f64]) -> f64,
        alpha: f64,
        noise: &[f64],
    ) -> (f64, f64) {
        let (mut loss, mut entropy) = (0.0, 0.0);
        for step in &self.steps {
            let noise = self.noise_at(noise, step.t, step.row);
            let (action, log_prob) = self.soft_action(actor, &step.observation, noise);
            let values: Vec<f64> = networks
                .iter()
                .flat_map(|network| (0..members).map(move |member| (network, member)))
                .map(|(network, member)| self.value(network, member, &step.observation, &action))
                .collect();
            loss += alpha * log_prob - judged(&values);
            entropy -= log_prob;
        }
        let count = self.steps.len() as f64;
        (loss / count, entropy / count)
    }

    /// DDPG's and TD3's loss of the actor: what the first critic finds its actions worth.
    pub(crate) fn certain_actor_loss(&self, actor: &str, critic: &str) -> f64 {
        let value = |step: &Step| {
            let action = self.certain_action(actor, &step.observation);
            self.value(critic, 0, &step.observation, &action)
        };
        -self.steps.iter().map(value).sum::<f64>() / self.steps.len() as f64
    }
}
