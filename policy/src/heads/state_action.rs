//! Critics of actions that are vectors: an ensemble of fully connected networks, each of which values
//! what is remembered together with the vector.
//!
//! All members are computed at once: the first layer as one matrix product, since all see the same
//! numbers, the others as a batch of them (as in REDQ, Chen et al. 2021,
//! <https://arxiv.org/abs/2101.05982>).

use tch::Tensor;

use crate::config::{Activation, HeadConfig};
use crate::mlp::Linear;
use crate::parameters::Parameters;

/// E critics of `[.., H]` and vectors `[.., A]`.
pub(crate) struct StateActionHeads {
    /// Layer of the vector's own, before it goes beside what is remembered.
    embedder: Option<Linear>,
    layers: Vec<EnsembleLinear>,
    activation: Activation,
}

/// `y_e = x_e W_eᵀ + b_e` for each of E members.
struct EnsembleLinear {
    /// `[E, outputs, inputs]`.
    weight: Tensor,
    /// `[E, 1, outputs]`.
    bias: Tensor,
}

impl StateActionHeads {
    /// So many `critics` of H `inputs` and A numbers of a vector.
    pub(crate) fn new(
        critics: usize,
        config: &HeadConfig,
        [inputs, actions]: [i64; 2],
        p: &mut Parameters,
    ) -> Self {
        let name = "state_action_values";
        let embedder = config.action.map(|width| {
            Linear::new(p, &format!("{name}.action"), actions, width, config.init.hidden)
        });
        let mut width = inputs + config.action.unwrap_or(actions);
        let mut layers = Vec::with_capacity(config.hidden.len() + 1);
        for (i, outputs) in config.hidden.iter().copied().chain([1]).enumerate() {
            let last = i == config.hidden.len();
            let init = if last { config.init.action_values } else { config.init.hidden };
            let (critics, shape, name) = (critics as i64, [outputs, width], format!("{name}.{i}"));
            layers.push(EnsembleLinear {
                weight: p.ensemble_weight(format!("{name}.weight"), critics, &shape, init),
                bias: p.ensemble_bias(format!("{name}.bias"), critics, &shape, init),
            });
            width = outputs;
        }
        StateActionHeads { embedder, layers, activation: config.activation }
    }

    /// The critics whose numbers `members` holds, i64 `[M]`, with copies of their weights.
    pub(crate) fn some(&self, members: &Tensor) -> Self {
        let copied = |Linear { weight, bias }: &Linear| Linear {
            weight: weight.shallow_clone(),
            bias: bias.shallow_clone(),
        };
        let drawn = |EnsembleLinear { weight, bias }: &EnsembleLinear| EnsembleLinear {
            weight: weight.index_select(0, members),
            bias: bias.index_select(0, members),
        };
        StateActionHeads {
            embedder: self.embedder.as_ref().map(copied),
            layers: self.layers.iter().map(drawn).collect(),
            activation: self.activation,
        }
    }

    /// Values of each critic, `[E, ..]`.
    pub(crate) fn forward(&self, x: &Tensor, vectors: &Tensor) -> Tensor {
        let mut shape = x.size();
        let inputs = shape.pop().expect("[.., H]");
        assert_eq!(vectors.size()[..shape.len()], shape, "one vector for each row");
        let actions = vectors.size()[shape.len()];
        let vectors = vectors.reshape([-1, actions]).to_kind(x.kind());
        let vectors = match &self.embedder {
            Some(embedder) => embedder.forward(&vectors),
            None => vectors,
        };
        let together = Tensor::cat(&[x.reshape([-1, inputs]), vectors], 1);
        let (first, others) = self.layers.split_first().expect("a last layer");
        let mut y = first.spread(&together);
        for layer in others {
            y = layer.forward(&self.activation.of(y));
        }
        shape.insert(0, y.size()[0]);
        y.view(shape.as_slice())
    }
}

impl EnsembleLinear {
    /// `[N, inputs]`, the same for all members, to `[E, N, outputs]`.
    fn spread(&self, x: &Tensor) -> Tensor {
        let (members, outputs, inputs) = self.weight.size3().expect("[E, outputs, inputs]");
        let weight = self.weight.view([members * outputs, inputs]);
        let y = x.linear(&weight, Some(&self.bias.view([members * outputs])));
        match members {
            1 => y.unsqueeze(0),
            _ => y.view([-1, members, outputs]).transpose(0, 1).contiguous(),
        }
    }

    /// `[E, N, inputs]` to `[E, N, outputs]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        self.bias.baddbmm(x, &self.weight.transpose(1, 2), 1, 1)
    }
}
