"""One environment with its wrappers: actions in, an observation in the group's memory out."""

import numpy as np

from . import wire
from .spaces import decoder, encoder
from .wrappers import Stack, wrapped


class Row:
    """An environment of a group.

    An environment that fails while it steps is made anew, and its episode ends as broken; one that
    cannot be reset, even anew, is an error of the group.
    """

    def __init__(self, make, settings, seed):
        self._make, self._settings, self._seed = make, settings, seed
        self._noise = np.random.default_rng(seed)
        self._sticky = settings.get("sticky_actions", 0.0)
        self._skip = settings.get("frame_skip", 1)
        self._limit = settings.get("max_steps")
        self._clip = settings.get("clip_reward")
        self._plain = self._skip == 1 and not self._sticky
        self._fresh()
        observe = settings.get("observe")
        names = observe if observe and all(isinstance(part, str) for part in observe) else None
        inner = wrapped(encoder(self.env.observation_space, names), settings)
        stack = settings.get("frame_stack", 1)
        self._stack = Stack(inner, stack) if stack > 1 else None
        self.observation = self._stack or inner
        self.action = decoder(self.env.action_space, settings.get("action_bound"))
        self._encode, self._decode = self.observation.encode, self.action.decode
        self.reward, self.success = 0.0, wire.UNKNOWN

    def _fresh(self):
        self.env = self._make()
        self._next_seed = self._seed
        self._steps, self._last_action = 0, None

    def reset(self, out):
        """Starts an episode. Only the first one of an environment is given a seed."""
        try:
            self._begin(out)
        except Exception as error:
            complain("reset", error)
            self._replace()
            self._begin(out)

    def _begin(self, out):
        observation, _ = self.env.reset(seed=self._next_seed)
        self._next_seed = None
        self._steps, self._last_action = 0, None
        if self._stack:
            self._stack.reset()
        self._encode(observation, out)
        self.reward, self.success = 0.0, wire.UNKNOWN

    def step(self, action, out):
        """Takes one decision; returns its code. An environment that failed leaves `out` alone."""
        try:
            action = self._decode(action)
            if self._plain:
                observation, reward, terminated, truncated, info = self.env.step(action)
            else:
                observation, reward, terminated, truncated, info = self._repeat(action)
            reward = float(reward)
            self._encode(observation, out)
        except Exception as error:
            complain("step", error)
            return self.broken()
        self._steps += 1
        if self._clip is not None:
            reward = min(max(reward, -self._clip), self._clip)
        self.reward = reward
        if terminated:
            self.success = _success(info)
            return wire.TERMINATED
        if truncated or self._steps == self._limit:
            self.success = _success(info)
            return wire.TRUNCATED
        return wire.MID

    def _repeat(self, action):
        """The same action for several steps of the environment, or until the episode ends."""
        total = 0.0
        for _ in range(self._skip):
            if (
                self._sticky
                and self._last_action is not None
                and self._noise.random() < self._sticky
            ):
                action = self._last_action
            self._last_action = action
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info

    def broken(self):
        """The episode cannot go on: the environment is made anew before the next one."""
        self._replace()
        self.reward, self.success = 0.0, wire.UNKNOWN
        return wire.BROKEN

    def _replace(self):
        self.close()
        # Another seed, drawn from this one: the same episode would fail again.
        self._seed = int(self._noise.integers(1 << 31))
        self._fresh()

    def picture(self):
        """A picture for people: an array of RGB bytes, or a text that says why there is none."""
        if getattr(self.env, "render_mode", None) != "rgb_array":
            return "the environment has no render mode `rgb_array`, or was made without it"
        try:
            picture = self.env.render()
        except Exception as error:
            return f"the environment cannot draw itself: {error}"
        picture = np.asarray(picture)
        if picture.ndim != 3 or picture.shape[2] < 3:
            return "the environment drew no picture"
        return np.ascontiguousarray(picture[:, :, :3], np.uint8)

    def close(self):
        try:
            self.env.close()
        except Exception as error:
            complain("close", error)


def _success(info):
    for key in ("is_success", "success"):
        if key in info:
            try:
                return wire.SUCCESS if bool(info[key]) else wire.FAILURE
            except ValueError:
                pass
    return wire.UNKNOWN


def complain(what, error):
    """Tells the actor's log of an exception of an environment."""
    import sys
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    print(
        f"{what} of an environment failed: {type(error).__name__}: {error} "
        f"({last.filename}, line {last.lineno})",
        file=sys.stderr,
        flush=True,
    )
