//! Random gravity, and tasks that must be found out in several inner episodes.

use std::collections::BTreeSet;

use engram_envs::{EnvConfig, Environment};
use engram_mdp::{Action, Ending, ObservationMut, Seed};

const GRAVITY: &str = "gravity = { name = 'random', strength = 9.81, log_range = 3.0, tasks = 6, \
                       train_tasks = 4, split = 'train', task_seed = 0 }";

fn read(text: &str) -> Result<EnvConfig, String> {
    EnvConfig::from_table(text.parse().expect("TOML")).map_err(|error| error.to_string())
}

fn direction(robot: &str) -> String {
    format!(
        "name = '{robot}-direction'\nmax_steps = 20\ninner_episodes = 3\nreset_noise = 0.0\n\
         gravity = {{ name = 'fixed', strength = 9.8 }}\ndirections = [0.0, 3.1415927]\n\
         control_cost = 0.0\nalive_bonus = 0.0"
    )
}

fn velocity(split: &str) -> String {
    format!(
        "name = 'half-cheetah-velocity'\nmax_steps = 1\ninner_episodes = 1\nreset_noise = 0.0\n\
         gravity = {{ name = 'fixed', strength = 9.8 }}\nmin_velocity = 0.0\n\
         max_velocity = 3.0\ntasks = 12\ntrain_tasks = 10\nsplit = '{split}'\ntask_seed = 5\n\
         control_cost = 0.0"
    )
}

/// Steps with an action, and returns reward and ending.
fn step(
    environment: &mut dyn Environment,
    number: f32,
    observation: &mut [f32],
) -> (f32, Option<Ending>) {
    let action = vec![number; environment.spec().action.width()];
    let outcome = environment.step(Action::Continuous(&action), ObservationMut::F32(observation));
    (outcome.reward, outcome.ending)
}

#[test]
fn every_episode_falls_in_one_of_few_worlds() {
    let text =
        format!("name = 'ant'\nmax_steps = 9\nreset_noise = 0.0\nobserve = 'full'\n{GRAVITY}");
    let falls = |split: &str| {
        let config = read(&text.replace("'train'", &format!("'{split}'"))).expect("valid");
        let mut environment = config.make(Seed::new(1));
        let mut observation = vec![0.0; environment.spec().observation.len()];
        let mut falls = BTreeSet::new();
        for _ in 0..80 {
            environment.reset(ObservationMut::F32(&mut observation));
            for _ in 0..5 {
                step(&mut *environment, 0.0, &mut observation);
            }
            falls.insert(observation[0].to_bits());
        }
        falls
    };
    let (train, test) = (falls("train"), falls("test"));
    assert_eq!((train.len(), test.len()), (4, 2), "worlds of each split");
    assert!(train.is_disjoint(&test));
    // 20 substeps of 4.125 ms: 3.57e-3 s² times gravity, a little less by the resistance of the air.
    for fall in train.iter().map(|bits| -f32::from_bits(*bits)) {
        assert!((3.4e-3 * 0.296..3.6e-3 * 3.375).contains(&(fall / 9.81)), "it fell {fall} m");
    }
}

#[test]
fn an_episode_holds_several_tries_of_one_task() {
    let mut environment = read(&direction("half-cheetah")).expect("valid").make(Seed::new(2));
    let length = environment.spec().observation.len();
    assert_eq!(length, 27);
    let mut goals = BTreeSet::new();
    for _ in 0..12 {
        let mut observation = vec![9.0; length];
        environment.reset(ObservationMut::F32(&mut observation));
        let start = observation.clone();
        assert_eq!(start[length - 1], 0.0);
        let mut returns = [0.0_f32; 3];
        for decision in 1..=60 {
            let (reward, ending) = step(&mut *environment, 0.8, &mut observation);
            returns[(decision - 1) / 20] += reward;
            assert_eq!(ending, (decision == 60).then_some(Ending::Truncated));
            let begins = decision == 20 || decision == 40;
            assert_eq!(observation[length - 1], f32::from(u8::from(begins)), "at {decision}");
            if begins {
                assert_eq!(observation[..length - 1], start[..length - 1]);
            }
        }
        // The same actions from the same start pay the same in every try of an episode.
        assert_eq!((returns[0], returns[0]), (returns[1], returns[2]));
        assert!(returns[0].abs() > 0.1);
        goals.insert(returns[0] > 0.0);
    }
    assert_eq!(goals.len(), 2, "both directions are drawn");
}

