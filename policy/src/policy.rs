//! A whole policy: encoder, memory and heads, with their weights.

mod transfer;

use engram_mdp::{EnvSpec, Seed};
use tch::{Device, Kind, Tensor};

use crate::carry::Carry;
use crate::config::{MemoryInput, PolicyConfig, SkipConfig};
use crate::distribution::Distribution;
use crate::encoder::{Encoded, Encoder};
use crate::error::PolicyError;
use crate::exploration::Exploration;
use crate::heads::{ActionValues, Heads, Outputs, Values};
use crate::inputs::Inputs;
use crate::memory::Memory;
use crate::memory::previous::PreviousObservation;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::state::{Batched, CoreState};
use crate::unroll_context::UnrollContext;
use crate::weights::{self, About, Snapshot};

/// A network that belongs to one thread at a time.
pub struct Policy {
    config: PolicyConfig,
    outputs: Outputs,
    exploration: Exploration,
    spec: EnvSpec,
    kind: Kind,
    device: Device,
    encoder: Encoder,
    memory: Box<dyn Memory>,
    /// Way of the features around the memory.
    skip: Option<Linear>,
    heads: Heads,
    named: Vec<(String, Tensor)>,
    /// Parts that came from another policy's weights.
    adopted: Vec<String>,
}

/// Output of a policy at frames `[..]`: `[B]` or `[T, B]`.
#[derive(Debug)]
pub struct PolicyOutput {
    /// Over the actions at these frames.
    pub distribution: Distribution,
    /// Values there.
    pub values: Values,
}

/// An unroll of streams.
#[derive(Debug)]
pub struct Unrolled {
    /// At T + 1 frames: `[T + 1, B, ..]`.
    pub output: PolicyOutput,
    /// Context that a loss of the output reaches back to, and the streams' next carry comes from.
    pub context: UnrollContext,
}

impl PolicyOutput {
    /// The values of the frames, `[..]`, by a network that has them.
    pub fn value(&self) -> &Tensor {
        self.values.frames()
    }
}

impl Policy {
    /// A fresh actor-critic, whose weights follow from the seed alone.
    pub fn new(
        config: &PolicyConfig,
        spec: &EnvSpec,
        seed: Seed,
        device: Device,
    ) -> Result<Self, PolicyError> {
        Policy::of_kind(Kind::Float, config, spec, seed, device)
    }

    /// Like [`new`](Self::new), computing in `kind`: `Kind::Double` lets checks of gradients and
    /// of equalities be strict. Its inputs are those of any policy.
    pub fn of_kind(
        kind: Kind,
        config: &PolicyConfig,
        spec: &EnvSpec,
        seed: Seed,
        device: Device,
    ) -> Result<Self, PolicyError> {
        Policy::with_outputs(&Outputs::ActorCritic {}, kind, config, spec, seed, device)
    }

    /// Like [`of_kind`](Self::of_kind), but says of frames what `outputs` names.
    pub fn with_outputs(
        outputs: &Outputs,
        kind: Kind,
        config: &PolicyConfig,
        spec: &EnvSpec,
        seed: Seed,
        device: Device,
    ) -> Result<Self, PolicyError> {
        Policy::of_parameters(Parameters::new(seed, kind, device), outputs, config, spec)
    }

    /// The policy that asks for `parameters`, of which there is none yet.
    fn of_parameters(
        mut parameters: Parameters,
        outputs: &Outputs,
        config: &PolicyConfig,
        spec: &EnvSpec,
    ) -> Result<Self, PolicyError> {
        config.validate()?;
        let spec = spec.clone().checked()?;
        outputs.check(spec.action)?;
        let (kind, device) = parameters.options();
        let mut encoder = Encoder::new(config, &spec, (kind, device), &mut parameters)?;
        let mut memory = config.memory.build(encoder.outputs(), "memory", &mut parameters)?;
        let features = encoder.features();
        if config.sees(MemoryInput::PreviousObservation) {
            let (embedder, options) = (encoder.take_previous_embedder(), (kind, device));
            memory = Box::new(PreviousObservation::new(memory, features, embedder, options));
        }
        let (head, mut remembered) = (&config.head, memory.outputs());
        let skip = config.skip.map(|SkipConfig { observation, init }| {
            remembered += observation;
            Linear::new(&mut parameters, "skip", features, observation, init)
        });
        let heads = Heads::new(outputs, head, remembered, spec.action, &mut parameters);
        let named = parameters.into_named();
        Ok(Policy {
            config: config.clone(),
            outputs: outputs.clone(),
            exploration: Exploration::NONE,
            spec,
            kind,
            device,
            encoder,
            memory,
            skip,
            heads,
            named,
            adopted: vec![],
        })
    }

