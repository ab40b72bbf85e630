//! From what is remembered to what is done: a distribution of actions, the value of a frame, the
//! values of actions there, or of a vector that is given (`heads/state_action.rs`).
//!
//! The algorithm decides which of them a network has ([`Outputs`]); how wide they are is the
//! sequence model's ([`HeadConfig`]). They share no layer.

mod state_action;

use std::fmt;

use engram_mdp::ActionSpec;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use self::state_action::StateActionHeads;
use crate::config::HeadConfig;
use crate::distribution::Distribution;
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::{Linear, Mlp};
use crate::parameters::Parameters;

/// Outputs of a network at every frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outputs {
    /// A distribution of actions, and the value of the frame.
    ActorCritic {},
    /// A distribution of actions alone.
    Actor {},
    /// The values of all (discrete) actions, by one critic or more. Such a network takes the
    /// action that its first critic values most.
    ActionValues {
        /// Critics.
        critics: usize,
        /// Description of a return by a critic.
        returns: Returns,
    },
    /// A distribution of actions, and the values of all of them by one critic or more.
    ActorAndActionValues {
        /// Critics.
        critics: usize,
        /// Description of a return by a critic.
        returns: Returns,
    },
    /// Vectors of actions, beside critics of them or alone.
    VectorActor {
        /// Spread of the vectors.
        spread: VectorSpread,
        /// Critics, which value the vector that they are given; may be 0.
        critics: usize,
    },
    /// Critics alone, which value the vector that they are given. Such a network does not act.
    StateActionValues {
        /// Critics.
        critics: usize,
    },
}

/// Spread of the vectors that an actor chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorSpread {
    /// tanh of Gaussians, whose means and standard deviations both follow from the frame (Haarnoja
    /// et al. 2018, <https://arxiv.org/abs/1812.05905>).
    Gaussian,
    /// None: one vector, by tanh (Lillicrap et al. 2016, <https://arxiv.org/abs/1509.02971>).
    Deterministic,
}

/// Range of the log standard deviations of an actor that says them of each frame, as in the authors'
/// code of Haarnoja et al. 2018.
const LOG_STD: [f64; 2] = [-20.0, 2.0];

/// Description of the return that follows an action, by a critic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Returns {
    /// Its expectation.
    Expected {},
    /// Its distribution over `atoms` returns, evenly spaced from `least` to `greatest`: C51,
    /// Bellemare et al. 2017, <https://arxiv.org/abs/1707.06887>.
    Categorical {
        /// Atoms; at least 2.
        atoms: i64,
        /// The return of the first one.
        least: f64,
        /// The return of the last one.
        greatest: f64,
    },
    /// So many quantiles of it: QR-DQN, Dabney et al. 2017, <https://arxiv.org/abs/1710.10044>.
    Quantiles {
        /// Quantiles, at the midpoints of as many equal shares.
        quantiles: i64,
    },
}

/// Values of the actions at frames `[..]`, by one critic.
#[derive(Debug)]
pub struct ActionValues {
    /// `[.., A]` where returns are expected; else `[.., A, N]`: the logits of atoms, or quantiles.
    pub raw: Tensor,
    /// Meaning of the numbers.
    pub returns: Returns,
}

/// Values of a network at frames `[..]`.
#[derive(Debug)]
pub enum Values {
    /// Nothing.
    None,
    /// The frames, `[..]`.
    Frames(Tensor),
    /// Every action at them, by each critic.
    Actions(Vec<ActionValues>),
}

impl Outputs {
    /// Refuses heads that an environment's actions cannot have, and numbers out of range.
    pub(crate) fn check(&self, action: ActionSpec) -> Result<(), PolicyError> {
        let good = match self {
            Outputs::ActorCritic {} | Outputs::Actor {} => true,
            Outputs::ActionValues { critics, returns }
            | Outputs::ActorAndActionValues { critics, returns } => {
                if let ActionSpec::Continuous { dimensions } = action {
                    return Err(PolicyError::ContinuousActions { dimensions });
                }
                (1..=64).contains(critics) && (1..=4096).contains(&returns.numbers())
            }
            Outputs::VectorActor { critics, .. } | Outputs::StateActionValues { critics } => {
                if let ActionSpec::Discrete { count } = action {
                    return Err(PolicyError::DiscreteActions { count });
                }
                *critics <= 64
            }
        };
        assert!(good, "algorithms check what they ask for: {self}");
        Ok(())
    }

