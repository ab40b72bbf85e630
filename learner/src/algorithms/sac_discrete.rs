//! Soft actor-critic for discrete actions, on sequences: two critics value all actions, and the
//! actor takes those that are worth most, as far as its entropy allows.
//!
//! Christodoulou 2019, <https://arxiv.org/abs/1910.07207>; on sequences, and what the actor's loss
//! may change, Ni et al. 2023, <https://arxiv.org/abs/2307.03864>.
//!
//! ```text
//! shared     one memory ─▶ critics, actor ─▶ ½ (L₁ + L₂) + L_π ─▶ one step
//! separate   critics' memory ─▶ critics ─▶ L₁ + L₂ ─▶ step;  actor's memory ─▶ L_π ─▶ step
//! ```
//!
//! Either way the actor is judged by the critics as they were before this update's step, as in
//! Haarnoja et al. 2018, <https://arxiv.org/abs/1812.05905>.
//!
//! Weights that the actor's loss reaches, where the memory is shared:
//!
//! | | actor's head | critics' heads | torso and memory |
//! |---|---|---|---|
//! | nothing is frozen | yes | yes | through both |
//! | `freeze_critic` | yes | no | through the actor alone |
//! | both | yes | no | no |

mod config;

mod networks;

use std::time::Instant;

use engram_mdp::Seed;
use engram_policy::exploration::Choice;
use engram_policy::{Distribution, Outputs, Policy};
use tch::{Tensor, no_grad};

pub use self::config::{EncoderSharing, SacDiscreteConfig, Temperature};
use self::networks::Networks;
use super::algorithm::{Algorithm, NonFinite, Objective, ReplayAlgorithm, to_host};
use super::finite_step::FiniteStep;
use super::replay_batch::ReplayBatch;
use super::state_dict::{StateDict, StateError, find};
use super::temperature::Alpha;
use crate::config::{OffPolicyConfig, OutOfRange};
use crate::losses::masked_mean;
use crate::losses::sac_discrete::{
    ActionProbabilities, ActorLoss, CriticLoss, actor_loss, critic_loss, soft_targets,
};
use crate::telemetry::update_stats::{Phases, UpdateStats};

/// The algorithm, between two updates.
pub struct SacDiscrete {
    settings: OffPolicyConfig,
    objective: SacDiscreteConfig,
    networks: Networks,
    temperature: Alpha,
    updates: u64,
}

/// Both losses on one batch.
#[derive(Debug)]
pub struct Losses {
    /// Of the critics.
    pub critic: CriticLoss,
    /// Of the actor.
    pub actor: ActorLoss,
}

/// Both losses, lengths of the gradients, and when each phase ended; steps have been taken.
struct Done {
    losses: Losses,
    norms: Vec<f64>,
    started: Instant,
    forward_ended: Instant,
    backward_ended: Instant,
}