    /// The policy that [`save`](Self::save) wrote, in single precision.
    pub fn from_weights(bytes: &[u8], device: Device) -> Result<Self, PolicyError> {
        let About { config, outputs, exploration, spec, version: _ } = weights::about(bytes)?;
        let parameters = Parameters::of_file(weights::shapes(bytes)?, Kind::Float, device);
        let mut policy = Policy::of_parameters(parameters, &outputs, &config, &spec)?;
        weights::read(bytes, &policy.named)?;
        policy.exploration = exploration;
        Ok(policy)
    }

    /// Takes over weights that [`save`](Self::save) wrote and returns their version. When they
    /// are of another environment or network, or torn, the policy stays as it was.
    pub fn load(&mut self, bytes: &[u8]) -> Result<u64, PolicyError> {
        let About { config, outputs, exploration, spec, version } = weights::about(bytes)?;
        if spec != self.spec {
            let (expected, found) = (Box::new(self.spec.clone()), Box::new(spec));
            return Err(PolicyError::OtherSpec { expected, found });
        }
        if config != self.config {
            let (expected, found) = (self.config.to_string(), config.to_string());
            return Err(PolicyError::OtherConfig { expected, found });
        }
        if outputs != self.outputs {
            let (expected, found) = (self.outputs.to_string(), outputs.to_string());
            return Err(PolicyError::OtherConfig { expected, found });
        }
        weights::read(bytes, &self.named)?;
        self.exploration = exploration;
        Ok(version)
    }

    /// Safetensors that hold the weights and describe them: configuration, outputs, how to explore,
    /// spec and `version`.
    pub fn save(&self, version: u64) -> Vec<u8> {
        weights::write(&self.about(version), &self.named)
    }

    /// A copy of the weights as they are, to be saved by another thread while this one goes on.
    pub fn snapshot(&self, version: u64) -> Snapshot {
        let copy = |(name, weight): &(String, Tensor)| (name.clone(), weight.detach().copy());
        Snapshot { about: self.about(version), named: self.named.iter().map(copy).collect() }
    }

    fn about(&self, version: u64) -> About {
        let (config, spec) = (self.config.clone(), self.spec.clone());
        let (outputs, exploration) = (self.outputs.clone(), self.exploration);
        About { config, outputs, exploration, spec, version }
    }

    /// Exploration of actors that train with these weights.
    pub fn exploration(&self) -> &Exploration {
        &self.exploration
    }