    fn has_policy(&self) -> bool {
        !matches!(self, Outputs::ActionValues { .. } | Outputs::StateActionValues { .. })
    }

    /// Critics of vectors.
    fn vector_critics(&self) -> usize {
        match *self {
            Outputs::VectorActor { critics, .. } | Outputs::StateActionValues { critics } => {
                critics
            }
            _ => 0,
        }
    }
}

/// One line of JSON.
impl fmt::Display for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("outputs are JSON"))
    }
}

impl Returns {
    /// Numbers by which a critic describes the return of one action.
    fn numbers(self) -> i64 {
        match self {
            Returns::Expected {} => 1,
            Returns::Categorical { atoms, .. } => atoms,
            Returns::Quantiles { quantiles } => quantiles,
        }
    }

    /// The returns that atoms stand for, `[N]`; `None` where there are no atoms.
    pub fn support(self, like: &Tensor) -> Option<Tensor> {
        let Returns::Categorical { atoms, least, greatest } = self else { return None };
        Some(Tensor::linspace(least, greatest, atoms, (like.kind(), like.device())))
    }
}

impl ActionValues {
    /// The expected returns of all actions, `[.., A]`.
    pub fn expected(&self) -> Tensor {
        match self.returns {
            Returns::Expected {} => self.raw.shallow_clone(),
            Returns::Categorical { .. } => {
                let support = self.returns.support(&self.raw).expect("atoms have a support");
                self.raw.softmax(-1, None::<Kind>).matmul(&support)
            }
            Returns::Quantiles { .. } => self.raw.mean_dim(-1, false, None::<Kind>),
        }
    }
}

impl Values {
    /// The values of the frames, `[..]`, by a network that has them.
    pub fn frames(&self) -> &Tensor {
        match self {
            Values::Frames(values) => values,
            _ => panic!("this network does not value frames"),
        }
    }

    /// The values of actions, one of each critic, by a network that has them.
    pub fn actions(&self) -> &[ActionValues] {
        match self {
            Values::Actions(values) => values,
            _ => panic!("this network does not value actions"),
        }
    }
}

/// All heads of a network.
pub(crate) struct Heads {
    policy: Option<PolicyHead>,
    value: Option<Head>,
    critics: Vec<Head>,
    returns: Returns,
    actions: i64,
    state_action: Option<StateActionHeads>,
}

struct PolicyHead {
    head: Head,
    form: PolicyForm,
}

/// Meaning of a policy head's numbers.
enum PolicyForm {
    /// Logits of the actions.
    Logits,
    /// Means; beside them log standard deviations `[A]`, the same at every frame.
    Means { log_std: Tensor },
    /// Means, then log standard deviations.
    MeansAndSpreads,
    /// Vectors before the tanh.
    Vectors,
}

struct Head {
    hidden: Mlp,
    last: Linear,
}

impl Heads {
    pub(crate) fn new(
        outputs: &Outputs,
        config: &HeadConfig,
        inputs: i64,
        action: ActionSpec,
        p: &mut Parameters,
    ) -> Self {
        let policy =
            outputs.has_policy().then(|| PolicyHead::new(outputs, config, inputs, action, p));
        let value = matches!(outputs, Outputs::ActorCritic {})
            .then(|| Head::new(config, "value", inputs, 1, config.init.value, p));
        let actions = action.width() as i64;
        let (critics, returns) = match *outputs {
            Outputs::ActionValues { critics, returns }
            | Outputs::ActorAndActionValues { critics, returns } => (critics, returns),
            _ => (0, Returns::Expected {}),
        };
        let critic = |i| {
            let (name, numbers) = (format!("action_values.{i}"), actions * returns.numbers());
            Head::new(config, &name, inputs, numbers, config.init.action_values, p)
        };
        let critics = (0..critics).map(critic).collect();
        let state_action = match outputs.vector_critics() {
            0 => None,
            critics => Some(StateActionHeads::new(critics, config, [inputs, actions], p)),
        };
        Heads { policy, value, critics, returns, actions, state_action }
    }

    /// `[.., H]` to a distribution over `[..]` actions and values of `[..]`.
    pub(crate) fn forward(&self, x: &Tensor) -> (Distribution, Values) {
        let values = match &self.value {
            Some(value) => Values::Frames(value.forward(x).squeeze_dim(-1)),
            None if self.critics.is_empty() => Values::None,
            None => Values::Actions(self.action_values(x)),
        };
        let distribution = match &self.policy {
            Some(policy) => policy.forward(x),
            None => Distribution::Greedy { values: values.actions()[0].expected() },
        };
        (distribution, values)
    }