impl SacDiscrete {
    /// Names of what an update reports, means over decisions: both losses, the policy's entropy
    /// in nats, α, the value of the action taken, by how much it was wrong, and the gradients'
    /// lengths before they were clipped.
    const SHARED: &'static [&'static str] = &[
        "critic_loss",
        "actor_loss",
        "entropy",
        "temperature",
        "action_value",
        "td_error",
        "grad_norm",
    ];

    const SEPARATE: &'static [&'static str] = &[
        "critic_loss",
        "actor_loss",
        "entropy",
        "temperature",
        "action_value",
        "td_error",
        "critic_grad_norm",
        "actor_grad_norm",
    ];

    /// One that has made no update yet; a critic of its own starts from `seed`.
    pub fn new(config: &OffPolicyConfig<SacDiscreteConfig>, policy: &Policy, seed: Seed) -> Self {
        let networks = Networks::new(config, policy, seed);
        let temperature = config.objective.temperature.start(policy);
        let (settings, objective) = (config.shared(), config.objective.clone());
        SacDiscrete { settings, objective, networks, temperature, updates: 0 }
    }

    /// Both losses where actor and critics share a memory, with the gradients that the
    /// configuration lets through.
    pub fn shared_losses(&self, policy: &Policy, batch: &ReplayBatch) -> Losses {
        let (Networks::Shared { target, .. }, EncoderSharing::Shared { .. }) =
            (&self.networks, self.objective.encoder)
        else {
            panic!("actor and critics do not share a memory")
        };
        let y = batch.remember(policy);
        let critics = expected(policy, &y);
        let targets = no_grad(|| expected(target, &y));
        let (for_actor, judges) = self.seen_by_actor(&y, &critics);
        let policy = probabilities(&policy.distribution(&for_actor));
        let critic = self.critic_loss(&critics, &targets, &policy, batch, 0.5);
        let actor = self.actor_loss(&policy, &judges, batch);
        Losses { critic, actor }
    }

    /// Parts of a shared memory, and of the critics, that the actor's loss sees.
    fn seen_by_actor(&self, y: &Tensor, critics: &[Tensor; 2]) -> (Tensor, [Tensor; 2]) {
        let EncoderSharing::Shared { freeze_critic, freeze_encoder_in_actor_loss } =
            self.objective.encoder
        else {
            panic!("actor and critics do not share a memory")
        };
        let y = if freeze_encoder_in_actor_loss { y.detach() } else { y.shallow_clone() };
        let judges = critics.each_ref().map(|critic| match freeze_critic {
            true => critic.detach(),
            false => critic.shallow_clone(),
        });
        (y, judges)
    }

    fn update_shared(&mut self, policy: &Policy, batch: &ReplayBatch) -> Result<Done, NonFinite> {
        let started = Instant::now();
        let losses = self.shared_losses(policy, batch);
        let forward_ended = Instant::now();
        let Networks::Shared { optimizer, .. } = &mut self.networks else { unreachable!() };
        let total = &losses.critic.loss + &losses.actor.loss;
        let step = FiniteStep::of(optimizer, &total, policy.trainable())?;
        let backward_ended = Instant::now();
        let norms = vec![step.norm];
        step.take(optimizer, &self.settings);
        Ok(Done { losses, norms, started, forward_ended, backward_ended })
    }

    fn update_separate(&mut self, policy: &Policy, batch: &ReplayBatch) -> Result<Done, NonFinite> {
        let started = Instant::now();
        let Networks::Separate { critic, target, .. } = &self.networks else { unreachable!() };
        let policy_says = probabilities(&policy.distribution(&batch.remember(policy)));
        let values = expected(critic, &batch.remember(critic));
        let targets = no_grad(|| expected(target, &batch.remember(target)));
        let losses = Losses {
            critic: self.critic_loss(&values, &targets, &policy_says, batch, 1.0),
            actor: self.actor_loss(&policy_says, &values.each_ref().map(Tensor::detach), batch),
        };
        let forward_ended = Instant::now();
        let Networks::Separate { actor, critic, critics, .. } = &mut self.networks else {
            unreachable!()
        };
        // Both are known to be finite before either moves a weight, so nothing is ever taken back.
        let of_critics = FiniteStep::of(critics, &losses.critic.loss, critic.trainable())?;
        let of_actor = FiniteStep::of(actor, &losses.actor.loss, policy.trainable())?;
        let backward_ended = Instant::now();
        let norms = vec![of_critics.norm, of_actor.norm];
        of_critics.take(critics, &self.settings);
        of_actor.take(actor, &self.settings);
        Ok(Done { losses, norms, started, forward_ended, backward_ended })
    }

    fn critic_loss(
        &self,
        critics: &[Tensor; 2],
        targets: &[Tensor; 2],
        policy: &ActionProbabilities,
        batch: &ReplayBatch,
        factor: f64,
    ) -> CriticLoss {
        let settings = &self.settings;
        let returns = batch.returns(settings);
        let alpha = self.temperature.tensor(&critics[0]);
        let targets = soft_targets(policy, targets.each_ref(), &alpha, &returns);
        let actions = batch.actions();
        let decisions = batch.taken(&actions);
        critic_loss(critics.each_ref(), &targets, &decisions, settings.error, factor)
    }

    fn actor_loss(
        &self,
        policy: &ActionProbabilities,
        judges: &[Tensor; 2],
        batch: &ReplayBatch,
    ) -> ActorLoss {
        let alpha = self.temperature.tensor(&judges[0]);
        let (mask, importance) = (batch.mask(), batch.importance());
        actor_loss(policy, judges.each_ref(), &alpha, mask, importance)
    }
}

