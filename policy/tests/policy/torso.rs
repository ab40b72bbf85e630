//! The deep ResNet: what it computes, how many weights it has, and what is fed beside it.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{
    Activation, CnnOutput, Convolution, Distribution, Gradient, HeadConfig, HeadInit,
    Initialization, Inputs, MemoryConfig, MemoryInput, Policy, PolicyConfig, TorsoConfig,
};
use tch::{Device, Kind, Tensor};

use super::difference;

const CPU: Device = Device::Cpu;

fn config(channels: &[i64], features: i64, memory: MemoryConfig) -> PolicyConfig {
    PolicyConfig {
        inputs: vec![MemoryInput::Observation, MemoryInput::ClippedPreviousReward],
        torso: TorsoConfig::ImpalaResnet {
            channels: channels.to_vec(),
            features,
            init: Initialization::FAN_IN,
            bf16: false,
        },
        embed: None,
        memory,
        skip: None,
        head: HeadConfig {
            hidden: vec![],
            activation: Activation::Relu,
            action: None,
            init: HeadInit::FAN_IN,
        },
    }
}

fn environment(shape: [usize; 3], actions: usize) -> EnvSpec {
    EnvSpec {
        name: "images".into(),
        observation: ObservationSpec { dtype: Dtype::U8, shape: shape.to_vec() },
        action: ActionSpec::Discrete { count: actions },
        frame_stack: 1,
        action_repeat: 1,
    }
}

/// A policy without memory whose logits are the torso's 5 features and the clipped reward.
fn transparent(image: [usize; 3]) -> Policy {
    let (config, environment) =
        (config(&[3, 4], 5, MemoryConfig::None(NoneConfig {})), environment(image, 6));
    let policy = Policy::of_kind(Kind::Double, &config, &environment, Seed::new(0), CPU).unwrap();
    tch::no_grad(|| {
        for (k, (name, mut weight)) in policy.trainable().into_iter().enumerate() {
            let values = match name.as_str() {
                "policy.0.weight" => Tensor::eye(6, (Kind::Double, CPU)),
                "policy.0.bias" => weight.zeros_like(),
                _ => wave(k, &weight.size()),
            };
            weight.copy_(&values);
        }
    });
    policy
}

/// The numbers of `goldens/resnet.py`'s parameter k.
fn wave(k: usize, shape: &[i64]) -> Tensor {
    let places = Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, CPU));
    ((places * 2.3 + (1 + k) as f64).sin() * 0.3).view(shape)
}

/// Its bytes.
fn images(rows: i64, image: [usize; 3]) -> Tensor {
    let length = rows as usize * image.iter().product::<usize>();
    let bytes: Vec<u8> = (0..length).map(|i| ((37 * i + 11) % 256) as u8).collect();
    let image = image.map(|side| side as i64);
    Tensor::from_slice(&bytes).view([rows, image[0], image[1], image[2]])
}

/// First frames that show `images`, and the rewards before them.
fn moment(images: Tensor, rewards: &[f32]) -> Inputs {
    let rows = rewards.len();
    let actions = Tensor::zeros([rows as i64], (Kind::Int64, CPU));
    Inputs::new(images, actions, Tensor::from_slice(rewards), vec![true; rows])
}

fn logits(policy: &Policy, inputs: &Inputs) -> Tensor {
    let batch = inputs.leading()[0];
    let unrolled = Inputs::new(
        inputs.observation.unsqueeze(0),
        inputs.previous_action.unsqueeze(0),
        inputs.previous_reward.unsqueeze(0),
        vec![true; batch as usize],
    );
    let (output, _) = policy.unroll(&unrolled, &policy.initial_state(batch));
    let Distribution::Categorical { logits } = output.distribution else { panic!("logits") };
    logits.squeeze_dim(0)
}

#[test]
fn the_resnet_and_its_gradients_are_those_of_plain_pytorch() {
    let goldens: serde_json::Value =
        serde_json::from_str(include_str!("../goldens/resnet.json")).unwrap();
    let image = [2, 11, 6];
    let policy = transparent(image);
    let features = logits(&policy, &moment(images(3, image), &[0.0; 3])).narrow(1, 0, 5);
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let outputs = goldens["outputs"].as_array().unwrap();
    let outputs: Vec<f64> = outputs.iter().flat_map(&numbers).collect();
    let expected = Tensor::from_slice(&outputs).view([3, 5]);
    assert!(difference(&features, &expected) < 1e-12);

    let weights = (Tensor::arange(15, (Kind::Double, CPU)) + 1.0).sin().view([3, 5]);
    let named = policy.trainable();
    let torso: Vec<_> = named.iter().filter(|(name, _)| name.starts_with("torso.")).collect();
    let tensors: Vec<&Tensor> = torso.iter().map(|(_, tensor)| tensor).collect();
    let loss = (features * weights).sum(Kind::Double);
    let found = Tensor::run_backward(&[loss], &tensors, false, false);
    let gradients = goldens["gradients"].as_array().unwrap();
    assert_eq!(found.len(), gradients.len());
    for (((name, _), found), gradient) in torso.iter().zip(&found).zip(gradients) {
        let expected = Tensor::from_slice(&numbers(gradient)).view_as(found);
        assert!(difference(found, &expected) < 1e-12, "{name}");
    }
}

