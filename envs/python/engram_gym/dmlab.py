"""DeepMind Lab for Gymnasium: `module = "engram_gym.dmlab"`, id `DMLab-v0`.

It needs the package `deepmind_lab`, which is built from its own source. Observations are RGB
bytes, [height, width, 3]; actions are the nine of IMPALA (Espeholt et al. 2018, table D.2) and R2AC
(Irie et al. 2023), each taken for `action_repeat` frames, whose rewards are added. No picture is a
maximum over frames. DMLab does not tell why an episode ended: all ends count as terminations, and
the last observation is the one before.
"""

import gymnasium
import numpy as np

# Look left or right, up or down (pixels per frame), strafe, move, fire, jump, crouch.
ACTIONS = np.array(
    [
        (0, 0, 0, 1, 0, 0, 0),  # forward
        (0, 0, 0, -1, 0, 0, 0),  # backward
        (0, 0, -1, 0, 0, 0, 0),  # strafe left
        (0, 0, 1, 0, 0, 0, 0),  # strafe right
        (-20, 0, 0, 0, 0, 0, 0),  # look left
        (20, 0, 0, 0, 0, 0, 0),  # look right
        (-20, 0, 0, 1, 0, 0, 0),  # look left, forward
        (20, 0, 0, 1, 0, 0, 0),  # look right, forward
        (0, 0, 0, 0, 1, 0, 0),  # fire
    ],
    np.intc,
)


class DMLab(gymnasium.Env):
    """A level of DMLab. `config` holds settings of `deepmind_lab.Lab`, all of them texts."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        level,
        width=96,
        height=72,
        action_repeat=4,
        renderer="software",
        config=None,
        render_mode=None,
    ):
        import deepmind_lab

        settings = {"width": str(width), "height": str(height), **(config or {})}
        self._lab = deepmind_lab.Lab(level, ["RGB_INTERLEAVED"], config=settings, renderer=renderer)
        self._action_repeat, self.render_mode = action_repeat, render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._lab.reset(seed=int(self.np_random.integers(1 << 31)))
        return self._see(), {}

    def step(self, action):
        reward = self._lab.step(ACTIONS[action], num_steps=self._action_repeat)
        ended = not self._lab.is_running()
        return self._frame if ended else self._see(), float(reward), ended, False, {}

    def render(self):
        return self._frame

    def close(self):
        self._lab.close()

    def _see(self):
        self._frame = np.array(self._lab.observations()["RGB_INTERLEAVED"])
        return self._frame


if "DMLab-v0" not in gymnasium.registry:
    gymnasium.register("DMLab-v0", entry_point=DMLab)
