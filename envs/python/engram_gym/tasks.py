"""Random gravity, and tasks that must be found out, around environments of MuJoCo and PyBullet:
`module = "engram_gym.tasks"`.

| id | is |
|---|---|
| `tasks/Gravity-v0` | gravity of its own in every episode, which is not observed |
| `tasks/Direction-v0` | a direction to run in, which only the reward tells |
| `tasks/Velocity-v0` | a speed to run at, which only the reward tells |

They are those of RESeL (Luo et al. 2024, <https://arxiv.org/abs/2405.15384>), and of the benchmarks
that it takes them from. The argument `env` is the id of what they stand around, `env_kwargs` its
arguments, `module` the module that registers it. The other arguments have the names and meanings
of the keys of Engram's own worlds, `hopper-gravity`, `ant-direction` and `half-cheetah-velocity`.
"""

import importlib
import math

import gymnasium
import numpy as np


def drawn(draw, tasks, train_tasks, split, task_seed):
    """The tasks of a split. All are drawn once, from a seed of their own."""
    if not 1 <= train_tasks < tasks:
        raise ValueError(f"train_tasks is {train_tasks}; it must be 1 to {tasks - 1}")
    if split not in ("train", "test"):
        raise ValueError(f'split is "{split}"; it must be "train" or "test"')
    generator = np.random.default_rng(task_seed)
    both = [draw(generator) for _ in range(tasks)]
    return both[:train_tasks] if split == "train" else both[train_tasks:]


class Around(gymnasium.Env):
    """An environment around another one, a task for each episode."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(self, env, tasks, module=None, env_kwargs=None, render_mode=None):
        if module is not None:
            importlib.import_module(module)
        arguments = {"disable_env_checker": True, "render_mode": render_mode, **(env_kwargs or {})}
        self.env, self.tasks, self.task = gymnasium.make(env, **arguments), tasks, None
        self.render_mode = render_mode
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space

    def draw(self, seed):
        """Draws the episode's task."""
        super().reset(seed=seed)
        self.task = self.tasks[self.np_random.integers(len(self.tasks))]

    def render(self):
        return self.env.render()

    def close(self):
        self.env.close()


class Gravity(Around):
    """Gravity of `strength` × 1.5^u, in m/s², with u uniform within ± `log_range`."""

    def __init__(
        self,
        env,
        strength=9.81,
        log_range=3.0,
        tasks=120,
        train_tasks=100,
        split="train",
        task_seed=0,
        **around,
    ):
        def draw(generator):
            return strength * 1.5 ** generator.uniform(-log_range, log_range)

        super().__init__(env, drawn(draw, tasks, train_tasks, split, task_seed), **around)

    def reset(self, *, seed=None, options=None):
        self.draw(seed)
        set_gravity(self.env.unwrapped, self.task)
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        return self.env.step(action)


class Quest(Around):
    """Several inner episodes of one task, each of `max_steps` decisions at most.

    A number more is observed, the last: 1 at the first frame of an inner episode but the very
    first, else 0. The reward is the task's; of the environment's own the cost of contacts stays,
    where `info` tells it as `reward_contact`.
    """

    def __init__(self, env, tasks, max_steps=200, inner_episodes=2, **around):
        super().__init__(env, tasks, **around)
        self._max_steps, self._inner_episodes = max_steps, inner_episodes
        low, high = self.observation_space.low, self.observation_space.high
        self.observation_space = gymnasium.spaces.Box(
            np.append(low, 0.0), np.append(high, 1.0), dtype=low.dtype
        )

    def reset(self, *, seed=None, options=None):
        self.draw(seed)
        self._time, self._ended = 0, 0
        observation, info = self.env.reset(seed=seed, options=options)
        return np.append(observation, 0.0), info

    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = self.reward(velocity(info), action) + float(info.get("reward_contact", 0.0))
        self._time += 1
        truncated = truncated or self._time == self._max_steps
        if not (terminated or truncated):
            return np.append(observation, 0.0), reward, False, False, info
        self._ended += 1
        if self._ended == self._inner_episodes:
            return np.append(observation, 0.0), reward, terminated, truncated, info
        self._time = 0
        observation, _ = self.env.reset()
        return np.append(observation, 1.0), reward, False, False, info


class Direction(Quest):
    """`v · (cos g, sin g) - control_cost Σ a² + alive_bonus` for a direction `g` in radians."""

    def __init__(
        self,
        env,
        directions=(0.0, math.pi),
        control_cost=0.05,
        alive_bonus=0.0,
        **quest,
    ):
        super().__init__(env, directions, **quest)
        self._control_cost, self._alive_bonus = control_cost, alive_bonus

    def reward(self, velocity, action):
        """Reward of a decision."""
        along = velocity[0] * math.cos(self.task) + velocity[1] * math.sin(self.task)
        return along - self._control_cost * float(np.square(action).sum()) + self._alive_bonus


class Velocity(Quest):
    """`-|v_x - w| - control_cost Σ a²` for a speed `w` in meters per second."""

    def __init__(
        self,
        env,
        min_velocity=0.0,
        max_velocity=3.0,
        tasks=120,
        train_tasks=100,
        split="train",
        task_seed=0,
        control_cost=0.05,
        **quest,
    ):
        def draw(generator):
            return generator.uniform(min_velocity, max_velocity)

        super().__init__(env, drawn(draw, tasks, train_tasks, split, task_seed), **quest)
        self._control_cost = control_cost

    def reward(self, velocity, action):
        """Reward of a decision."""
        return -abs(velocity[0] - self.task) - self._control_cost * float(np.square(action).sum())


def set_gravity(env, strength):
    """Sets the gravity of an environment of MuJoCo or of `engram_gym.pybullet`, in m/s²."""
    if hasattr(env, "model"):
        env.model.opt.gravity[:] = (0.0, 0.0, -strength)
    elif hasattr(env, "set_gravity"):
        env.set_gravity(strength)
    else:
        raise TypeError(f"{env} has no gravity: it is neither MuJoCo's nor of engram_gym.pybullet")


def velocity(info):
    """Velocity of the torso, in meters per second, as MuJoCo's environments tell it."""
    if "x_velocity" not in info:
        raise TypeError("the environment does not tell its velocity: `info` has no `x_velocity`")
    return float(info["x_velocity"]), float(info.get("y_velocity", 0.0))


for _name, _class in (("Gravity", Gravity), ("Direction", Direction), ("Velocity", Velocity)):
    if f"tasks/{_name}-v0" not in gymnasium.registry:
        gymnasium.register(f"tasks/{_name}-v0", entry_point=_class)
