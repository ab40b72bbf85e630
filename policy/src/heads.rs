//! From what is remembered to a distribution of actions and a value.

use engram_mdp::ActionSpec;
use tch::Tensor;

use crate::config::HeadConfig;
use crate::distribution::Distribution;
use crate::mlp::{Linear, Mlp};
use crate::parameters::Parameters;

/// The policy's and the value's heads, which share no layer.
pub(crate) struct Heads {
    policy: Head,
    /// Log standard deviations `[A]` where actions are continuous.
    log_std: Option<Tensor>,
    value: Head,
}

struct Head {
    hidden: Mlp,
    last: Linear,
}

impl Heads {
    pub(crate) fn new(
        config: &HeadConfig,
        inputs: i64,
        action: ActionSpec,
        p: &mut Parameters,
    ) -> Self {
        let outputs = match action {
            ActionSpec::Discrete { count } => count as i64,
            ActionSpec::Continuous { dimensions } => dimensions as i64,
        };
        let policy = Head::new(config, "policy", inputs, outputs, p);
        // A standard deviation of 1 makes squashed actions spread nearly evenly over [-1, 1].
        let log_std = match action {
            ActionSpec::Discrete { .. } => None,
            ActionSpec::Continuous { .. } => {
                Some(p.constant("policy.log_std".into(), &[outputs], 0.0))
            }
        };
        Heads { policy, log_std, value: Head::new(config, "value", inputs, 1, p) }
    }

    /// `[.., H]` to a distribution over `[..]` actions and values `[..]`.
    pub(crate) fn forward(&self, x: &Tensor) -> (Distribution, Tensor) {
        let policy = self.policy.forward(x);
        let distribution = match &self.log_std {
            None => Distribution::Categorical { logits: policy },
            Some(log_std) => {
                let log_std = log_std.expand_as(&policy);
                Distribution::Gaussian { mean: policy, log_std }
            }
        };
        (distribution, self.value.forward(x).squeeze_dim(-1))
    }
}

impl Head {
    fn new(config: &HeadConfig, name: &str, inputs: i64, outputs: i64, p: &mut Parameters) -> Self {
        let hidden = Mlp::new(p, name, inputs, &config.hidden, config.activation);
        let name = format!("{name}.{}", config.hidden.len());
        let last = Linear::new(p, &name, hidden.outputs(), outputs);
        Head { hidden, last }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.last.forward(&self.hidden.forward(x))
    }
}
