//! The whole way, with Gymnasium at its end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use engram_envs::{EnvConfig, VectorEnv, canvas::Canvas};
use engram_mdp::{Actions, Ending, Finish, Observations, Seed, StepType};

use crate::support::{Folder, gymnasium, here, observations, open};

#[test]
fn cartpole_is_what_gymnasium_shows_over_ten_thousand_steps() {
    const STEPS: i32 = 2500;
    const ROWS: u32 = 4;
    let Some(python) = gymnasium() else { return };
    let seed = |row| (Seed::new(7).derive("env", row).number() >> 33).to_string();
    let output = Command::new(&python)
        .args([&here("step_directly.py"), "CartPole-v1", &STEPS.to_string()])
        .args((0..u64::from(ROWS)).map(seed))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let expected: Vec<f32> = output.stdout.chunks_exact(4).map(number).collect();
    assert_eq!(expected.len(), 6 * ROWS as usize * (STEPS as usize + 1));

    let mut group = open(&python, "id = 'CartPole-v1'\nworkers = 2", ROWS).unwrap();
    let mut ends = 0;
    for (step, expected) in (-1..STEPS).zip(expected.chunks_exact(6 * ROWS as usize)) {
        if step >= 0 {
            let action = |row| (step * 7 + row * 3 + step * step / 5) % 2;
            ends += group.step(&Actions::Discrete((0..ROWS as i32).map(action).collect())).len();
        }
        let frames = group.frames();
        for (row, seen) in observations(&group).into_iter().enumerate() {
            let code = f32::from(frames.step_types[row].code());
            let found = [seen, vec![frames.previous_rewards[row], code]].concat();
            assert_eq!(found, expected[6 * row..6 * row + 6], "row {row} at step {step}");
        }
    }
    assert!(ends > 200, "{ends} episodes");
}

#[test]
fn the_preset_hides_velocities_and_is_deterministic() {
    let Some(python) = gymnasium() else { return };
    let file = here("../../../configs/env/gym-cartpole.toml");
    let mut table: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    table.insert("python".into(), python.into());
    let config = EnvConfig::from_table(table).unwrap();
    let played = || {
        let mut group = VectorEnv::open(&config, 0..3, Seed::new(1)).unwrap();
        assert_eq!(group.spec().observation.shape, [2]);
        let mut all = vec![group.frames().clone()];
        for step in 0..300 {
            group.step(&Actions::Discrete((0..3).map(|row| (step + row) / 2 % 2).collect()));
            assert_eq!(group.frames().check(group.spec(), 3), Ok(()));
            all.push(group.frames().clone());
        }
        all
    };
    let once = played();
    assert!(once == played());
    assert!(once.iter().any(|frames| frames.step_types[0].is_last()));
}

#[test]
fn the_package_passes_its_own_tests() {
    let Some(python) = gymnasium() else { return };
    let tests = here("../../python/tests");
    let output = Command::new(python)
        .args(["-m", "unittest", "discover", "--start-directory", &tests])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Ran 0 tests"), "{said}");
}

#[test]
fn an_environment_that_fails_breaks_its_own_episode_and_is_made_anew() {
    let Some(python) = gymnasium() else { return };
    for fault in ["raise", "nan", "inf-reward"] {
        let keys =
            format!("id = 'Faulty-v0'\nmodule = 'counting_envs'\nkwargs = {{ fault = '{fault}' }}");
        let mut group = open(&python, &keys, 2).unwrap();
        let actions = Actions::Discrete(vec![0, 1]);
        (0..2).for_each(|_| assert!(group.step(&actions).is_empty()));
        let ended = group.step(&actions).to_vec();
        assert_eq!(ended.len(), 2, "{fault}");
        assert!(ended.iter().all(|e| e.finish == Finish::Ended(Ending::Truncated)), "{fault}");
        assert_eq!(group.mishaps().broken_episodes, 2, "{fault}");
        assert_eq!(group.frames().check(group.spec(), 2), Ok(()), "{fault}");
        group.step(&actions);
        assert_eq!(group.frames().step_types, [StepType::First; 2]);
        assert_eq!(observations(&group)[0], [0.0, 1.0], "another environment");
        assert!(group.failure().is_none(), "{fault}");
    }
}

