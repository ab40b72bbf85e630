"""Worlds of 84 x 84 x 4 bytes for the programs beside ours: noise, and Atari's Breakout.

`make(name)` gives one; its `reset()` returns a picture, its `step(action)` the next one, a reward, and
whether the episode has ended. Noise costs nothing, as `--env noise` here. Breakout needs gymnasium, ale-py
and opencv-python-headless; its wrappers do what `atari/breakout` does: four frames a decision, a random start, rewards
by their sign, one life an episode.
"""

import numpy

SHAPE = (4, 84, 84)


class Noise:
    """Pictures of noise; an episode has a thousand steps."""

    actions = 6

    def __init__(self):
        random = numpy.random.default_rng(1)
        self.frames, self.t = random.integers(0, 256, (16, *SHAPE), dtype=numpy.uint8), 0

    def reset(self):
        self.t = 0
        return self.frames[0]

    def step(self, action):
        self.t += 1
        return self.frames[self.t % 16], float(action == 0), self.t == 1000


class Breakout:
    """Breakout behind Gymnasium's own wrappers."""

    actions = 4

    def __init__(self):
        import ale_py
        import gymnasium
        from gymnasium.wrappers import AtariPreprocessing

        if hasattr(gymnasium, "register_envs"):
            gymnasium.register_envs(ale_py)
        stack = getattr(gymnasium.wrappers, "FrameStackObservation", None) or gymnasium.wrappers.FrameStack
        raw = gymnasium.make("ALE/Breakout-v5", frameskip=1, repeat_action_probability=0.0)
        self.env = stack(AtariPreprocessing(raw, noop_max=30, terminal_on_life_loss=True), 4)

    def reset(self):
        return numpy.asarray(self.env.reset()[0])

    def step(self, action):
        frame, reward, terminated, truncated, _ = self.env.step(int(action))
        return numpy.asarray(frame), float(numpy.sign(reward)), terminated or truncated


def make(name):
    return {"noise": Noise, "breakout": Breakout}[name]()
