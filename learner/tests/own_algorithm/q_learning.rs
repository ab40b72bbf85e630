//! Q-learning without a target network: the network that learns is its own target.

use engram_learner::algorithms::optimizer::Optimizer;
use engram_learner::algorithms::state_dict::{StateDict, StateError};
use engram_learner::algorithms::{
    Algorithm, NonFinite, Objective, Phases, ReplayAlgorithm, ReplayBatch, UpdateStats,
};
use engram_learner::config::{OffPolicyConfig, OutOfRange, SelectionNetwork};
use engram_learner::losses::q_learning::{QLearningInput, QLearningOptions, q_learning};
use engram_mdp::Seed;
use engram_policy::exploration::Choice;
use engram_policy::{Outputs, Policy, Returns};
use serde::Deserialize;
use tch::Tensor;

/// Settings, the `[rl.objective]` part; all else is shared by algorithms that learn from a replay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnTarget {
    /// Network that says what action is the best; both are the same one.
    pub selection: SelectionNetwork,
}

#[derive(Debug)]
struct QLearning {
    config: OffPolicyConfig<OwnTarget>,
    optimizer: Optimizer,
}

impl ReplayAlgorithm for QLearning {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &ReplayBatch,
    ) -> Result<(UpdateStats, Tensor), NonFinite> {
        let values = policy.action_values(&batch.remember(policy)).remove(0).raw;
        let (actions, returns) = (batch.actions(), batch.returns(&self.config));
        let loss = q_learning(
            &QLearningInput {
                online: &values,
                target: &values.detach(),
                decisions: batch.taken(&actions),
                returns: &returns,
            },
            QLearningOptions {
                selection: self.config.objective.selection,
                error: self.config.error,
                rescaling: None,
            },
        );
        let weights = policy.trainable();
        let gradient = self.optimizer.gradient(&loss.loss, &weights);
        let number = loss.loss.double_value(&[]);
        NonFinite::check("loss", number)?;
        self.optimizer.step(&weights, &gradient, self.config.learning_rate);
        let stats = UpdateStats { numbers: vec![("loss", number)], phases: Phases::default() };
        Ok((stats, batch.of_whole_rows(&loss.td_errors)))
    }

    fn choice(&self) -> Choice {
        Choice::Greedy
    }
}

impl Algorithm for QLearning {
    fn columns(&self) -> &'static [&'static str] {
        &["loss"]
    }

    fn state(&self) -> StateDict {
        self.optimizer.state()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.optimizer.load_state(state)
    }
}

impl Objective for OwnTarget {
    fn outputs(&self) -> Outputs {
        Outputs::ActionValues { critics: 1, returns: Returns::Expected {} }
    }

    fn validate(&self, _: &OffPolicyConfig) -> Result<(), OutOfRange> {
        Ok(())
    }

    fn start(config: &OffPolicyConfig<Self>, policy: &Policy, _: Seed) -> Box<dyn ReplayAlgorithm> {
        let optimizer = Optimizer::new(&config.optimizer, &policy.trainable());
        Box::new(QLearning { config: config.clone(), optimizer })
    }
}
