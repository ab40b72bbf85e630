"""The package beside what Gymnasium asks of environments."""

import threading
import unittest
import warnings

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import engram_envs

DISCRETE = ["recall-30", "popgym/repeat-previous", "catch", "rooms-watermaze"]
CONTINUOUS = ["pendulum", "hopper"]


class Single(unittest.TestCase):
    def test_gymnasiums_checker_finds_nothing(self):
        for name in DISCRETE + CONTINUOUS:
            with self.subTest(name), warnings.catch_warnings():
                warnings.simplefilter("error")
                # Observations of ours have no bounds.
                warnings.filterwarnings("ignore", message=".*(minimum|maximum) value is.*infinity")
                warnings.filterwarnings("ignore", message=".*box observation space.*")
                environment = gymnasium.make(
                    f"engram/{name.replace('/', '-')}", render_mode="rgb_array"
                )
                check_env(environment.unwrapped)
                environment.close()

    def test_it_is_the_first_environment_of_a_vector(self):
        single, vector = engram_envs.make("recall-30"), engram_envs.make_vec("recall-30", 3, seed=5)
        observation, _ = single.reset(seed=5)
        observations, _ = vector.reset()
        for step in range(200):
            np.testing.assert_array_equal(observation, observations[0])
            action = step % 3
            observation, reward, terminated, truncated, info = single.step(action)
            observations, rewards, ends, cuts, infos = vector.step([action] * 3)
            self.assertEqual((reward, terminated, truncated), (rewards[0], ends[0], cuts[0]))
            self.assertEqual("is_success" in info, bool(infos.get("_is_success", [False])[0]))
            if terminated or truncated:
                self.assertEqual(info["is_success"], infos["is_success"][0])
                np.testing.assert_array_equal(observation, observations[0])
                observation, _ = single.reset()
                observations = vector.step([0] * 3)[0]

    def test_a_step_without_an_episode_is_refused(self):
        environment = engram_envs.make("catch")
        with self.assertRaises(gymnasium.error.ResetNeeded):
            environment.step(0)