impl Algorithm for SacDiscrete {
    fn columns(&self) -> &'static [&'static str] {
        match self.networks {
            Networks::Shared { .. } => Self::SHARED,
            Networks::Separate { .. } => Self::SEPARATE,
        }
    }

    fn state(&self) -> StateDict {
        let mut state = self.networks.state();
        self.temperature.save(&mut state);
        state.push(("updates".into(), Tensor::from_slice(&[self.updates as i64])));
        state
    }

    fn networks(&mut self) -> Vec<&mut Policy> {
        self.networks.all()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.networks.load_state(state)?;
        self.temperature.load(state)?;
        self.updates = find(state, "updates", &[1])?.int64_value(&[0]) as u64;
        Ok(())
    }
}

impl ReplayAlgorithm for SacDiscrete {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &ReplayBatch,
    ) -> Result<(UpdateStats, Tensor), NonFinite> {
        let Done { losses, mut norms, started, forward_ended, backward_ended } = match self.networks
        {
            Networks::Shared { .. } => self.update_shared(policy, batch)?,
            Networks::Separate { .. } => self.update_separate(policy, batch)?,
        };
        let alpha = self.temperature.value();
        self.temperature.update(&losses.actor.entropy);
        self.updates += 1;
        self.networks.follow(policy, self.settings.target, self.updates);
        let phases = Phases {
            forward: forward_ended - started,
            backward: backward_ended - forward_ended,
            optimizer: backward_ended.elapsed(),
        };
        let CriticLoss { loss, td_errors, mean_value } = &losses.critic;
        let error = masked_mean(&td_errors.abs(), batch.mask(), None);
        let mut numbers =
            to_host([loss, &losses.actor.loss, &losses.actor.entropy, mean_value, &error]).to_vec();
        numbers.insert(3, alpha);
        numbers.append(&mut norms);
        let numbers = self.columns().iter().copied().zip(numbers).collect();
        let td_errors = batch.of_whole_rows(td_errors);
        Ok((UpdateStats { numbers, phases }, td_errors))
    }

    fn choice(&self) -> Choice {
        Choice::Sample
    }
}

impl Objective for SacDiscreteConfig {
    fn outputs(&self) -> Outputs {
        self.acting_outputs()
    }

    fn validate(&self, shared: &OffPolicyConfig) -> Result<(), OutOfRange> {
        self.check(shared.replay.initial_state)
    }

    fn start(
        config: &OffPolicyConfig<Self>,
        policy: &Policy,
        seed: Seed,
    ) -> Box<dyn ReplayAlgorithm> {
        Box::new(SacDiscrete::new(config, policy, seed))
    }
}

/// Values that both critics of `network` expect of the actions where `y` is remembered, `[.., A]`.
fn expected(network: &Policy, y: &Tensor) -> [Tensor; 2] {
    let critics: Vec<Tensor> = network.action_values(y).into_iter().map(|q| q.raw).collect();
    critics.try_into().expect("two critics")
}

fn probabilities(distribution: &Distribution) -> ActionProbabilities {
    let Distribution::Categorical { logits } = distribution else {
        panic!("a policy over numbered actions")
    };
    ActionProbabilities::from_logits(logits)
}

impl std::fmt::Debug for SacDiscrete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SacDiscrete").field("updates", &self.updates).finish_non_exhaustive()
    }
}
