"""Many environments, stepped together, as `gymnasium.vector.VectorEnv`."""

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from engram_envs.spaces import RENDER_MODES, checked_render_mode, open_group, picture, spaces


class VectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` environments called `name`, with changes to their `settings`.

    Environment i is the same whatever their number is. Without a seed, one is drawn.

    An episode's last observation is returned by the step that ended it; the step after that ignores
    the environment's action and returns the first observation of the next episode
    (`AutoresetMode.NEXT_STEP`). `infos["is_success"]` says whether the episodes that ended were
    solved, where environments know; `infos["_is_success"]`, which ones did.

    With `copy=False` arrays show the environments' memory in place: the next step writes over them,
    and they cannot be written to. While one thread steps, no other should read them.
    """

    metadata = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        name,
        num_envs=1,
        *,
        seed=None,
        copy=True,
        render_mode=None,
        render_size=(480, 360),
        **settings,
    ):
        self.num_envs = num_envs
        self.render_mode = checked_render_mode(render_mode)
        self._render_size = render_size
        self._copy = copy
        self._name, self._settings = name, settings
        self._open(int(self.np_random.integers(2**63)) if seed is None else seed)
        self.single_observation_space, self.single_action_space = spaces(self._group, self._columns)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed=None, options=None):
        """Begins a new episode everywhere: with a seed, as new environments with that seed would."""
        self._refuse_closed()
        if options:
            raise ValueError(f"options are {options!r}; reset knows none")
        if seed is not None:
            if not isinstance(seed, (int, np.integer)):
                raise ValueError(f"seed is {seed!r}; one number seeds all environments")
            super().reset(seed=int(seed))
            self._open(int(seed))
        elif not self._is_fresh:
            self._group.restart()
        self._is_fresh = False
        return self._shown("observations"), {}

    def step(self, actions):
        self._refuse_closed()
        actions = np.asarray(actions)
        column = self._columns["actions"]
        if actions.shape != column.shape:
            raise ValueError(f"actions have the shape {actions.shape}; it must be {column.shape}")
        np.copyto(column, actions, casting="same_kind")
        self._is_fresh = False
        ended = self._group.step()
        infos = {}
        if ended and self._columns["judged"].any():
            infos["is_success"] = self._columns["successes"] & self._columns["judged"]
            infos["_is_success"] = self._columns["judged"].copy()
        columns = ("observations", "rewards", "terminated", "truncated")
        return *map(self._shown, columns), infos

    def render(self):
        """Every environment as it draws itself, if `render_mode` is `rgb_array`."""
        self._refuse_closed()
        if self.render_mode is None:
            return None
        return tuple(picture(self._group, row, self._render_size) for row in range(self.num_envs))

    def close_extras(self, **kwargs):
        self._group, self._columns = None, {}

    def _open(self, seed):
        self._group, self._columns = open_group(self._name, self._settings, self.num_envs, seed)
        # Its first episodes have begun: a reset has nothing to do.
        self._is_fresh = True

    def _shown(self, column):
        return self._columns[column].copy() if self._copy else self._columns[column]

    def _refuse_closed(self):
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError("the environments were closed")
