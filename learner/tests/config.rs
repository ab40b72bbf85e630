//! The `[rl]` part: what loads, and what is refused with which words.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

use engram_learner::algorithms::{AlgorithmConfig, Reduction, RlConfig, VtraceConfig};
use engram_learner::config::{OptimizerConfig, RewardClip};
use engram_policy::PolicyConfig;

const VTRACE: &str = include_str!("../../configs/rl/vtrace.toml");
const IMPALA: &str = include_str!("../../configs/rl/impala.toml");

fn vtrace(text: &str) -> VtraceConfig {
    let mut table: toml::Table = text.parse().expect("it is TOML");
    table.remove("algorithm").expect("an algorithm has a name");
    table.try_into().expect("it loads")
}

#[test]
fn every_config_that_we_ship_loads_and_validates_and_says_what_it_is() {
    for text in [VTRACE, IMPALA] {
        let config: RlConfig = toml::from_str(text).expect("it loads");
        config.algorithm().validate().expect("its values are in range");
        assert!(text.starts_with("# "), "the first line is a comment");
        let config = vtrace(text);
        let again = toml::to_string(&config).expect("it can be written");
        assert_eq!(config, toml::from_str(&again).expect("and read back"));
    }
}

#[test]
fn the_recipe_of_impala_is_that_of_the_paper() {
    let config = vtrace(IMPALA);
    assert_eq!(config.reduction, Reduction::Sum);
    assert_eq!(config.reward_clip, RewardClip::AbsOne);
    assert_eq!((config.learning_rate, config.max_grad_norm), (6e-4, 40.0));
    assert_eq!((config.entropy_cost, config.baseline_cost), (0.01, 0.5));
    let expected = OptimizerConfig::Rmsprop { alpha: 0.99, epsilon: 0.01, momentum: 0.0 };
    assert_eq!(config.optimizer, expected);
}

#[test]
fn unknown_and_missing_keys_are_errors_that_name_them() {
    let refuse = |text: &str| toml::from_str::<RlConfig>(text).expect_err("refused").to_string();
    let unknown = refuse(&VTRACE.replace("discount =", "gamma ="));
    assert!(unknown.contains("`gamma`") && unknown.contains("`discount`"), "{unknown}");
    let in_optimizer = refuse(&format!("{VTRACE}\nbeta3 = 0.5\n"));
    assert!(in_optimizer.contains("`beta3`") && in_optimizer.contains("`beta2`"), "{in_optimizer}");
    let missing = refuse(&VTRACE.replace("lambda =", "# lambda ="));
    assert!(missing.contains("`lambda`"), "{missing}");
    let algorithm = refuse(&VTRACE.replace("\"vtrace\"", "\"a2c\""));
    assert!(algorithm.contains("`a2c`") && algorithm.contains("`vtrace`"), "{algorithm}");
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    let refuse = |change: &dyn Fn(&mut VtraceConfig)| {
        let mut config = vtrace(VTRACE);
        change(&mut config);
        config.validate().expect_err("refused").to_string()
    };
    assert_eq!(refuse(&|c| c.discount = 1.5), "rl.discount is 1.5; it must be between 0 and 1");
    assert!(refuse(&|c| c.discount = f64::NAN).contains("rl.discount is NaN"));
    assert!(refuse(&|c| c.batch_size = 0).contains("rl.batch_size"));
    assert!(refuse(&|c| c.c_clip = 2.0 * c.rho_clip).contains("at most rl.rho_clip"));
    assert!(refuse(&|c| c.learning_rate = 0.0).contains("rl.learning_rate"));
    assert!(refuse(&|c| c.entropy_cost = f64::INFINITY).contains("rl.entropy_cost"));
    assert!(refuse(&|c| c.max_grad_norm = -1.0).contains("inf for no limit"));
    assert!(refuse(&|c| c.max_non_finite_updates = 0).contains("at least 1"));
    let frozen = OptimizerConfig::Adam { beta1: 1.0, beta2: 0.9, epsilon: 0.1, weight_decay: 0.0 };
    assert!(refuse(&|c| c.optimizer = frozen).contains("rl.optimizer.beta1"));
}

#[test]
fn numbers_of_ppo_outside_their_range_are_named() {
    let refuse = |line: &str| {
        let (key, _) = line.split_once(" = ").unwrap();
        let rest = PPO.lines().filter(|found| !found.starts_with(key));
        let text = std::iter::once(line).chain(rest).collect::<Vec<_>>().join("\n");
        let rl: RlConfig = toml::from_str(&text).unwrap();
        rl.algorithm().validate().expect_err("refused").to_string()
    };
    assert_eq!(refuse("epochs = 0"), "rl.epochs is 0; it must be between 1 and 1000");
    assert!(
        refuse("minibatches = 5").contains("rl.minibatches is 5; it must be a divisor of rl.b")
    );
    assert!(refuse("ratio_clip = 1.0").contains("above 0 and below 1"));
    assert!(refuse("value_clip = 0.0").contains("rl.value_clip is 0"));
    assert!(refuse("reward_scale = 0.0").contains("rl.reward_scale is 0; it must be a positive n"));
    assert!(refuse("kl_stop = -0.1").contains("rl.kl_stop"));
    assert!(refuse("importance_clip = nan").contains("rl.importance_clip is NaN"));
}

#[test]
fn inf_switches_a_limit_off() {
    let mut config = vtrace(VTRACE);
    (config.rho_clip, config.max_grad_norm) = (f64::INFINITY, f64::INFINITY);
    config.validate().expect("no limit is a limit too");
}

