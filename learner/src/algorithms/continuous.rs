//! Actors and critics of vectors, on sequences: what DDPG, TD3 and SAC share. Their own files say what
//! differs, an [`ActorRule`].
//!
//! ```text
//! sequences ─▶ actor ─▶ actions of the next frames ─▶ target critics ─▶ targets
//!           ─▶ critics of the actions taken ─▶ loss ─▶ step;  target critics follow
//!           ─▶ actor's own actions ─▶ the critics' value and its slope ─▶ loss ─▶ step
//! ```
//!
//! The critics judge the actor as they were before this update's step, as in Haarnoja et al. 2018,
//! <https://arxiv.org/abs/1812.05905>. Where they share a network, one step minimizes both losses.

mod config;

mod critics;

use std::time::Instant;

use engram_mdp::{Generator, Seed};
use engram_policy::Policy;
use engram_policy::exploration::Choice;
use tch::Tensor;

pub use self::config::{CriticEncoder, CriticsConfig};
use self::critics::{Critics, trainable};
use super::algorithm::{Algorithm, NonFinite, ReplayAlgorithm, to_host};
use super::finite_step::FiniteStep;
use super::optimizer::Optimizer;
use super::replay_batch::ReplayBatch;
use super::state_dict::{StateDict, StateError, below, find, under};
use crate::config::OffPolicyConfig;
use crate::losses::masked_mean;
use crate::losses::state_action::{CriticsLoss, VectorActorLoss, actor_loss, critics_loss};
use crate::telemetry::update_stats::{Phases, UpdateStats};

/// Rule of an algorithm for its actor: its actions, and what it remembers between updates.
pub(super) trait ActorRule: std::fmt::Debug {
    /// Actions of the next frames and, where the actor learns at this update, its own. `memory` is
    /// that of the acting network where critics share it.
    fn propose(
        &self,
        policy: &Policy,
        memory: Option<&Tensor>,
        batch: &ReplayBatch,
        learns: bool,
        generator: &mut Generator,
    ) -> Proposal;

    /// α, of one number.
    fn temperature(&self, like: &Tensor) -> Tensor;

    /// α.
    fn temperature_value(&self) -> f64;

    /// Learns from the entropy of the actor's actions, of one number.
    fn see_entropy(&mut self, _entropy: &Tensor) {}

    /// Brings what follows the actor nearer to it, after so many updates.
    fn follow(&self, _policy: &Policy, _settings: &OffPolicyConfig, _updates: u64) {}

    /// Networks of its own.
    fn networks(&mut self) -> Vec<&mut Policy> {
        vec![]
    }

    /// Adds what it remembers between updates to `state`.
    fn save(&self, _state: &mut StateDict) {}

    /// Goes on from what [`save`](Self::save) added.
    fn load(&mut self, _state: &[(String, Tensor)]) -> Result<(), StateError> {
        Ok(())
    }

    /// Choice of an actor's action that is not random.
    fn choice(&self) -> Choice;
}

/// Actions that an actor would take.
pub(super) struct Proposal {
    /// Actions at frames 1 to T, `[T, B, A]`: constants.
    pub(super) next: Tensor,
    /// Worth of their entropy, `−α log π`, `[T, B]`, where it is worth anything.
    pub(super) bonus: Option<Tensor>,
    /// Actions at frames 0 to T − 1, `[T, B, A]`, and their log-densities, `[T, B]`, differentiated
    /// by the actor's weights.
    pub(super) own: Option<(Tensor, Tensor)>,
}

/// An algorithm with an actor `A`, between two updates.
pub(super) struct ActorCritic<A> {
    settings: OffPolicyConfig,
    config: CriticsConfig,
    policy_delay: u64,
    actor: A,
    optimizer: Optimizer,
    critics: Critics,
    seed: Seed,
    updates: u64,
    /// The actor's loss, its entropy and its gradient's length, when it last learned.
    last: [f64; 3],
}

/// Losses of one update, and when each phase ended; steps have been taken.
struct Done {
    critic: CriticsLoss,
    actor: Option<VectorActorLoss>,
    /// Targets of the critics, `[T, B]`.
    targets: Tensor,
    /// Lengths of the critics' gradient and of the actor's, or of the one gradient of both.
    norms: [f64; 2],
    forward_ended: Instant,
    backward_ended: Instant,
}

impl<A: ActorRule> ActorCritic<A> {
    /// One that has made no update yet; networks of its own and its noise start from `seed`.
    pub(super) fn new<O>(
        settings: &OffPolicyConfig<O>,
        config: &CriticsConfig,
        policy_delay: u64,
        actor: A,
        policy: &Policy,
        seed: Seed,
    ) -> Self {
        ActorCritic {
            optimizer: Optimizer::of(settings, &policy.trainable()),
            critics: Critics::new(config, settings, policy, seed),
            settings: settings.shared(),
            config: config.clone(),
            policy_delay,
            actor,
            seed,
            updates: 0,
            last: [0.0; 3],
        }
    }

