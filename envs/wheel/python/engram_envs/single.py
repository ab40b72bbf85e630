"""One environment, as `gymnasium.Env`."""

import gymnasium
import numpy as np

from engram_envs.spaces import RENDER_MODES, checked_render_mode, open_group, picture, spaces


class Env(gymnasium.Env):
    """The environment called `name`, with changes to its `settings`; the first of a vector with the
    same seed. `info["is_success"]` says at an episode's end whether it was solved, where the
    environment knows.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10}

    def __init__(self, name, *, render_mode=None, render_size=(480, 360), **settings):
        self.render_mode = checked_render_mode(render_mode)
        self._render_size = render_size
        self._name, self._settings = name, settings
        self._open(0)
        self.observation_space, self.action_space = spaces(self._group, self._columns)
        self._state = "unseeded"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if options:
            raise ValueError(f"options are {options!r}; reset knows none")
        if seed is not None:
            self._open(seed)
        elif self._state == "unseeded":
            self._open(int(self.np_random.integers(2**63)))
        else:
            self._group.restart()
        self._state = "playing"
        return self._columns["observations"][0].copy(), {}

    def step(self, action):
        if self._state != "playing":
            raise gymnasium.error.ResetNeeded("an episode begins with a reset")
        column = self._columns["actions"]
        action = np.asarray(action)
        if action.shape != column.shape[1:]:
            raise ValueError(f"the action has the shape {action.shape}, not {column.shape[1:]}")
        np.copyto(column[0:1], action, casting="same_kind")
        self._group.step()
        terminated, truncated = (bool(self._columns[key][0]) for key in ("terminated", "truncated"))
        if terminated or truncated:
            self._state = "ended"
        judged = self._columns["judged"][0]
        info = {"is_success": bool(self._columns["successes"][0])} if judged else {}
        observation = self._columns["observations"][0].copy()
        return observation, float(self._columns["rewards"][0]), terminated, truncated, info

    def render(self):
        """The environment as it draws itself, if `render_mode` is `rgb_array`."""
        return picture(self._group, 0, self._render_size) if self.render_mode else None

    def close(self):
        self._group, self._columns, self._state = None, {}, "closed"

    def _open(self, seed):
        self._group, self._columns = open_group(self._name, self._settings, 1, seed)
