//! The actor's side, against a server that counts.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use engram_envs::{EnvConfig, VectorEnv, canvas::Canvas};
use engram_mdp::{ActionSpec, Actions, Ending, Finish, StepType};

use crate::support::{Folder, config, counting, here, observations, open};

fn discrete(rows: usize) -> Actions {
    Actions::Discrete((0..rows as i32).collect())
}

/// The process that serves a row.
fn process(group: &VectorEnv, row: usize) -> u32 {
    observations(group)[row][0] as u32
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args([name, &process.to_string()]).status();
    assert!(status.expect("kill is there").success());
}

#[test]
fn rows_of_several_processes_show_their_frames_in_order() {
    let keys = "id = 'Counting'\nkwargs = { length = 3 }\nworkers = 2\nframe_skip = 4";
    let mut group = open(&counting(), keys, 5).unwrap();
    let spec = group.spec().clone();
    assert_eq!((&*spec.name, spec.action_repeat), ("gym:Counting", 4));
    assert_eq!(spec.action, ActionSpec::Discrete { count: 5 });
    assert_eq!(group.frames().check(&spec, 5), Ok(()));
    let seeds: Vec<f32> = observations(&group).iter().map(|row| row[1]).collect();
    assert!((1..5).all(|row| !seeds[..row].contains(&seeds[row])), "{seeds:?}");
    assert_eq!(process(&group, 0), process(&group, 2), "three rows in the first process");
    assert_ne!(process(&group, 2), process(&group, 3), "two in the second");
    for episode in 1..4 {
        for time in 1..=3 {
            let ended = group.step(&discrete(5)).to_vec();
            assert_eq!(group.frames().check(&spec, 5), Ok(()));
            for (row, seen) in observations(&group).iter().enumerate() {
                assert_eq!(seen[2..], [time as f32, row as f32, episode as f32]);
                assert_eq!(group.frames().previous_rewards[row], time as f32 - 1.0);
            }
            if time < 3 {
                assert!(ended.is_empty());
                continue;
            }
            // Row 3 is the first of its process, so its number there is even.
            for (episode, odd) in ended.iter().zip([false, true, false, false, true]) {
                let ending = if odd { Ending::Truncated } else { Ending::Terminated };
                assert_eq!((episode.env_steps, episode.episode_return), (3, 3.0));
                assert_eq!(episode.finish, Finish::Ended(ending));
                assert_eq!(episode.success, Some(!odd));
            }
            assert_eq!(ended.len(), 5);
        }
        assert!(group.step(&discrete(5)).is_empty());
        assert!(group.frames().step_types.iter().all(|step_type| step_type.is_first()));
        assert_eq!(group.frames().check(&spec, 5), Ok(()));
    }
    let cut = group.interrupt().to_vec();
    assert!(cut.is_empty(), "no decision was taken");
    group.step(&discrete(5));
    assert_eq!(group.interrupt().len(), 5);
    assert!(group.failure().is_none());
}

#[test]
fn a_killed_process_is_replaced_and_its_episodes_are_interrupted_and_no_others() {
    let keys = "id = 'Counting'\nkwargs = { length = 9 }\nworkers = 2";
    let mut group = open(&counting(), keys, 4).unwrap();
    group.step(&discrete(4));
    let before = observations(&group);
    signal("-9", process(&group, 0));
    let ended = group.step(&discrete(4)).to_vec();
    assert_eq!(ended.iter().map(|episode| episode.env_index).collect::<Vec<_>>(), [0, 1]);
    assert!(ended.iter().all(|e| e.finish == Finish::Interrupted && e.env_steps == 2));
    assert_eq!(group.mishaps().broken_episodes, 2);
    let frames = group.frames().clone();
    assert_eq!(frames.check(group.spec(), 4), Ok(()));
    let cut = StepType::Last(Ending::Truncated);
    assert_eq!(frames.step_types, [cut, cut, StepType::Mid, StepType::Mid]);
    assert_eq!(frames.previous_rewards, [0.0, 0.0, 1.0, 1.0]);
    let now = observations(&group);
    assert_eq!((&now[0], &now[1]), (&before[0], &before[1]), "the last that was seen");
    assert_eq!(now[2][2], 2.0);

    group.step(&discrete(4));
    let after = observations(&group);
    assert!(group.frames().step_types[0].is_first() && !group.frames().step_types[2].is_first());
    assert_ne!(after[0][0], before[0][0], "another process");
    assert_ne!(after[0][1], before[0][1], "that does not repeat the episodes of the first");
    assert_eq!((after[2][0], after[2][2]), (before[2][0], 3.0));
    for _ in 0..40 {
        group.step(&discrete(4));
    }
    assert!(group.failure().is_none());
    assert_eq!(group.mishaps().broken_episodes, 2);
}

