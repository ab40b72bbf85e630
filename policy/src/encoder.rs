//! Encoder: from raw frames to what the memory is fed.
//!
//! The torso's features (of the last few observations where they are stacked), the one-hot last action and the last reward, each behind its embedder
//! where it has one, stand side by side, as far as `inputs` of the configuration names them. The
//! observation of the frame before is remembered by the memory ([`previous`](crate::memory)).

use engram_mdp::{ActionSpec, EnvSpec};
use tch::{Device, Kind, Tensor};

use crate::config::{MemoryInput, PolicyConfig};
use crate::embedders::Embedders;
use crate::error::PolicyError;
use crate::inputs::Inputs;
use crate::mlp::{Activation, Linear};
use crate::observation_stack::{ObservationStack, Stacked};
use crate::parameters::Parameters;
use crate::torso::Torso;

/// Turns frames `[..]` into features `[N, D]`, N rows in all.
pub(crate) struct Encoder {
    stack: Option<ObservationStack>,
    torso: Torso,
    embedders: Embedders,
    seen: Vec<MemoryInput>,
    spec: EnvSpec,
    kind: Kind,
    device: Device,
}

/// Frames, encoded.
pub(crate) struct Encoded {
    /// Input of the memory.
    pub(crate) x: Tensor,
    /// Features of the observations, `[N, F]`.
    pub(crate) features: Tensor,
    /// The stacks that the torso has seen, where there are any.
    pub(crate) stacked: Option<Stacked>,
}

impl Encoder {
    pub(crate) fn new(
        config: &PolicyConfig,
        spec: &EnvSpec,
        (kind, device): (Kind, Device),
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let stack = (spec.frame_stack > 1).then(|| ObservationStack::new(spec, device));
        let torso = Torso::new(&config.torso, &spec.stacked_observation(), p)?;
        let (features, action) = (torso.outputs(), spec.action.width() as i64);
        let embedders = Embedders::new(config.embed.as_ref(), features, action, p);
        let (seen, spec) = (config.inputs.clone(), spec.clone());
        Ok(Encoder { stack, torso, embedders, seen, spec, kind, device })
    }

    /// D: numbers that the memory is fed at a frame.
    pub(crate) fn outputs(&self) -> i64 {
        self.seen.iter().map(|&input| self.width(input)).sum()
    }

    /// F: features of an observation.
    pub(crate) fn features(&self) -> i64 {
        self.torso.outputs()
    }

    /// Observations that the stack remembers before an episode begins; `None` without a stack.
    pub(crate) fn initial_observations(&self, batch: i64) -> Option<Tensor> {
        self.stack.as_ref().map(|stack| stack.initial(batch))
    }

    /// The embedder of the frame before, for [`PreviousObservation`](crate::memory::previous).
    pub(crate) fn take_previous_embedder(&mut self) -> Option<(Linear, Activation)> {
        self.embedders.take_previous()
    }

    fn width(&self, input: MemoryInput) -> i64 {
        let numbers = match input {
            MemoryInput::Observation | MemoryInput::PreviousObservation => self.torso.outputs(),
            MemoryInput::PreviousAction => self.spec.action.width() as i64,
            MemoryInput::PreviousReward | MemoryInput::ClippedPreviousReward => 1,
        };
        self.embedders.outputs(input, numbers)
    }

    /// Frames `[..]` to what the memory is fed of them: features, action, reward, then, where it
    /// sees the observation before, the features as they are. Where observations are stacked,
    /// `before` holds those before the frames.
    pub(crate) fn forward(&self, inputs: &Inputs, before: Option<&Tensor>) -> Encoded {
        let leading = inputs.leading();
        let rows: i64 = leading.iter().product();
        let shape = self.spec.observation.shape.iter().map(|&side| side as i64);
        let shape: Vec<i64> = std::iter::once(rows).chain(shape).collect();
        assert_eq!(
            inputs.observation.size()[leading.len()..],
            shape[1..],
            "observations have the spec's shape"
        );
        let stacked = self.stack(inputs, before);
        let observation = match &stacked {
            Some(stacked) => stacked.observations(),
            None => inputs.observation.reshape(&shape),
        };
        let features = self.torso.forward(&observation, self.kind);
        let reward = || inputs.previous_reward.reshape([rows, 1]);
        let of = |input: MemoryInput| {
            let x = match input {
                MemoryInput::Observation => features.shallow_clone(),
                MemoryInput::PreviousObservation => return features.shallow_clone(),
                MemoryInput::PreviousAction => self.previous_action(inputs, rows),
                MemoryInput::PreviousReward => reward().to_kind(self.kind),
                MemoryInput::ClippedPreviousReward => reward().clamp(-1.0, 1.0).to_kind(self.kind),
            };
            self.embedders.forward(input, x)
        };
        let order = [
            MemoryInput::Observation,
            MemoryInput::PreviousAction,
            MemoryInput::PreviousReward,
            MemoryInput::ClippedPreviousReward,
            MemoryInput::PreviousObservation,
        ];
        let seen = order.into_iter().filter(|input| self.seen.contains(input));
        let mut parts: Vec<Tensor> = seen.map(of).collect();
        let x = match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(&parts, 1),
        };
        Encoded { x, features, stacked }
    }

    /// Stacks of the observations of frames and of those `before`, where they are stacked.
    fn stack(&self, inputs: &Inputs, before: Option<&Tensor>) -> Option<Stacked> {
        let stack = self.stack.as_ref()?;
        let before = before.expect("a state with the observations before");
        Some(stack.stack(&inputs.observation, before, inputs.resets()))
    }

    /// The observations that a stack carries on behind frames, if there is one.
    pub(crate) fn observe(&self, inputs: &Inputs, before: Option<&Tensor>) -> Option<Tensor> {
        self.stack(inputs, before).map(|stacked| stacked.after(-1))
    }

    /// The actions before N frames, `[N, A]`: one-hot when discrete; zeros at First frames.
    fn previous_action(&self, inputs: &Inputs, rows: i64) -> Tensor {
        match self.spec.action {
            ActionSpec::Discrete { count } => {
                let index = inputs.previous_action.reshape([rows, 1]);
                let hot = inputs.is_first.reshape([rows, 1]).logical_not().to_kind(self.kind);
                let zeros = Tensor::zeros([rows, count as i64], (self.kind, self.device));
                zeros.scatter(1, &index, &hot)
            }
            ActionSpec::Continuous { dimensions } => {
                let vector = inputs.previous_action.reshape([rows, dimensions as i64]);
                vector.to_kind(self.kind)
            }
        }
    }
}
