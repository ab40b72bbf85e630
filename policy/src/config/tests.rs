//! Configurations of sequence models that are refused, and the words with which they are.

use super::*;
use crate::memory::lstm::LstmConfig;

fn elstm(gradient: &str, extra: &str) -> Result<PolicyConfig, toml::de::Error> {
    toml::from_str(&format!(
        "inputs = [\"observation\", \"previous_action\"]\n{extra}\n\
         [torso]\nname = \"identity\"\n\
         [memory]\nname = \"elstm\"\nhidden = 8\ngradient = \"{gradient}\"\nforget_bias = 0.0\n\
         [head]\nhidden = []\nactivation = \"relu\"\n\
         [head.init]\nhidden = {{ name = \"fan_in\" }}\npolicy = {{ name = \"fan_in\" }}\n\
         value = {{ name = \"fan_in\" }}\naction_values = {{ name = \"fan_in\" }}\n"
    ))
}

#[test]
fn a_gradient_that_does_not_exist_is_refused_by_naming_those_that_do() {
    assert!(elstm("tbptt", "").is_ok());
    let message = elstm("exact", "").unwrap_err().to_string();
    assert!(message.contains("exact") && message.contains("rtrl"), "{message}");
}

#[test]
fn unknown_keys_are_refused_everywhere_even_in_parts_without_settings() {
    assert!(elstm("tbptt", "layers = 2").unwrap_err().to_string().contains("layers"));
    let torso: Result<TorsoConfig, _> = toml::from_str("name = \"identity\"\nhidden = [3]");
    assert!(torso.unwrap_err().to_string().contains("hidden"));
    let memory: Result<MemoryConfig, _> = toml::from_str("name = \"none\"\nhidden = 3");
    assert!(memory.unwrap_err().to_string().contains("hidden"));
}

const EMBED: &str = "embed = { previous_action = 4, activation = \"relu\", \
                     init = { name = \"fan_in\" } }";

#[test]
fn an_embedder_needs_a_width_and_an_input_to_embed() {
    let refuse = |change: fn(&mut EmbedConfig)| {
        let mut config = elstm("tbptt", EMBED).unwrap();
        assert!(config.validate().is_ok());
        change(config.embed.as_mut().unwrap());
        config.validate().unwrap_err().to_string()
    };
    let message = refuse(|embed| embed.previous_reward = Some(3));
    assert!(message.contains("`embed.previous_reward` of the sequence model is 3"), "{message}");
    assert!(message.contains("\"clipped_previous_reward\" be one of `inputs`"), "{message}");
    let message = refuse(|embed| embed.previous_action = Some(0));
    assert!(message.contains("`embed.previous_action`") && message.contains("65536"), "{message}");
    let message = refuse(|embed| embed.previous_action = None);
    assert!(message.contains("`embed`") && message.contains("left out"), "{message}");
    let message = elstm("tbptt", &EMBED.replace("previous_action", "action")).unwrap_err();
    assert!(message.to_string().contains("`previous_action`"), "{message}");
}

#[test]
fn what_rtrl_truncates_names_the_embedders() {
    let said = |extra| elstm("rtrl", extra).unwrap().truncation().unwrap();
    assert!(said("").contains("the torso, learns"), "{}", said(""));
    assert!(said(EMBED).contains("the torso and the embedders, learn"), "{}", said(EMBED));
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    let refuse = |change: fn(&mut PolicyConfig)| {
        let mut config = elstm("tbptt", "").unwrap();
        assert!(config.validate().is_ok());
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    let no_cells = refuse(|c| {
        let lstm = LstmConfig {
            hidden: 0,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        };
        c.memory = MemoryConfig::Lstm(lstm);
    });
    assert!(no_cells.contains("`memory.hidden`") && no_cells.contains("65536"), "{no_cells}");
    assert!(refuse(|c| c.inputs = vec![MemoryInput::PreviousReward]).contains("inputs"));
    assert!(refuse(|c| c.inputs.push(MemoryInput::Observation)).contains("repetition"));
    let message = refuse(|c| {
        c.inputs = vec![
            MemoryInput::Observation,
            MemoryInput::PreviousReward,
            MemoryInput::ClippedPreviousReward,
        ];
    });
    assert!(message.contains("not both"), "{message}");
    fn resnet(channels: Vec<i64>) -> TorsoConfig {
        TorsoConfig::ImpalaResnet {
            channels,
            features: 8,
            init: Initialization::FAN_IN,
            bf16: false,
        }
    }
    assert!(refuse(|c| c.torso = resnet(vec![])).contains("number of torso.channels"));
    assert!(refuse(|c| c.torso = resnet(vec![16, 0])).contains("`torso.channels`"));
    assert!(refuse(|c| c.head.hidden = vec![4, -1]).contains("head.hidden"));
    let message = refuse(|c| {
        c.head.init.policy = Initialization::Orthogonal { gain: -1.0, bias: 0.0 };
    });
    assert!(message.contains("`head.init.policy`") && message.contains("-1"), "{message}");
}