#[test]
fn a_process_that_hangs_is_replaced_after_its_time() {
    let keys = "id = 'Counting'\nkwargs = { length = 9 }\nstep_seconds = 0.5";
    let mut group = open(&counting(), keys, 2).unwrap();
    group.step(&discrete(2));
    let hung = process(&group, 0);
    signal("-STOP", hung);
    let ended = group.step(&discrete(2)).to_vec();
    assert!(ended.len() == 2 && ended.iter().all(|e| e.finish == Finish::Interrupted));
    group.step(&discrete(2));
    assert_ne!(process(&group, 0), hung);
    assert!(!Command::new("kill").args(["-0", &hung.to_string()]).status().unwrap().success());
}

#[test]
fn rows_at_the_end_of_an_episode_begin_in_the_process_that_replaces_theirs() {
    let mut group = open(&counting(), "id = 'Counting'\nkwargs = { length = 1 }", 2).unwrap();
    assert_eq!(group.step(&discrete(2)).len(), 2);
    let killed = process(&group, 0);
    signal("-9", killed);
    assert!(group.step(&discrete(2)).is_empty(), "their episodes had ended");
    assert!(group.frames().step_types.iter().all(|step_type| step_type.is_first()));
    assert_ne!(process(&group, 0), killed);
    signal("-9", process(&group, 0));
    assert!(group.interrupt().is_empty(), "no decision was taken");
    assert_eq!(group.frames().check(group.spec(), 2), Ok(()));
    assert!(group.failure().is_none());
}

#[test]
fn a_server_that_answers_nonsense_is_replaced_and_given_up_after_three() {
    let folder = Folder::new("nonsense");
    let sulk = folder.path("sulk");
    let keys = format!("id = 'Counting'\nkwargs = {{ length = 9, sulk = '{}' }}", sulk.display());
    let mut group = open(&counting(), &keys, 1).unwrap();
    std::fs::write(&sulk, "").unwrap();
    let steps = (0..10).find(|_| {
        group.step(&discrete(1));
        group.failure().is_some()
    });
    // Lost, and begun anew; thrice.
    assert_eq!(steps, Some(6));
    let failure = group.failure().unwrap().to_string();
    assert!(failure.contains("`Counting`: 3 servers in a row were lost"), "{failure}");
    assert!(failure.contains("code 99"), "{failure}");
}

#[test]
fn large_observations_come_through_a_shared_file() {
    let keys = "id = 'Counting'\nkwargs = { length = 4, size = 20000 }";
    let mut group = open(&counting(), keys, 3).unwrap();
    for time in 1..4 {
        group.step(&discrete(3));
        for (row, seen) in observations(&group).iter().enumerate() {
            assert_eq!(seen[2..6], [time as f32, row as f32, 1.0, 0.0]);
        }
    }
}

#[test]
fn an_action_that_is_not_a_number_never_reaches_the_server() {
    let keys = "id = 'Counting'\nkwargs = { length = 9, continuous = 2 }";
    let mut group = open(&counting(), keys, 2).unwrap();
    assert_eq!(group.spec().action, ActionSpec::Continuous { dimensions: 2 });
    group.step(&Actions::Continuous(vec![0.5, 0.0, -3.0, 0.0]));
    assert_eq!(observations(&group)[0][2..4], [1.0, 0.5]);
    assert_eq!(observations(&group)[1][2..4], [1.0, -1.0], "clamped");
    let ended = group.step(&Actions::Continuous(vec![0.25, 0.0, 0.0, f32::NAN])).to_vec();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].finish, Finish::Ended(Ending::Truncated));
    assert_eq!(observations(&group)[0][2..4], [2.0, 0.25]);
    assert_eq!(observations(&group)[1][2], 1.0, "it stands where it stood");
    assert_eq!((group.mishaps().clipped_actions, group.mishaps().broken_episodes), (1, 1));
}