    /// From here on actors that train explore like this, once they have these weights.
    pub fn set_exploration(&mut self, exploration: Exploration) {
        self.exploration = exploration;
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// The environment it acts in.
    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Kind of its numbers.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Device of its weights.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Outputs at every frame.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Handles on all weights, by name; writing to them changes the policy.
    pub fn weights(&self) -> &[(String, Tensor)] {
        &self.named
    }

    /// Handles on all weights that learn, by name; writing to them changes the policy.
    pub fn trainable(&self) -> Vec<(String, Tensor)> {
        let learning = self.named.iter().filter(|(_, weight)| weight.requires_grad());
        learning.map(|(name, weight)| (name.clone(), weight.shallow_clone())).collect()
    }

    /// Numbers in all weights, those that learn and those that are frozen.
    pub fn parameter_count(&self) -> usize {
        self.named.iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// The state at the beginning of `batch` episodes: zeros.
    pub fn initial_state(&self, batch: i64) -> CoreState {
        join(self.memory.initial_state(batch), self.encoder.initial_observations(batch))
    }

    /// True if the state is to travel with trajectories: the memory's does, or stacked observations
    /// are all of it.
    fn exports_state(&self) -> bool {
        let stacked = self.spec.frame_stack > 1;
        self.memory.exports_state() || stacked && self.memory.initial_state(1).tensors().is_empty()
    }

    /// The state of the memory, and the observations before, where they are stacked.
    fn split(&self, state: &CoreState) -> (CoreState, Option<Tensor>) {
        let mut tensors: Vec<Tensor> = state.tensors().iter().map(Tensor::shallow_clone).collect();
        let before = match self.spec.frame_stack {
            1 => None,
            _ => tensors.pop(),
        };
        (CoreState::new(state.batch(), tensors), before)
    }

    /// Numbers per environment in a state that travels with trajectories; `None` where the
    /// memory's state stays at home, or there is none.
    pub fn exported_state_width(&self) -> Option<usize> {
        self.exports_state().then(|| self.initial_state(1).width())
    }

    /// The state whose flat form, `[B, S]`, came with trajectories. S is
    /// [`exported_state_width`](Self::exported_state_width), or 0 where that is `None`, and the
    /// state is then that of beginning episodes.
    pub fn core_state(&self, flat: &Tensor) -> Result<CoreState, PolicyError> {
        let (batch, found) = flat.size2().expect("a flat core state has shape [B, S]");
        match self.exported_state_width() {
            Some(_) => self.initial_state(1).unflatten(flat),
            None if found == 0 => Ok(self.initial_state(batch)),
            None => Err(PolicyError::CoreState { expected: 0, found: found as usize }),
        }
    }

    /// Acts: frames of B environments at one moment, and the state before them. Returns outputs
    /// `[B, ..]` and the state after them, both without gradients.
    pub fn step(&self, inputs: &Inputs, state: &CoreState) -> (PolicyOutput, CoreState) {
        let leading = inputs.leading();
        assert_eq!(leading, [state.batch()], "step takes frames [B] and a state of B environments");
        tch::no_grad(|| {
            let (state, before) = self.split(state);
            let Encoded { x, features, stacked } = self.encoder.forward(inputs, before.as_ref());
            let (y, state) = self.memory.step(&x, &state, inputs.resets());
            let state = join(state, stacked.map(|stacked| stacked.after(-1)));
            (self.output(&self.beside_memory(y, &features)), state)
        })
    }

    /// Trains: frames of B environments at T moments, and the state before the first of them.
    /// Returns outputs `[T, B, ..]` and the state after the last one.
    pub fn unroll(&self, inputs: &Inputs, state: &CoreState) -> (PolicyOutput, CoreState) {
        let (y, state) = self.remember(inputs, state);
        (self.output(&y), state)
    }

    /// The part of [`unroll`](Self::unroll) before the heads: what is remembered at the frames,
    /// `[T, B, H]`, and the state after the last one.
    pub fn remember(&self, inputs: &Inputs, state: &CoreState) -> (Tensor, CoreState) {
        let leading = inputs.leading();
        let &[time, batch] = leading.as_slice() else {
            panic!("unroll takes frames [T, B], not {leading:?}");
        };
        assert_eq!(batch, state.batch(), "the frames and the state are of as many environments");
        let (state, before) = self.split(state);
        let Encoded { x, features, stacked } = self.encoder.forward(inputs, before.as_ref());
        let (y, state) = self.memory.unroll(&x.view([time, batch, -1]), &state, inputs.resets());
        let state = join(state, stacked.map(|stacked| stacked.after(-1)));
        (self.beside_memory(y, &features), state)
    }

    /// The state after frames of B environments at T moments, without gradients, where nothing else
    /// is asked of them.
    pub fn burn_in(&self, inputs: &Inputs, state: &CoreState) -> CoreState {
        tch::no_grad(|| {
            let (memory, before) = self.split(state);
            match memory.tensors() {
                [] => join(memory, self.encoder.observe(inputs, before.as_ref())),
                _ => self.remember(inputs, state).1,
            }
        })
    }

    /// `y`, `[.., H]`, as the heads see it: beside the observations, whose features are `[N, F]`,
    /// where there is a skip connection.
    fn beside_memory(&self, y: Tensor, features: &Tensor) -> Tensor {
        let Some(skip) = &self.skip else { return y };
        let mut shape = y.size();
        *shape.last_mut().expect("[.., H]") = -1;
        Tensor::cat(&[y, skip.forward(features).view(shape.as_slice())], -1)
    }

    /// The distribution of actions where `y` is remembered, `[.., H]`, by a network that has a
    /// policy.
    pub fn distribution(&self, y: &Tensor) -> Distribution {
        self.heads.policy(y)
    }

    /// Values of the actions by each critic, where `y` is remembered, `[.., H]`.
    pub fn action_values(&self, y: &Tensor) -> Vec<ActionValues> {
        self.heads.action_values(y)
    }

    /// Values of the vectors `actions`, `[.., A]`, by each of E critics, where `y` is remembered,
    /// `[.., H]`: `[E, ..]`. By networks whose outputs name such critics.
    pub fn state_action_values(&self, y: &Tensor, actions: &Tensor) -> Tensor {
        self.heads.state_action_values(y, actions)
    }

    /// The same by the critics alone whose numbers `members` holds, i64 `[M]`: `[M, ..]`.
    pub fn some_state_action_values(
        &self,
        members: &Tensor,
        y: &Tensor,
        actions: &Tensor,
    ) -> Tensor {
        self.heads.some_state_action_values(members, y, actions)
    }

    /// The carry of `batch` streams that have none yet: zeros. It is empty where everything that an
    /// unroll needs travels with its trajectories; else it holds a state that does not travel, or
    /// sensitivities for RTRL.
    pub fn initial_carry(&self, batch: i64) -> Carry {
        let state = match self.exports_state() {
            true => CoreState::nothing(batch),
            false => self.initial_state(batch),
        };
        Carry::new(state, self.memory.initial_sensitivities(batch))
    }

    /// Trains on streams: [`unroll`](Self::unroll) of T + 1 frames, of which the last one begins
    /// the next unroll of its stream. It starts from core states `[B, S]` that came with
    /// trajectories and from the streams' carry, whose memory is used for their next one. With
    /// RTRL, [`gradient`](Self::gradient) reaches back through that.
    pub fn unroll_streams(
        &self,
        inputs: &Inputs,
        core_state: &Tensor,
        carry: Carry,
    ) -> Result<Unrolled, PolicyError> {
        let leading = inputs.leading();
        let &[frames, batch] = leading.as_slice() else {
            panic!("unroll_streams takes frames [T + 1, B], not {leading:?}");
        };
        assert!(frames > 1, "an unroll of streams has a frame beside the one that it shares");
        assert_eq!(batch, carry.batch(), "the frames and the carry are of as many streams");
        let travelled = self.core_state(core_state)?;
        let carries = !carry.is_empty();
        let (carried, sensitivities) = carry.into_parts();
        let state = if self.exports_state() { travelled } else { carried };
        let (state, before) = self.split(&state);
        let state = if sensitivities.is_empty() { state } else { state.leaves() };
        let Encoded { x, features, stacked } = self.encoder.forward(inputs, before.as_ref());
        let (x, resets) = (x.view([frames, batch, -1]), inputs.resets());
        let (y, last, updates) = match carries {
            true => self.memory.unroll_streams(&x, &state, resets),
            false => (self.memory.unroll(&x, &state, resets).0, CoreState::nothing(batch), vec![]),
        };
        let last = match self.exports_state() {
            true => CoreState::nothing(batch),
            // The last moment is the next unroll's.
            false => join(last.detach(), stacked.map(|stacked| stacked.after(frames - 2))),
        };
        let context = UnrollContext::new(state, sensitivities, updates, last);
        Ok(Unrolled { output: self.output(&self.beside_memory(y, &features)), context })
    }

    /// Output that [`unroll_streams`](Self::unroll_streams) has at the frames, without gradients, and
    /// with nothing to carry on.
    pub fn evaluate_streams(
        &self,
        inputs: &Inputs,
        core_state: &Tensor,
        carry: &Carry,
    ) -> Result<PolicyOutput, PolicyError> {
        let state = match self.exports_state() || carry.is_empty() {
            true => self.core_state(core_state)?,
            false => carry.state().shallow_clone(),
        };
        Ok(tch::no_grad(|| self.unroll(inputs, &state).0))
    }

    /// The gradient of `loss`, a scalar, by each weight that learns, in the order of
    /// [`trainable`](Self::trainable): what backpropagation finds within the unroll that the loss
    /// is of, and what RTRL adds for the time before it, from the unroll's `context`. Not defined
    /// where the loss does not depend on a weight. The loss's graph is used up. Second, the
    /// streams' next carry.
    pub fn gradient(&self, loss: &Tensor, context: UnrollContext) -> (Vec<Tensor>, Carry) {
        let weights: Vec<Tensor> = self.trainable().into_iter().map(|(_, weight)| weight).collect();
        context.gradient(loss, &weights, &*self.memory)
    }

    /// The streams' next carry after an unroll of which nothing is learned.
    pub fn next_carry(&self, context: UnrollContext) -> Carry {
        context.next_carry(&*self.memory)
    }

    /// Puts weights back into the range that their layer keeps them in, where it has one, in place:
    /// for after each update.
    pub fn constrain(&self) {
        self.memory.constrain();
    }

    /// From here on unrolls use dropout, drawn from `seed`, in memories that have it; acting never
    /// does. `None` ends it.
    pub fn set_dropout(&mut self, seed: Option<Seed>) {
        self.memory.set_dropout(seed);
    }

    fn output(&self, y: &Tensor) -> PolicyOutput {
        let (distribution, values) = self.heads.forward(y);
        PolicyOutput { distribution, values }
    }
}

/// A memory's state with the observations before, where they are stacked.
fn join(state: CoreState, before: Option<Tensor>) -> CoreState {
    let batch = state.batch();
    let tensors = state.into_tensors().into_iter().chain(before).collect();
    CoreState::new(batch, tensors)
}