class Vector(unittest.TestCase):
    def test_an_episode_ends_with_its_own_last_observation_and_the_next_begins_a_step_later(self):
        envs = engram_envs.make_vec("counting", 2, seed=1)
        self.assertEqual(envs.metadata["autoreset_mode"], AutoresetMode.NEXT_STEP)
        first, _ = envs.reset()
        for _ in range(10_000):
            last, _, terminated, truncated, _ = envs.step([0, 0])
            if (terminated | truncated)[0]:
                break
        else:
            self.fail("no episode ended")
        self.assertFalse(np.array_equal(first[0], last[0]))
        begun, rewards, terminated, truncated, _ = envs.step([1, 1])
        self.assertEqual((rewards[0], terminated[0], truncated[0]), (0, False, False))
        self.assertTrue(envs.observation_space.contains(begun))

    def test_a_seed_repeats_every_episode_and_none_continues(self):
        envs = engram_envs.make_vec("recall-30", 4, seed=3)
        first, _ = envs.reset()
        second, _ = envs.reset()
        again, _ = envs.reset(seed=3)
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(second, envs.reset()[0])
        other = engram_envs.make_vec("recall-30", 64, seed=4).reset()[0]
        self.assertFalse(np.array_equal(other[:4], first) and np.array_equal(other[4:8], first))
        with self.assertRaisesRegex(ValueError, "one number seeds all environments"):
            envs.reset(seed=[1, 2, 3, 4])

    def test_copies_stay_and_views_show_the_next_step(self):
        for copy in (True, False):
            envs = engram_envs.make_vec("pendulum", 2, seed=1, copy=copy)
            seen, _ = envs.reset()
            before = seen.copy()
            now = envs.step(np.ones((2, 1)))[0]
            self.assertEqual(np.array_equal(seen, before), copy)
            self.assertEqual(np.shares_memory(seen, now), not copy)
            self.assertEqual(seen.flags.writeable, copy)
        del envs
        self.assertTrue(np.isfinite(now).all(), "an array keeps the memory alive")

    def test_it_is_made_by_gymnasium_too(self):
        envs = gymnasium.make_vec("engram/recall-30", num_envs=5, delay=3, seed=1)
        self.assertIsInstance(envs.unwrapped, engram_envs.VectorEnv)
        observations, _ = envs.reset(seed=2)
        self.assertTrue(envs.observation_space.contains(observations))
        recorded = gymnasium.wrappers.vector.RecordEpisodeStatistics(envs)
        recorded.reset(seed=2)
        for _ in range(12):
            infos = recorded.step(envs.action_space.sample())[4]
            if "episode" in infos:
                break
        self.assertEqual(set(infos["episode"]["l"].tolist()), {5})

    def test_pictures_are_as_large_as_asked(self):
        envs = engram_envs.make_vec("catch", 2, render_mode="rgb_array", render_size=(120, 90))
        pictures = envs.render()
        self.assertEqual([picture.shape for picture in pictures], [(90, 120, 3)] * 2)
        self.assertGreater(len(np.unique(pictures[0])), 1)
        with self.assertRaisesRegex(ValueError, "it must be None or 'rgb_array'"):
            engram_envs.make_vec("catch", render_mode="human")

    def test_other_threads_run_while_it_steps(self):
        envs = engram_envs.make_vec("rooms-watermaze", 32, seed=1)
        actions, ticks, finished = np.zeros(32, int), 0, threading.Event()

        def play():
            for _ in range(5):
                envs.step(actions)
            finished.set()

        thread = threading.Thread(target=play)
        thread.start()
        while not finished.is_set():
            ticks += 1
        thread.join()
        self.assertGreater(ticks, 100)

    def test_after_its_end_nothing_is_stepped(self):
        envs = engram_envs.make_vec("catch", 2)
        envs.close()
        envs.close()
        with self.assertRaises(gymnasium.error.ClosedEnvironmentError):
            envs.step([0, 0])


class Mistakes(unittest.TestCase):
    def refusal(self, name, error=ValueError, **settings):
        with self.assertRaises(error) as caught:
            engram_envs.make_vec(name, 2, **settings)
        return str(caught.exception)

    def test_a_name_or_a_setting_is_answered_with_the_nearest(self):
        refusal = self.refusal("recal-30")
        self.assertIn("unknown environment `recal-30`; did you mean `recall-30`?", refusal)
        self.assertEqual(
            self.refusal("recall-30", delays=3),
            "environment `recall` has no key `delays`; did you mean `delay`? Known: delay, choices",
        )
        self.assertEqual(
            self.refusal("recall-30", choices=1),
            "`choices` of environment `recall` is 1; it must be 2 to 4096",
        )
        self.assertIn("invalid type", self.refusal("recall-30", delay="long"))
        self.assertIn("setting `delay`", self.refusal("recall-30", TypeError, delay=object()))
        with self.assertRaisesRegex(ValueError, "num_envs is 0"):
            engram_envs.make_vec("recall-30", 0)
        self.assertIn("unknown environment `gym`", self.refusal("gym", id="CartPole-v1"))

    def test_an_environments_own_name_wants_all_of_its_settings(self):
        self.assertEqual(
            self.refusal("memory-chain"), "environment `memory-chain` needs the key `memory_length`"
        )
        self.assertEqual(engram_envs.settings("recall-30"), {"delay": 30, "choices": 4})

    def test_an_action_that_there_is_not_is_named_with_its_environment(self):
        envs = engram_envs.make_vec("catch", 2)
        for actions, message in [([0, 7], "action 7 of environment 1"), ([0], r"shape \(1,\)")]:
            with self.assertRaisesRegex(ValueError, message):
                envs.step(actions)
        with self.assertRaises(TypeError):
            envs.step([0.5, 0.5])


if __name__ == "__main__":
    unittest.main()