const PPO: &str = include_str!("../../configs/rl/ppo.toml");
const SAC: &str = include_str!("../../configs/rl/sac.toml");
const EMBED: &str = "{ previous_action = 4, activation = \"relu\", init = { name = \"fan_in\" } }";
const INPUTS: &str = "seq.inputs=[\"observation\", \"previous_observation\", \"previous_action\", \
                      \"previous_reward\"]";
const CNN: &str = "seq.torso={ name = \"cnn\", features = 4, init = { name = \"fan_in\" }, \
                   convolutions = [{ channels = 2, kernel = 2, stride = 1 }] }";
const MLP: &str = "seq.torso={ name = \"mlp\", hidden = [4], activation = \"relu\", init = { name = \"fan_in\" } }";
const GPT2: &str = "seq.memory={ name = \"gpt2\", width = 8, heads = 2, blocks = 1, \
                    context_length = 9, positions = \"sine\", dropout = 0.0 }";

#[test]
fn every_key_that_may_be_left_out_can_be_set() {
    let dqn = include_str!("../../configs/rl/dqn.toml");
    // Those of environments are the environments' business, and the command line's is a width by then.
    let others = |key: &&&str| key.starts_with("env.") || **key == "seq.parameters";
    let keys = engram_service::config::OPTIONAL.iter().filter(|key| !others(key));
    for key in keys {
        let value = match *key {
            "run.eval_actions" => "drawn",
            "rl.ratio_clip" => "0.2",
            "rl.normalize_advantages" => "0.1",
            "rl.value_clip" => "0.2",
            "rl.reward_scale" => "0.01",
            "rl.kl_stop" => "0.02",
            "rl.importance_clip" => "2.0",
            "rl.max_grad_norm" => "5.0",
            "rl.learning_rates" => "{ memory = 1e-5 }",
            "rl.random_shift" => "4",
            "rl.reset_updates" => "200000",
            "rl.log_ranks" => "true",
            "rl.optimizer.weight_decay" => "0.01",
            "rl.target.every" => "2",
            "rl.freeze" => "[\"torso\"]",
            "rl.exploration.action_noise" => "0.0",
            "rl.replay.batch_env_steps" => "500",
            "rl.objective.policy_delay" => "2",
            "rl.objective.critic_learning_rate" | "rl.objective.critics.learning_rate" => "1e-3",
            "rl.objective.critics.target_subset" => "1",
            "rl.objective.critics.value_guard" => "1e-3",
            "rl.objective.temperature.greatest" => "2.7",
            "seq.skip" => "{ observation = 8, init = { name = \"fan_in\" } }",
            "seq.head.action" => "8",
            "rl.exploration.spread" => "{ actors = 4, exponent = 7.0 }",
            "rl.rate_limiter.slack_env_steps" => "500",
            "rl.rate_limiter.turns" => "episodes",
            "rl.replay.storage" => "disk",
            "rl.replay.sampling" => {
                "{ name = \"prioritized\", exponent = 0.9, importance = 0.6, largest_share = 0.9 }"
            }
            "rl.replay.initial_state" => "zero",
            "rl.replay.packed" => "true",
            "rl.objective.returns" => "{ name = \"expected\" }",
            "rl.objective.value_rescaling" => "1e-3",
            "seq.embed" => EMBED,
            "seq.embed.observation" | "seq.embed.previous_action" => "8",
            "seq.embed.previous_reward" | "seq.embed.previous_observation" => "8",
            "seq.memory.input" => "linear",
            "seq.memory.export_state" => "true",
            "seq.torso.norm" => "layer",
            "seq.torso.output" => "layer_norm_tanh",
            "seq.torso.bf16" | "seq.memory.bf16" => "true",
            other => panic!("the test knows no value for {other}"),
        };
        let part = match *key {
            "rl.ratio_clip" | "rl.normalize_advantages" => VTRACE,
            "rl.value_clip" | "rl.reward_scale" | "rl.kl_stop" | "rl.importance_clip" => PPO,
            "rl.rate_limiter.turns" => include_str!("../../configs/rl/memory-rl/dqn.toml"),
            "rl.objective.critic_learning_rate" => include_str!("../../configs/rl/ddpg.toml"),
            "rl.objective.policy_delay" | "rl.objective.temperature.greatest" => SAC,
            key if key.starts_with("rl.objective.critics.") => SAC,
            _ => dqn,
        };
        // Tables that the key may stand in.
        let mut changes = match *key {
            "seq.memory.input" | "seq.memory.export_state" => vec![GPT2.to_owned()],
            "seq.torso.norm" => vec![MLP.to_owned()],
            "seq.torso.output" | "seq.torso.bf16" => vec![CNN.to_owned()],
            key if key.starts_with("seq.") => {
                vec![format!("seq.embed={EMBED}"), INPUTS.to_owned()]
            }
            _ => vec![],
        };
        changes.push(format!("{key}={value}"));
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let resolved = fixtures::resolved_with(part, &changes);
        let seq: PolicyConfig =
            resolved.section("seq").unwrap_or_else(|error| panic!("{key}: {error}"));
        seq.validate().unwrap_or_else(|error| panic!("{key}: {error}"));
        let rl: RlConfig = resolved.section("rl").unwrap_or_else(|error| panic!("{key}: {error}"));
        rl.algorithm().validate().unwrap_or_else(|error| panic!("{key}: {error}"));
        resolved.run().unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}