    fn make(&mut self, policy: &Policy, batch: &ReplayBatch) -> Result<Done, NonFinite> {
        let mut generator = self.seed.derive("noise", self.updates).generator();
        let learns = (self.updates + 1).is_multiple_of(self.policy_delay);
        let memory = self.critics.are_shared().then(|| batch.remember(policy));
        let seen_by_actor = memory.as_ref().map(|memory| match self.config.freezes_encoder() {
            true => memory.detach(),
            false => memory.shallow_clone(),
        });
        let Proposal { next, bonus, own } =
            self.actor.propose(policy, seen_by_actor.as_ref(), batch, learns, &mut generator);
        let targets = self.targets(batch, &next, bonus, &mut generator);
        let memories = self.critics.remember(memory.as_ref(), batch);
        let length = batch.decisions();
        let memories: Vec<Tensor> = memories.iter().map(|y| y.narrow(0, 0, length)).collect();
        let taken = self.critics.values(policy, &memories, &batch.actions());
        let (mask, importance) = (batch.mask(), batch.importance());
        let critic = critics_loss(&taken, &targets, mask, importance, self.settings.error);
        let actor = own.map(|(actions, log_probs)| {
            let (value, slope) = self.critics.judge(policy, &memories, &actions);
            let alpha = self.actor.temperature(&value);
            actor_loss((&actions, &log_probs), (&value, &slope), &alpha, mask, importance)
        });
        let forward_ended = Instant::now();
        let (norms, backward_ended) = self.step(policy, &critic, actor.as_ref())?;
        Ok(Done { critic, actor, targets, norms, forward_ended, backward_ended })
    }

    /// Targets of the critics, `[T, B]`: constants.
    fn targets(
        &self,
        batch: &ReplayBatch,
        next: &Tensor,
        bonus: Option<Tensor>,
        generator: &mut Generator,
    ) -> Tensor {
        let mut later = self.critics.next_values(batch, next, generator);
        if let Some(bonus) = bonus {
            later += bonus.detach();
        }
        if let Some(guard) = &self.critics.guard {
            later = guard.clamp(&later);
        }
        let frames = Tensor::cat(&[later.narrow(0, 0, 1).zeros_like(), later], 0);
        batch.returns(&self.settings).backup(&frames)
    }

    /// Both steps, or one for both.
    fn step(
        &mut self,
        policy: &Policy,
        critic: &CriticsLoss,
        actor: Option<&VectorActorLoss>,
    ) -> Result<([f64; 2], Instant), NonFinite> {
        let settings = &self.settings;
        let Some(optimizer) = &mut self.critics.optimizer else {
            let total = &critic.loss + &actor.expect("a shared network's actor always learns").loss;
            let both = FiniteStep::of(&self.optimizer, &total, policy.trainable())?;
            let (norm, ended) = (both.norm, Instant::now());
            both.take(&mut self.optimizer, settings);
            return Ok(([norm, norm], ended));
        };
        let of_critics =
            FiniteStep::of(optimizer, &critic.loss, trainable(&self.critics.networks))?;
        let of_actor = actor
            .map(|actor| FiniteStep::of(&self.optimizer, &actor.loss, policy.trainable()))
            .transpose()?;
        let ended = Instant::now();
        let norms = [of_critics.norm, of_actor.as_ref().map_or(self.last[2], |step| step.norm)];
        of_critics.take(optimizer, settings);
        if let Some(step) = of_actor {
            step.take(&mut self.optimizer, settings);
        }
        Ok((norms, ended))
    }
}

impl<A: ActorRule> Algorithm for ActorCritic<A> {
    /// Means over decisions: both losses, the policy's entropy in nats, α, the value of the action
    /// taken, by how much it was wrong, and the gradients' lengths before they were clipped.
    fn columns(&self) -> &'static [&'static str] {
        &[
            "critic_loss",
            "actor_loss",
            "entropy",
            "temperature",
            "action_value",
            "td_error",
            "critic_grad_norm",
            "actor_grad_norm",
        ]
    }

    fn state(&self) -> StateDict {
        let mut state = under("optimizer", self.optimizer.state());
        self.critics.save(&mut state);
        self.actor.save(&mut state);
        state.push(("updates".into(), Tensor::from_slice(&[self.updates as i64])));
        state
    }

    fn networks(&mut self) -> Vec<&mut Policy> {
        let mut all: Vec<&mut Policy> = self.critics.all().collect();
        all.extend(self.actor.networks());
        all
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.critics.load(state)?;
        self.actor.load(state)?;
        self.updates = find(state, "updates", &[1])?.int64_value(&[0]) as u64;
        self.optimizer.load_state(&below("optimizer", state))
    }
}

impl<A: ActorRule> ReplayAlgorithm for ActorCritic<A> {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &ReplayBatch,
    ) -> Result<(UpdateStats, Tensor), NonFinite> {
        let started = Instant::now();
        let Done { critic, actor, targets, norms, forward_ended, backward_ended } =
            self.make(policy, batch)?;
        if let Some(guard) = &mut self.critics.guard {
            guard.see(&targets, batch.mask());
        }
        let alpha = self.actor.temperature_value();
        if let Some(actor) = &actor {
            self.actor.see_entropy(&actor.entropy);
        }
        self.updates += 1;
        self.critics.follow(policy, &self.settings, self.updates);
        self.actor.follow(policy, &self.settings, self.updates);
        let phases = Phases {
            forward: forward_ended - started,
            backward: backward_ended - forward_ended,
            optimizer: backward_ended.elapsed(),
        };
        let CriticsLoss { loss, td_errors, mean_value } = &critic;
        let error = masked_mean(td_errors, batch.mask(), None);
        if let Some(VectorActorLoss { loss, entropy }) = &actor {
            let [loss, entropy] = to_host([loss, entropy]);
            self.last = [loss, entropy, norms[1]];
        }
        let [loss, value, error] = to_host([loss, mean_value, &error]);
        let [actor_loss, entropy, _] = self.last;
        let numbers = [loss, actor_loss, entropy, alpha, value, error, norms[0], norms[1]];
        let numbers = self.columns().iter().copied().zip(numbers).collect();
        Ok((UpdateStats { numbers, phases }, batch.of_whole_rows(td_errors)))
    }

    fn choice(&self) -> Choice {
        self.actor.choice()
    }
}

impl<A: ActorRule> std::fmt::Debug for ActorCritic<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActorCritic")
            .field("actor", &self.actor)
            .field("updates", &self.updates)
            .finish_non_exhaustive()
    }
}