#[test]
fn on_one_thread_images_go_through_in_groups_and_come_out_as_they_would_alone() {
    tch::set_num_threads(1);
    // 4 MB an image in the largest layer: a group of 3 and one of 2.
    let image = [1, 592, 592];
    let policy = transparent(image);
    let rewards: Vec<f32> = (0..5).map(|i| i as f32).collect();
    let bytes = images(5, image);
    let together = logits(&policy, &moment(bytes.shallow_clone(), &rewards));
    for row in [0, 2, 3, 4] {
        let alone = logits(&policy, &moment(bytes.narrow(0, row, 1), &[row as f32]));
        assert!(difference(&together.narrow(0, row, 1), &alone) < 1e-9);
    }
}

/// The features' gradients, one after the other, and the features.
fn in_single_precision(torso: TorsoConfig) -> [Tensor; 2] {
    let config = PolicyConfig { torso, ..config(&[1], 1, MemoryConfig::None(NoneConfig {})) };
    let image = [3, 20, 24];
    let policy = Policy::new(&config, &environment(image, 6), Seed::new(1), CPU).unwrap();
    let rewards: Vec<f32> = (0..9).map(|i| i as f32).collect();
    let features = logits(&policy, &moment(images(9, image), &rewards));
    let named = policy.trainable();
    let torso: Vec<&Tensor> = named.iter().map(|(_, weight)| weight).collect();
    let loss = features.square().sum(Kind::Float);
    let found = Tensor::run_backward(&[loss], &torso, false, false);
    let flat: Vec<Tensor> = found.iter().map(|gradient| gradient.flatten(0, -1)).collect();
    [Tensor::cat(&flat, 0), features.flatten(0, -1)]
}

/// On a processor without bfloat16 they are the same.
#[test]
fn in_bfloat16_torsos_and_their_gradients_are_nearly_the_same() {
    let init = Initialization::Orthogonal { gain: 1.0, bias: 0.1 };
    let convolutions = vec![Convolution { channels: 8, kernel: 4, stride: 2 }];
    let cnn = |bf16| TorsoConfig::Cnn {
        convolutions: convolutions.clone(),
        features: 32,
        init,
        output: CnnOutput::LayerNormTanh,
        bf16,
    };
    let resnet =
        |bf16| TorsoConfig::ImpalaResnet { channels: vec![8, 16], features: 32, init, bf16 };
    for [whole, half] in [[cnn(false), cnn(true)], [resnet(false), resnet(true)]] {
        for (whole, half) in in_single_precision(whole).iter().zip(&in_single_precision(half)) {
            assert_eq!(half.kind(), Kind::Float);
            let difference = ((whole - half).norm() / whole.norm()).double_value(&[]);
            assert!(difference < 0.06, "{difference}");
            #[cfg(target_arch = "x86_64")]
            assert_eq!(difference > 0.0, is_x86_feature_detected!("avx512bf16"));
        }
    }
}

#[test]
fn the_clipped_reward_is_fed_within_one() {
    let image = [1, 4, 4];
    let policy = transparent(image);
    let inputs = moment(images(4, image), &[-7.0, -0.25, 0.5, 10.0]);
    let (output, _) = policy.step(&inputs, &policy.initial_state(4));
    let Distribution::Categorical { logits } = output.distribution else { panic!("logits") };
    assert_eq!(Vec::<f64>::try_from(logits.select(1, 5)).unwrap(), [-1.0, -0.25, 0.5, 1.0]);
}

#[test]
fn the_agents_of_the_rtrl_paper_have_their_number_of_weights() {
    let count = |image, actions, memory| {
        let config = config(&[16, 32, 32], 256, memory);
        let policy = Policy::new(&config, &environment(image, actions), Seed::new(1), CPU);
        policy.unwrap().parameter_count()
    };
    let counts = |image, hidden, actions| {
        let elstm =
            MemoryConfig::Elstm(ElstmConfig { hidden, gradient: Gradient::Rtrl, forget_bias: 0.0 });
        let lstm = MemoryConfig::Lstm(LstmConfig {
            hidden,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        });
        [elstm, MemoryConfig::None(NoneConfig {}), lstm].map(|memory| count(image, actions, memory))
    };
    assert_eq!(counts([3, 72, 96], 512, 9), [1_647_178, 985_172, 2_566_730], "DMLab");
    assert_eq!(counts([3, 64, 64], 256, 15), [890_448, 626_272, 1_153_616], "ProcGen");
    assert_eq!(counts([4, 84, 84], 256, 6), [1_355_223, 1_091_038, 1_618_391], "Atari");
}

#[test]
fn more_sections_than_the_image_can_be_halved_are_refused() {
    let build = |sections, image| {
        let config = config(&vec![2; sections], 3, MemoryConfig::None(NoneConfig {}));
        Policy::new(&config, &environment(image, 2), Seed::new(1), CPU)
    };
    assert!(build(3, [1, 8, 5]).is_ok());
    let message = build(4, [1, 8, 5]).err().unwrap().to_string();
    assert!(message.contains("`torso.channels`") && message.contains("at most 3"), "{message}");
}
