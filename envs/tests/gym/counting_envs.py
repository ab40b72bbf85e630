"""Environments of Gymnasium for the tests: one that fails in ways that are asked for."""

import gymnasium
import numpy as np


class Faulty(gymnasium.Env):
    """Counts its steps; `fault` happens at step `at` of the first episode."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, fault=None, at=3, render_mode=None):
        self.fault, self.at, self.render_mode = fault, at, render_mode
        self.observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.time = self.episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.episode = 0, self.episode + 1
        return np.array([0.0, self.episode], np.float32), {}

    def step(self, action):
        self.time += 1
        observation, reward = np.array([self.time, self.episode], np.float32), 1.0
        if self.time == self.at and self.episode == 1:
            if self.fault == "raise":
                raise RuntimeError("the world has ended")
            if self.fault == "nan":
                observation[0] = np.nan
            if self.fault == "inf-reward":
                reward = np.inf
        return observation, reward, False, self.time == 10, {"is_success": self.time == 10}

    def render(self):
        return np.full((4, 6, 3), 7, np.uint8)


gymnasium.register("Faulty-v0", entry_point=Faulty)


class Pixels(gymnasium.Env):
    """Pictures whose left half is the time, ten times, and whose right half is white."""

    observation_space = gymnasium.spaces.Box(0, 255, (96, 96, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._picture(), {}

    def step(self, action):
        self.time += 1
        return self._picture(), float(action[0]), False, False, {}

    def _picture(self):
        picture = np.full((96, 96, 3), 255, np.uint8)
        picture[:, :48] = 10 * self.time
        return picture


gymnasium.register("Pixels-v0", entry_point=Pixels)
