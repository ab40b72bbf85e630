//! Critics of vectors: their networks, the targets that follow them, and what moves them.

use engram_mdp::{Generator, Seed};
use engram_policy::{Outputs, Policy};
use tch::{Tensor, no_grad};

use super::config::{CriticEncoder, CriticsConfig};
use crate::algorithms::optimizer::Optimizer;
use crate::algorithms::replay_batch::ReplayBatch;
use crate::algorithms::state_dict::{StateDict, StateError, below, copies, restore, under};
use crate::algorithms::target_network::update_target;
use crate::config::OffPolicyConfig;
use crate::losses::state_action::ValueGuard;

/// Critics, between two updates.
pub(super) struct Critics {
    config: CriticsConfig,
    /// Networks beside the acting one, none where that one holds the critics.
    pub(super) networks: Vec<Policy>,
    /// Followers of each of them, or of the acting network.
    targets: Vec<Policy>,
    /// That of `networks`, where there are any.
    pub(super) optimizer: Option<Optimizer>,
    pub(super) guard: Option<ValueGuard>,
}

impl Critics {
    /// Those of a run that begins; networks of their own start from `seed`.
    pub(super) fn new<O>(
        config: &CriticsConfig,
        settings: &OffPolicyConfig<O>,
        policy: &Policy,
        seed: Seed,
    ) -> Self {
        let beside = |critics, number| {
            policy.beside(&Outputs::StateActionValues { critics }, seed.derive("critic", number))
        };
        let networks: Vec<Policy> = match config.encoder {
            CriticEncoder::Shared { .. } => vec![],
            CriticEncoder::Separate {} => vec![beside(config.count, 0)],
            CriticEncoder::OneEach {} => {
                (0..config.count).map(|number| beside(1, number as u64)).collect()
            }
        };
        let targets = match networks.as_slice() {
            [] => vec![policy.replica()],
            own => own.iter().map(Policy::replica).collect(),
        };
        let optimizer = (!networks.is_empty()).then(|| {
            let base = config.learning_rate.unwrap_or(settings.learning_rate);
            let rate = |name: &str| settings.rate_of(own_name(name), base);
            Optimizer::new(&settings.optimizer, &trainable(&networks))
                .with_rates(|name| rate(name) / settings.learning_rate)
        });
        let guard = config.value_guard.map(ValueGuard::new);
        Critics { config: config.clone(), networks, targets, optimizer, guard }
    }

    /// True if the acting network holds them.
    pub(super) fn are_shared(&self) -> bool {
        self.networks.is_empty()
    }

    /// Memory of each network at the T + 1 frames; `of_actor` is that of the acting network.
    pub(super) fn remember(&self, of_actor: Option<&Tensor>, batch: &ReplayBatch) -> Vec<Tensor> {
        match self.networks.as_slice() {
            [] => vec![of_actor.expect("critics see what the actor sees").shallow_clone()],
            own => own.iter().map(|network| batch.remember(network)).collect(),
        }
    }

    /// Values of `actions`, `[.., A]`, where `memories` are, each `[.., H]`: `[E, ..]`.
    pub(super) fn values(&self, policy: &Policy, memories: &[Tensor], actions: &Tensor) -> Tensor {
        match self.networks.as_slice() {
            [] => policy.state_action_values(&memories[0], actions),
            own => values(own, memories, actions),
        }
    }

    /// The least value of `actions`, `[T, B, A]`, at frames 1 to T, by the targets that `generator`
    /// draws: `[T, B]`.
    pub(super) fn next_values(
        &self,
        batch: &ReplayBatch,
        actions: &Tensor,
        generator: &mut Generator,
    ) -> Tensor {
        no_grad(|| {
            let length = batch.decisions();
            let later = |network: &Policy| batch.remember(network).narrow(0, 1, length);
            let count = self.config.count;
            let Some(subset) = self.config.target_subset else {
                let memories: Vec<Tensor> = self.targets.iter().map(later).collect();
                return values(&self.targets, &memories, actions).amin([0], false);
            };
            let drawn = rand::seq::index::sample(generator, count, subset);
            let least = match self.targets.as_slice() {
                [all] => {
                    let drawn: Vec<i64> = drawn.into_iter().map(|critic| critic as i64).collect();
                    let drawn = Tensor::from_slice(&drawn).to_device(actions.device());
                    all.some_state_action_values(&drawn, &later(all), actions)
                }
                each => {
                    let of = |critic| {
                        let network: &Policy = &each[critic];
                        network.state_action_values(&later(network), actions)
                    };
                    Tensor::cat(&drawn.into_iter().map(of).collect::<Vec<_>>(), 0)
                }
            };
            least.amin([0], false)
        })
    }

