//! Outputs of networks other than an actor-critic.

use engram_mdp::Seed;
use engram_policy::exploration::{Choice, EpsilonSpread};
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{
    Distribution, Exploration, Initialization, MemoryConfig, Outputs, Policy, PolicyError, Returns,
};
use tch::{Device, Kind, Tensor};

use super::{CONTINUOUS, DISCRETE, config, difference, frames, moment, spec};

const RETURNS: [Returns; 3] = [
    Returns::Expected {},
    Returns::Categorical { atoms: 7, least: -1.0, greatest: 2.0 },
    Returns::Quantiles { quantiles: 5 },
];

fn network(outputs: &Outputs, seed: u64) -> Policy {
    let config = config(MemoryConfig::Gru(GruConfig {
        hidden: 6,
        layers: 1,
        forget_bias: 0.0,
        init: Initialization::FAN_IN,
    }));
    let seed = Seed::new(seed);
    Policy::with_outputs(outputs, Kind::Double, &config, &spec(DISCRETE), seed, Device::Cpu)
        .unwrap()
}

#[test]
fn critics_value_actions_and_the_first_one_acts() {
    for returns in RETURNS {
        let policy = network(&Outputs::ActionValues { critics: 2, returns }, 1);
        let inputs = frames(&mut Seed::new(1).generator(), 5, 3, DISCRETE);
        let (output, _) = policy.unroll(&inputs, &policy.initial_state(3));
        let [first, second] = output.values.actions() else { panic!("two critics") };
        assert_eq!(first.expected().size(), [5, 3, 4]);
        assert!(difference(&first.expected(), &second.expected()) > 0.0, "critics differ");
        let Distribution::Greedy { values } = &output.distribution else { panic!("greedy") };
        assert_eq!(values, &first.expected());
        assert_eq!(output.distribution.mode(), first.expected().argmax(-1, false));
        // Stepping says the same.
        let mut state = policy.initial_state(3);
        for t in 0..5 {
            let (step, after) = policy.step(&moment(&inputs, t), &state);
            state = after;
            let values = step.values.actions()[1].expected();
            assert!(difference(&values, &second.expected().get(t)) < 1e-12);
        }
    }
}

#[test]
fn expected_returns_are_those_of_the_distribution() {
    let [_, categorical, quantiles] = RETURNS;
    let raw = Tensor::from_slice(&[0.1, 0.9, -0.4, 0.0, 2.0, 1.0, -1.0]).view([1, 7]);
    let of = |raw: &Tensor, returns| {
        let values = engram_policy::ActionValues { raw: raw.shallow_clone(), returns };
        values.expected().double_value(&[0])
    };
    let numbers: Vec<f64> = Vec::try_from(raw.view(-1)).unwrap();
    let total: f64 = numbers.iter().map(|x| x.exp()).sum();
    let expected: f64 =
        numbers.iter().enumerate().map(|(i, x)| x.exp() / total * (i as f64 * 0.5 - 1.0)).sum();
    assert!((of(&raw, categorical) - expected).abs() < 1e-12);
    let raw = raw.narrow(1, 0, 5);
    assert!((of(&raw, quantiles) - numbers[..5].iter().sum::<f64>() / 5.0).abs() < 1e-12);
}

#[test]
fn a_policy_and_critics_stand_on_one_memory() {
    let returns = Returns::Expected {};
    let policy = network(&Outputs::ActorAndActionValues { critics: 2, returns }, 1);
    let inputs = frames(&mut Seed::new(1).generator(), 4, 2, DISCRETE);
    let state = policy.initial_state(2);
    let (output, _) = policy.unroll(&inputs, &state);
    let (y, _) = policy.remember(&inputs, &state);
    let Distribution::Categorical { logits } = &output.distribution else { panic!("logits") };
    let Distribution::Categorical { logits: apart } = policy.distribution(&y) else {
        panic!("logits")
    };
    assert_eq!(logits, &apart);
    for (whole, apart) in output.values.actions().iter().zip(policy.action_values(&y)) {
        assert_eq!(whole.raw, apart.raw);
    }
    let actor = network(&Outputs::Actor {}, 1);
    assert!(actor.parameter_count() < policy.parameter_count());
}

#[test]
fn a_replica_says_the_same_and_learns_nothing() {
    let returns = Returns::Expected {};
    let policy = network(&Outputs::ActionValues { critics: 1, returns }, 1);
    let replica = policy.replica();
    assert!(replica.trainable().is_empty());
    for ((name, ours), (copied, theirs)) in policy.weights().iter().zip(replica.weights()) {
        assert_eq!((name, ours), (copied, theirs));
        assert_ne!(ours.data_ptr(), theirs.data_ptr());
    }
}

#[test]
fn continuous_actions_cannot_be_valued_one_by_one() {
    let config = config(MemoryConfig::None(NoneConfig {}));
    let outputs = Outputs::ActionValues { critics: 1, returns: Returns::Expected {} };
    let (environment, seed) = (spec(CONTINUOUS), Seed::new(1));
    let made =
        Policy::with_outputs(&outputs, Kind::Float, &config, &environment, seed, Device::Cpu);
    let Err(error @ PolicyError::ContinuousActions { dimensions: 2 }) = made.map(|_| ()) else {
        panic!("continuous actions were taken")
    };
    assert!(error.to_string().contains("needs discrete actions"), "{error}");
}

#[test]
fn outputs_and_exploration_travel_with_the_weights() {
    let config = config(MemoryConfig::None(NoneConfig {}));
    let outputs =
        Outputs::ActionValues { critics: 1, returns: Returns::Quantiles { quantiles: 3 } };
    let fresh = |outputs: &Outputs, seed| {
        let (environment, seed) = (spec(DISCRETE), Seed::new(seed));
        Policy::with_outputs(outputs, Kind::Float, &config, &environment, seed, Device::Cpu)
            .unwrap()
    };
    let mut policy = fresh(&outputs, 1);
    let exploration = Exploration {
        choice: Choice::Greedy,
        epsilon: 0.25,
        spread: Some(EpsilonSpread { actors: 4, exponent: 7.0 }),
    };
    policy.set_exploration(exploration);
    let bytes = policy.save(3);
    let read = Policy::from_weights(&bytes, Device::Cpu).unwrap();
    assert_eq!((read.outputs(), read.exploration()), (&outputs, &exploration));
    let mut other = fresh(&outputs, 2);
    assert_eq!(other.exploration(), &Exploration::NONE);
    other.load(&bytes).unwrap();
    assert_eq!(other.exploration(), &exploration);
    let mut critic = fresh(&Outputs::ActorCritic {}, 2);
    let error = critic.load(&bytes).unwrap_err();
    assert!(matches!(&error, PolicyError::OtherConfig { .. }), "{error}");
}
