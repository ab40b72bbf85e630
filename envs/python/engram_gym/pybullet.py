"""PyBullet's environments (`pybullet_envs`) for Gymnasium: `module = "engram_gym.pybullet"`.

They were written for the old Gym, whose `reset` takes no seed and whose `step` has one flag for all
ends. That package is not needed: a stand-in for what they use of it is put in its place, which
notes what they register. Each is then registered with Gymnasium, behind an adapter. Their flag
means that the robot has fallen; time limits are Gymnasium's.

PyBullet 3.2.7 wants `pkg_resources`, which setuptools has up to version 80.
"""

import importlib
import sys
import types

import gymnasium
import numpy as np

# Ids and arguments, as `pybullet_envs` registers them.
_registered = {}


class _OldEnv:
    """The base class of old environments: they bring everything themselves."""

    metadata = {}
    action_space = None
    observation_space = None

    @property
    def unwrapped(self):
        return self


class Adapter(gymnasium.Env):
    """An old environment as Gymnasium sees it."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(self, old, render_mode=None, **arguments):
        module, name = old.split(":")
        self._old = getattr(importlib.import_module(module), name)(**arguments)
        self.render_mode, self._gravity = render_mode, None
        self.observation_space = self._old.observation_space
        self.action_space = self._old.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self._old.seed(seed)
        observation = np.asarray(self._old.reset(), np.float32)
        if self._gravity is not None:
            self._old._p.setGravity(0.0, 0.0, -self._gravity)
        return observation, {}

    def set_gravity(self, strength):
        """Gravity from the next reset on, in meters per square second."""
        self._gravity = strength

    def step(self, action):
        observation, reward, ended, info = self._old.step(action)
        return np.asarray(observation, np.float32), float(reward), bool(ended), False, dict(info)

    def render(self):
        return self._old.render(mode="rgb_array")

    def close(self):
        self._old.close()


def _np_random(seed=None):
    """A generator with the methods that old environments call."""
    return np.random.RandomState(seed), seed


def _stand_in():
    """Modules that look like the old Gym's, by name."""
    gym, envs, registration = (
        types.ModuleType(name) for name in ("gym", "gym.envs", "gym.envs.registration")
    )
    utils, seeding = types.ModuleType("gym.utils"), types.ModuleType("gym.utils.seeding")
    seeding.np_random = _np_random
    utils.seeding = seeding
    registration.registry = types.SimpleNamespace(env_specs=_registered)
    registration.register = lambda id, **arguments: _registered.update({id: arguments})
    registration.make = registration.spec = None
    envs.registration = registration
    gym.Env, gym.spaces, gym.utils, gym.envs = _OldEnv, gymnasium.spaces, utils, envs
    gym.register, gym.__version__ = registration.register, "0.21.0"
    modules = (gym, envs, registration, utils, seeding)
    return {module.__name__: module for module in modules} | {"gym.spaces": gymnasium.spaces}


def _register_all():
    sys.modules.update(_stand_in())
    importlib.import_module("pybullet_envs")
    for identifier, arguments in _registered.items():
        if identifier in gymnasium.registry:
            continue
        gymnasium.register(
            identifier,
            entry_point=Adapter,
            max_episode_steps=arguments.get("max_episode_steps"),
            kwargs={"old": arguments["entry_point"], **(arguments.get("kwargs") or {})},
        )


_register_all()
