"""Random gravity and tasks, around a robot that is a few numbers."""

import math
import types
import unittest

import gymnasium
import numpy as np
from gymnasium import spaces

import engram_gym.tasks


class Cart(gymnasium.Env):
    """Moves as it is told, in x and y; it falls at an action of 9. Gravity is observed."""

    def __init__(self, tells=True, render_mode=None):
        self.model = types.SimpleNamespace(opt=types.SimpleNamespace(gravity=np.zeros(3)))
        self.observation_space = spaces.Box(-100, 100, (2,), np.float64)
        self.action_space = spaces.Box(-9, 9, (2,), np.float64)
        self.tells = tells

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._observation(), {}

    def step(self, action):
        self.time += 1
        told = {"x_velocity": action[0], "y_velocity": action[1], "reward_contact": -0.25}
        fell = bool(action[0] == 9)
        return self._observation(), 77.0, fell, False, told if self.tells else {}

    def _observation(self):
        return np.array([self.time, self.model.opt.gravity[2]])


gymnasium.register("Cart-v0", entry_point=Cart)


def make(name, **kwargs):
    return gymnasium.make(f"tasks/{name}-v0", env="Cart-v0", disable_env_checker=True, **kwargs)


class Gravity(unittest.TestCase):
    def strengths(self, **kwargs):
        env = make("Gravity", **kwargs)
        drawn = [env.reset(seed=5 if i == 0 else None)[0][1] for i in range(600)]
        return [-strength for strength in drawn]

    def test_each_episode_has_one_of_its_split(self):
        train, test = self.strengths(), self.strengths(split="test")
        self.assertEqual((len(set(train)), len(set(test))), (100, 20))
        self.assertFalse(set(train) & set(test))
        self.assertEqual(train, self.strengths())
        self.assertNotEqual(set(train), set(self.strengths(task_seed=1)))

    def test_the_range_is_that_of_the_law(self):
        factors = [strength / 9.81 for strength in self.strengths(tasks=2000, train_tasks=1999)]
        self.assertTrue(1.5**-3 <= min(factors) < 0.32 and 3.2 < max(factors) <= 1.5**3)
        self.assertTrue(240 < sum(factor < 1 for factor in factors) < 360)

    def test_an_environment_without_gravity_is_refused(self):
        env = gymnasium.make("tasks/Gravity-v0", env="CartPole-v1", disable_env_checker=True)
        with self.assertRaisesRegex(TypeError, "has no gravity"):
            env.reset(seed=1)

    def test_a_split_that_does_not_exist_is_named(self):
        with self.assertRaisesRegex(ValueError, 'split is "all"; it must be "train" or "test"'):
            make("Gravity", split="all")
        with self.assertRaisesRegex(ValueError, "train_tasks is 9; it must be 1 to 8"):
            make("Gravity", tasks=9, train_tasks=9)


class Quests(unittest.TestCase):
    def test_a_direction_pays_and_inner_episodes_share_it(self):
        env = make("Direction", directions=[math.pi / 2], alive_bonus=1.0, max_steps=3)
        observation, _ = env.reset(seed=1)
        self.assertEqual((observation.tolist(), env.observation_space.shape), ([0, 0, 0], (3,)))
        seen = [env.step(np.array([1.0, 2.0]))[:4] for _ in range(6)]
        # 2 along y, 0.05 · 5 for the action, 1 for being there, and the contacts.
        np.testing.assert_allclose([reward for _, reward, _, _ in seen], 2 - 0.25 + 1 - 0.25)
        flags = [(frame[0], frame[-1]) for frame, *_ in seen]
        self.assertEqual(flags, [(1, 0), (2, 0), (0, 1), (1, 0), (2, 0), (3, 0)])
        self.assertEqual([end for *_, end in seen], [False] * 5 + [True])

    def test_a_fall_ends_an_inner_episode_and_the_last_one_for_good(self):
        env = make("Direction")
        env.reset(seed=1)
        fall = np.array([9.0, 0.0])
        observation, _, terminated, truncated, _ = env.step(fall)
        self.assertEqual((observation.tolist(), terminated, truncated), ([0, 0, 1], False, False))
        observation, _, terminated, truncated, _ = env.step(fall)
        self.assertEqual((observation[-1], terminated, truncated), (0, True, False))

    def test_a_velocity_is_drawn_for_each_episode(self):
        env = make("Velocity", tasks=6, train_tasks=4)
        rewards = set()
        for i in range(60):
            env.reset(seed=3 if i == 0 else None)
            rewards.add(round(env.step(np.zeros(2))[1], 9))
        self.assertEqual(len(rewards), 4)
        self.assertTrue(all(-3.25 <= reward <= -0.25 for reward in rewards))

    def test_an_environment_that_does_not_tell_its_velocity_is_refused(self):
        env = make("Velocity", env_kwargs={"tells": False})
        env.reset(seed=1)
        with self.assertRaisesRegex(TypeError, "does not tell its velocity"):
            env.step(np.zeros(2))


if __name__ == "__main__":
    unittest.main()
