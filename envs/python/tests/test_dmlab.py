"""The adapter of DMLab, around a stand-in for its package."""

import sys
import types
import unittest

import gymnasium
import numpy as np

import engram_gym.dmlab


class Lab:
    """What the adapter uses of `deepmind_lab.Lab`; an episode has eight frames."""

    def __init__(self, level, observations, config, renderer):
        self.made = (level, observations, config, renderer)
        self.size = (int(config["height"]), int(config["width"]), 3)
        self.seeds, self.actions = [], []

    def reset(self, seed):
        self.seeds.append(seed)
        self.frame = 0

    def is_running(self):
        return self.frame < 8

    def observations(self):
        if not self.is_running():
            raise RuntimeError("the episode has ended")
        return {"RGB_INTERLEAVED": np.full(self.size, self.frame, np.uint8)}

    def step(self, action, num_steps):
        self.actions.append(tuple(action))
        self.frame += num_steps
        return 0.5 * num_steps

    def close(self):
        pass


class DMLab(unittest.TestCase):
    def setUp(self):
        sys.modules["deepmind_lab"] = types.SimpleNamespace(Lab=Lab)
        self.addCleanup(sys.modules.pop, "deepmind_lab")

    def test_an_episode(self):
        env = gymnasium.make("DMLab-v0", level="tests/empty", config={"fps": "30"})
        lab = env.unwrapped._lab
        settings = {"width": "96", "height": "72", "fps": "30"}
        self.assertEqual(lab.made, ("tests/empty", ["RGB_INTERLEAVED"], settings, "software"))
        observation, _ = env.reset(seed=1)
        self.assertTrue(env.observation_space.contains(observation))
        observation, reward, *ends, _ = env.step(6)
        self.assertEqual((observation.max(), reward, ends), (4, 2.0, [False, False]))
        observation, reward, *ends, _ = env.step(8)
        # Nothing is seen of the end.
        self.assertEqual((observation.max(), reward, ends), (4, 2.0, [True, False]))
        self.assertEqual(lab.actions, [(-20, 0, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, 0, 0)])

    def test_every_episode_has_a_seed_of_its_own_and_they_follow_from_the_first(self):
        def seeds():
            env = gymnasium.make("DMLab-v0", level="tests/empty")
            for i in range(5):
                env.reset(seed=7 if i == 0 else None)
            return env.unwrapped._lab.seeds

        self.assertEqual(len(set(seeds())), 5)
        self.assertEqual(seeds(), seeds())


if __name__ == "__main__":
    unittest.main()