    /// `[.., H]` to a distribution over `[..]` actions, by networks that have a policy.
    pub(crate) fn policy(&self, x: &Tensor) -> Distribution {
        self.policy.as_ref().expect("this network has a policy").forward(x)
    }

    /// `[.., H]` and vectors `[.., A]` to what each of E critics says of them, `[E, ..]`.
    pub(crate) fn state_action_values(&self, x: &Tensor, vectors: &Tensor) -> Tensor {
        self.vector_critics().forward(x, vectors)
    }

    /// The same by the critics alone whose numbers `members` holds, i64 `[M]`: `[M, ..]`.
    pub(crate) fn some_state_action_values(
        &self,
        members: &Tensor,
        x: &Tensor,
        vectors: &Tensor,
    ) -> Tensor {
        self.vector_critics().some(members).forward(x, vectors)
    }

    fn vector_critics(&self) -> &StateActionHeads {
        self.state_action.as_ref().expect("this network values vectors of actions")
    }

    /// `[.., H]` to what each critic says of `[..]`.
    pub(crate) fn action_values(&self, x: &Tensor) -> Vec<ActionValues> {
        let returns = self.returns;
        let of = |critic: &Head| {
            let raw = critic.forward(x);
            let raw = match returns {
                Returns::Expected {} => raw,
                _ => {
                    let mut shape = raw.size();
                    *shape.last_mut().expect("a last dimension") = self.actions;
                    shape.push(returns.numbers());
                    raw.view(shape.as_slice())
                }
            };
            ActionValues { raw, returns }
        };
        self.critics.iter().map(of).collect()
    }
}

impl PolicyHead {
    fn new(
        outputs: &Outputs,
        config: &HeadConfig,
        inputs: i64,
        action: ActionSpec,
        p: &mut Parameters,
    ) -> Self {
        let actions = action.width() as i64;
        let numbers = match outputs {
            Outputs::VectorActor { spread: VectorSpread::Gaussian, .. } => 2 * actions,
            _ => actions,
        };
        let head = Head::new(config, "policy", inputs, numbers, config.init.policy, p);
        let form = match (outputs, action) {
            (_, ActionSpec::Discrete { .. }) => PolicyForm::Logits,
            (Outputs::VectorActor { spread, .. }, _) => match spread {
                VectorSpread::Gaussian => PolicyForm::MeansAndSpreads,
                VectorSpread::Deterministic => PolicyForm::Vectors,
            },
            // A standard deviation of 1 makes squashed actions spread nearly evenly over [-1, 1].
            _ => {
                PolicyForm::Means { log_std: p.constant("policy.log_std".into(), &[actions], 0.0) }
            }
        };
        PolicyHead { head, form }
    }

    fn forward(&self, x: &Tensor) -> Distribution {
        let policy = self.head.forward(x);
        match &self.form {
            PolicyForm::Logits => Distribution::Categorical { logits: policy },
            PolicyForm::Means { log_std } => {
                let log_std = log_std.expand_as(&policy);
                Distribution::Gaussian { mean: policy, log_std }
            }
            PolicyForm::MeansAndSpreads => {
                let [mean, log_std]: [Tensor; 2] =
                    policy.chunk(2, -1).try_into().expect("two halves");
                let [least, greatest] = LOG_STD;
                Distribution::Gaussian { mean, log_std: log_std.clamp(least, greatest) }
            }
            PolicyForm::Vectors => Distribution::Deterministic { raw: policy },
        }
    }
}

impl Head {
    /// One whose last layer starts as `last` says.
    fn new(
        config: &HeadConfig,
        name: &str,
        inputs: i64,
        outputs: i64,
        last: Initialization,
        p: &mut Parameters,
    ) -> Self {
        let &HeadConfig { ref hidden, activation, init, action: _ } = config;
        let hidden = Mlp::new(p, name, inputs, hidden, activation, init.hidden);
        let name = format!("{name}.{}", config.hidden.len());
        let last = Linear::new(p, &name, hidden.outputs(), outputs, last);
        Head { hidden, last }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.last.forward(&self.hidden.forward(x))
    }
}
