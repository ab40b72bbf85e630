//! Outputs of networks other than an actor-critic.

use engram_mdp::Seed;
use engram_policy::exploration::{Choice, EpsilonSpread};
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{
    Distribution, Exploration, Initialization, MemoryConfig, Outputs, Policy, PolicyError, Returns,
    VectorSpread,
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
        action_noise: 0.0,
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

fn vectors(outputs: &Outputs, action: Option<i64>) -> Policy {
    let mut config = config(MemoryConfig::None(NoneConfig {}));
    (config.head.hidden, config.head.action) = (vec![4], action);
    let seed = Seed::new(5);
    Policy::with_outputs(outputs, Kind::Double, &config, &spec(CONTINUOUS), seed, Device::Cpu)
        .unwrap()
}

#[test]
fn members_of_an_ensemble_value_vectors_each_by_weights_of_its_own() {
    for action in [None, Some(3)] {
        let policy = vectors(&Outputs::StateActionValues { critics: 3 }, action);
        let inputs = frames(&mut Seed::new(1).generator(), 5, 2, CONTINUOUS);
        let (y, _) = policy.remember(&inputs, &policy.initial_state(2));
        let actions = inputs.previous_action.to_kind(Kind::Double);
        let found = policy.state_action_values(&y, &actions);
        assert_eq!(found.size(), [3, 5, 2]);
        let part = |name: &str| {
            let name = format!("state_action_values.{name}");
            policy.weights().iter().find(|(n, _)| *n == name).unwrap().1.detach()
        };
        let seen = match action {
            None => actions.shallow_clone(),
            Some(_) => actions.matmul(&part("action.weight").tr()) + part("action.bias"),
        };
        let x = Tensor::cat(&[y, seen], -1);
        for member in 0..3 {
            let layer = |x: &Tensor, number: i64| {
                let of = |kind: &str| part(&format!("{number}.{kind}")).get(member);
                x.matmul(&of("weight").tr()) + of("bias").squeeze_dim(0)
            };
            let expected = layer(&layer(&x, 0).relu(), 1).squeeze_dim(-1);
            assert!(difference(&found.get(member), &expected) < 1e-12);
        }
        assert!(difference(&found.get(0), &found.get(1)) > 0.0, "members differ");
    }
}

#[test]
fn actors_of_vectors_say_a_spread_of_each_frame_or_none() {
    let inputs = frames(&mut Seed::new(1).generator(), 5, 2, CONTINUOUS);
    let spread = VectorSpread::Gaussian;
    let policy = vectors(&Outputs::VectorActor { spread, critics: 2 }, None);
    let (output, _) = policy.unroll(&inputs, &policy.initial_state(2));
    let Distribution::Gaussian { mean, log_std } = &output.distribution else { panic!("spread") };
    assert_eq!((mean.size(), log_std.size()), (vec![5, 2, 2], vec![5, 2, 2]));
    assert!(difference(&log_std.get(0), &log_std.get(1)) > 0.0, "it follows from the frame");
    let spread = VectorSpread::Deterministic;
    let policy = vectors(&Outputs::VectorActor { spread, critics: 0 }, None);
    let (output, _) = policy.unroll(&inputs, &policy.initial_state(2));
    assert!(matches!(output.distribution, Distribution::Deterministic { .. }));
    let noise = output.distribution.noise(&mut Seed::new(2).generator());
    assert_eq!(output.distribution.sample(&noise), output.distribution.mode());
}

#[test]
fn networks_for_vectors_need_continuous_actions_and_the_message_says_which_algorithms_do_not() {
    let outputs = Outputs::VectorActor { spread: VectorSpread::Gaussian, critics: 0 };
    let config = config(MemoryConfig::None(NoneConfig {}));
    let (seed, device) = (Seed::new(1), Device::Cpu);
    let refused =
        Policy::with_outputs(&outputs, Kind::Float, &config, &spec(DISCRETE), seed, device);
    let message = refused.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("4 discrete actions") && message.contains("DQN"), "{message}");
}