    /// Value of `actions`, `[T, B, A]`, as the critics judge an actor, `[T, B]`, and its slope along
    /// them, `[T, B, A]`; both are constants.
    pub(super) fn judge(
        &self,
        policy: &Policy,
        memories: &[Tensor],
        actions: &Tensor,
    ) -> (Tensor, Tensor) {
        let seen: Vec<Tensor> = memories.iter().map(Tensor::detach).collect();
        let actions = actions.detach().set_requires_grad(true);
        let value = self.config.judgement.of(&self.values(policy, &seen, &actions));
        let slope = Tensor::run_backward(&[value.sum(value.kind())], &[&actions], false, false);
        (value.detach(), slope.into_iter().next().expect("one slope"))
    }

    /// The targets follow, after so many updates.
    pub(super) fn follow<O>(&self, policy: &Policy, settings: &OffPolicyConfig<O>, updates: u64) {
        let online: Vec<&Policy> = match self.networks.as_slice() {
            [] => vec![policy],
            own => own.iter().collect(),
        };
        for (target, online) in self.targets.iter().zip(online) {
            update_target(target.weights(), online.weights(), settings.target, updates);
        }
    }

    /// All networks beside the acting one.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Policy> {
        self.networks.iter_mut().chain(&mut self.targets)
    }

    /// Everything they remember between updates, added to `state`.
    pub(super) fn save(&self, state: &mut StateDict) {
        for (number, network) in self.networks.iter().enumerate() {
            state.extend(under(&format!("critic.{number}"), copies(network.weights())));
        }
        for (number, target) in self.targets.iter().enumerate() {
            state.extend(under(&format!("target.{number}"), copies(target.weights())));
        }
        if let Some(optimizer) = &self.optimizer {
            state.extend(under("critic_optimizer", optimizer.state()));
        }
        if let Some(range) = self.guard.as_ref().and_then(ValueGuard::range) {
            state.push(("value_guard".into(), range.copy()));
        }
    }

    /// Goes on from what [`save`](Self::save) added.
    pub(super) fn load(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        for (number, network) in self.networks.iter().enumerate() {
            restore(network.weights(), &format!("critic.{number}"), state)?;
        }
        for (number, target) in self.targets.iter().enumerate() {
            restore(target.weights(), &format!("target.{number}"), state)?;
        }
        let saved = state.iter().find(|(name, _)| name == "value_guard");
        if let (Some(guard), Some((_, range))) = (&mut self.guard, saved) {
            guard.set_range(range.to_device(self.targets[0].device()));
        }
        match &mut self.optimizer {
            Some(optimizer) => optimizer.load_state(&below("critic_optimizer", state)),
            None => Ok(()),
        }
    }
}

/// Values of `actions` by all critics of `networks`, one after another: `[E, ..]`.
fn values(networks: &[Policy], memories: &[Tensor], actions: &Tensor) -> Tensor {
    let each: Vec<Tensor> = networks
        .iter()
        .zip(memories)
        .map(|(network, y)| network.state_action_values(y, actions))
        .collect();
    match each.len() {
        1 => each.into_iter().next().expect("one network"),
        _ => Tensor::cat(&each, 0),
    }
}

/// All weights of `networks` that learn, each name behind the network's number.
pub(super) fn trainable(networks: &[Policy]) -> StateDict {
    let numbered = networks.iter().enumerate();
    numbered.flat_map(|(number, of)| under(&number.to_string(), of.trainable())).collect()
}

/// A weight's name in its network.
fn own_name(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, own)| own)
}