#[test]
fn a_server_elsewhere_is_reached_by_its_address() {
    let folder = Folder::new("address");
    let (python, path) = (counting(), folder.path("socket"));
    let listener = UnixListener::bind(&path).unwrap();
    // One connection asks for the spec, the other one plays.
    let server = std::thread::spawn(move || {
        let serve =
            |stream| Command::new(&python).stdin(Stdio::from(OwnedFd::from(stream))).spawn();
        let accept = |_| serve(listener.accept().unwrap().0).unwrap();
        let served: Vec<_> = (0..2).map(accept).collect();
        drop(listener);
        served.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    });
    let keys =
        format!("id = 'Counting'\nkwargs = {{ length = 2 }}\naddress = 'unix:{}'", path.display());
    let mut group = open("/nowhere/python3", &keys, 2).unwrap();
    assert_eq!(group.step(&discrete(2)).len(), 0);
    assert_eq!(group.step(&discrete(2)).len(), 2);
    drop(group);
    server.join().unwrap();
    let refused = open("/nowhere/python3", &keys, 2).err().unwrap().to_string();
    assert!(refused.contains("python3 -m engram_gym --listen unix:/"), "{refused}");
}

#[test]
fn an_environment_draws_itself() {
    let group = open(&counting(), "id = 'Counting'\nkwargs = { length = 2 }", 1).unwrap();
    let mut canvas = Canvas::new(4, 2);
    group.render(0, &mut canvas);
    let row = [[0, 0, 0], [0, 0, 0], [255, 0, 0], [255, 0, 0]].concat();
    assert_eq!(canvas.pixels(), [&row[..], &row[..]].concat());
}

#[test]
fn what_a_server_lacks_or_refuses_is_said_with_the_remedy() {
    let refusal = |python: &str, keys: &str| open(python, keys, 1).err().unwrap().to_string();
    let missing = refusal(&here("pythons/bare"), "id = 'CartPole-v1'");
    assert!(missing.contains("-m pip install ./envs/python"), "{missing}");
    let nowhere = refusal("/nowhere/python3", "id = 'CartPole-v1'");
    assert!(nowhere.contains("`/nowhere/python3` cannot be started"), "{nowhere}");
    assert!(nowhere.contains("ENGRAM_PYTHON"), "{nowhere}");
    let python = counting();
    assert_eq!(
        refusal(&python, "id = 'Odd'\nkwargs = { refuse = 'No module named ale_py' }"),
        format!(
            "environment `Odd`: `{python}` has no module `ale_py`; install the package that brings \
             it: {python} -m pip install ale_py"
        )
    );
    let refused = refusal(&python, "id = 'Odd'\nkwargs = { refuse = 'a space of graphs' }");
    assert_eq!(refused, "environment `Odd`: a space of graphs");
    let died = refusal(&python, "id = 'Odd'\nkwargs = { die = 'make' }");
    assert!(died.contains("exit status: 3") && died.contains("last words of a server"), "{died}");
    let died = refusal(&python, "id = 'Odd'\nkwargs = { die = 'reset', length = 1 }");
    assert!(died.contains("3 servers in a row were lost") && died.contains("status: 4"), "{died}");
}

#[test]
fn keys_out_of_range_are_named_with_their_range() {
    let refuse = |keys: &str| {
        let table = format!("name = 'gym'\nid = 'A'\n{keys}").parse().unwrap();
        EnvConfig::from_table(table).unwrap_err().to_string()
    };
    for (keys, message) in [
        ("frame_skip = 0", "`frame_skip` of environment `gym` is 0; it must be 1 to 1000"),
        ("sticky_actions = 1.5", "`sticky_actions` of environment `gym` is 1.5; it must be 0 to 1"),
        ("address = 'here'", "is here; it must be \"unix:/PATH\" or \"HOST:PORT\""),
        ("observe = [0, 'x']", "it must be numbers, counted from 0, or names of a Dict's parts"),
        ("frame_skips = 4", "has no key `frame_skips`; did you mean `frame_skip`?"),
    ] {
        let found = refuse(keys);
        assert!(found.contains(message), "{found}");
    }
    let table = "name = 'gym'".parse().unwrap();
    let missing = EnvConfig::from_table(table).unwrap_err().to_string();
    assert_eq!(missing, "environment `gym` needs the key `id`");
}

#[test]
fn loading_a_configuration_starts_nothing_and_the_look_is_in_the_name() {
    let keys = "id = 'a/B-v0'\ngrayscale = true\nresize = [84, 84]\nframe_stack = 4";
    let config = config("/nowhere/python3", keys);
    assert!(config.is_served() && config.optimum().is_none());
    assert!(config.try_spec().is_err(), "only now");
    let keys = "id = 'B'\nkwargs = { length = 1 }\nobserve = ['x', 'y']\nframe_stack = 2";
    let group = open(&counting(), keys, 1).unwrap();
    assert_eq!(group.spec().name, "gym:B(observe=x+y, frame_stack=2)");
}