#[test]
fn success_and_pictures_come_from_the_environment() {
    let Some(python) = gymnasium() else { return };
    let keys = "id = 'Faulty-v0'\nmodule = 'counting_envs'\nmax_steps = 20";
    let mut group = open(&python, keys, 1).unwrap();
    let ended = (0..10).flat_map(|_| group.step(&Actions::Discrete(vec![0])).to_vec());
    let ended: Vec<_> = ended.collect();
    assert_eq!((ended.len(), ended[0].success, ended[0].env_steps), (1, Some(true), 10));
    let mut canvas = Canvas::new(6, 4);
    group.render(0, &mut canvas);
    assert_eq!(canvas.pixels(), [7; 3 * 6 * 4]);
}

#[test]
fn pictures_come_gray_and_small_and_stacked_through_the_shared_file() {
    let Some(python) = gymnasium() else { return };
    let keys = "id = 'Pixels-v0'\nmodule = 'counting_envs'\ngrayscale = true\nresize = [48, 48]\n\
                frame_stack = 2\nmax_steps = 3\nframe_skip = 2";
    let mut group = open(&python, keys, 8).unwrap();
    assert_eq!(
        group.spec().to_string(),
        "gym:Pixels-v0(grayscale, resize=48x48, frame_stack=2): u8[2, 48, 48] observations, \
         1-dimensional continuous actions, action repeat 2"
    );
    let pictures = |group: &VectorEnv| {
        let Observations::U8(bytes) = &group.frames().observations else { panic!("bytes") };
        let picture = |row: &[u8]| (row[0], row[47], row[48 * 48], row[48 * 48 + 47]);
        bytes.chunks(2 * 48 * 48).map(picture).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(pictures(&group), [(0, 0, 0, 255); 8]);
        group.step(&Actions::Continuous(vec![0.5; 8]));
        assert_eq!(pictures(&group), [(0, 255, 20, 255); 8]);
        assert_eq!(group.frames().previous_rewards, [2.0; 8], "0.5 of 2, twice");
        group.step(&Actions::Continuous(vec![0.5; 8]));
        assert_eq!(pictures(&group), [(20, 255, 40, 255); 8]);
        let ended = group.step(&Actions::Continuous(vec![0.5; 8])).to_vec();
        assert!(ended.iter().all(|e| e.finish == Finish::Ended(Ending::Truncated)));
        assert_eq!(ended.len(), 8);
        group.step(&Actions::Continuous(vec![0.5; 8]));
    }
}

#[test]
fn mistakes_are_answered_in_gymnasiums_words() {
    let Some(python) = gymnasium() else { return };
    let refusal = |keys: &str| open(&python, keys, 1).err().unwrap().to_string();
    let unknown = refusal("id = 'CartPolo-v1'");
    assert!(unknown.contains("`CartPolo` doesn't exist"), "{unknown}");
    let module = refusal("id = 'CartPole-v1'\nmodule = 'no_such_module'");
    assert!(module.contains("-m pip install no_such_module"), "{module}");
    let images = refusal("id = 'CartPole-v1'\ngrayscale = true");
    assert!(images.contains("`grayscale` wants images of bytes"), "{images}");
    let parts = refusal("id = 'CartPole-v1'\nobserve = [0, 4]");
    assert!(parts.contains("numbers 0 to 3"), "{parts}");
    let words = refusal("id = 'CartPole-v1'\nkwargs = { gravitas = 1.0 }");
    assert!(words.contains("gravitas"), "{words}");
}

/// A server that listens; ended when dropped.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_listening_server_serves_all_that_connect_and_imports_what_it_was_told_to() {
    let Some(python) = gymnasium() else { return };
    let folder = Folder::new("listen");
    let address = format!("unix:{}", folder.path("socket").display());
    let mut command = Command::new(&python);
    command.args(["-m", "engram_gym", "--module", "counting_envs", "--listen", &address]);
    let mut server = Listening(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(server.0.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("listens at"));
    let keys = format!("id = 'Faulty-v0'\nmodule = 'counting_envs'\naddress = '{address}'");
    let mut groups = [1, 2].map(|rows| open("/nowhere", &keys, rows).unwrap());
    for (group, rows) in groups.iter_mut().zip([1, 2]) {
        group.step(&Actions::Discrete(vec![0; rows]));
        assert_eq!(observations(group), vec![vec![1.0, 1.0]; rows]);
    }
    let keys = format!("id = 'this:That-v0'\naddress = '{address}'");
    let refused = open("/nowhere", &keys, 1).err().unwrap().to_string();
    assert!(refused.contains("start it with --module this"), "{refused}");
}