#[test]
fn a_fall_ends_a_try_and_the_last_one_ends_the_episode() {
    let text = direction("ant").replace("max_steps = 20", "max_steps = 200");
    let mut environment = read(&text).expect("valid").make(Seed::new(2));
    let mut observation = vec![0.0; environment.spec().observation.len()];
    environment.reset(ObservationMut::F32(&mut observation));
    // Without torque the ant's ball is on the floor after 20 decisions.
    let mut flags = Vec::new();
    for decision in 1..=60 {
        let (_, ending) = step(&mut *environment, 0.0, &mut observation);
        if observation[28] == 1.0 {
            flags.push(decision);
        }
        assert_eq!(ending, (decision == 60).then_some(Ending::Terminated), "at {decision}");
    }
    assert_eq!(flags, [20, 40]);
}

#[test]
fn speeds_are_drawn_once_and_split() {
    let speeds = |split: &str| {
        let mut environment = read(&velocity(split)).expect("valid").make(Seed::new(3));
        let mut observation = vec![0.0; environment.spec().observation.len()];
        let mut rewards = BTreeSet::new();
        for _ in 0..120 {
            environment.reset(ObservationMut::F32(&mut observation));
            let (reward, ending) = step(&mut *environment, 0.0, &mut observation);
            assert_eq!(ending, Some(Ending::Truncated));
            // It falls straight down: the reward is the speed that was wanted.
            assert!((-3.01..=0.01).contains(&reward), "{reward}");
            rewards.insert(reward.to_bits());
        }
        rewards
    };
    let (train, test) = (speeds("train"), speeds("test"));
    assert_eq!((train.len(), test.len()), (10, 2));
    assert!(train.is_disjoint(&test));
}

#[test]
fn a_parameter_out_of_its_range_is_named_with_the_range() {
    let hopper =
        format!("name = 'hopper'\nmax_steps = 9\nreset_noise = 0.1\nobserve = 'p'\n{GRAVITY}");
    for (text, message) in [
        (
            hopper.replace("log_range = 3.0", "log_range = 9.0"),
            "`gravity.log_range` of environment `hopper` is 9; it must be 0 to 5",
        ),
        (
            hopper.replace("train_tasks = 4", "train_tasks = 6"),
            "`gravity.train_tasks` of environment `hopper` is 6; it must be 1 to 5",
        ),
        (hopper.replace(", task_seed = 0", ""), "environment `hopper` needs the key `task_seed`"),
        (
            hopper.replace("split = 'train'", "split = 'tran'"),
            "`gravity` of environment `hopper`: unknown choice `tran`; did you mean `train`? \
             Known: train, test",
        ),
        (
            direction("ant").replace("inner_episodes = 3", "inner_episodes = 0"),
            "`inner_episodes` of environment `ant-direction` is 0; it must be 1 to 1000",
        ),
        (
            direction("ant").replace("[0.0, 3.1415927]", "[]"),
            "`number of directions` of environment `ant-direction` is 0; it must be 1 to 1000",
        ),
        (
            velocity("train").replace("max_velocity = 3.0", "max_velocity = -1.0"),
            "`max_velocity` of environment `half-cheetah-velocity` is -1; it must be 0 to 100",
        ),
    ] {
        assert_eq!(read(&text).expect_err("it is out of range"), message);
    }
}
