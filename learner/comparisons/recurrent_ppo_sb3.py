"""`recall-30-ppo` and `cartpole-p` by RecurrentPPO of sb3-contrib, to set beside Engram.

    python3 -m venv venv && venv/bin/pip install sb3-contrib
    cargo run --release -p engram -- bench solve --experiment recall-30-ppo --repetitions 3
    venv/bin/python learner/comparisons/recurrent_ppo_sb3.py recall

It runs as it is installed. Given to it are the network of those experiments (MLP 64, one LSTM 128 with
forget bias 4 for policy and value, linear heads, orthogonal weights), their settings as far as it has
them, and both tasks, written with numpy for all environments at once, so that stepping costs little.
Cart-pole is CartPole-v1 of Gymnasium, without velocities; as in `cartpole-p`, the LSTM also sees the
last action and reward.

What stays different: only the policy's gradient reaches its shared LSTM; minibatches are cut by steps,
not by trajectories; advantages are divided by their standard deviation without a floor; its entropy
cost is constant. `cartpole-p` of Engram lets that fall to zero.

Solved means 95 % of the latest 1000 episodes of recall, or a mean return of 450 over the latest 100 of
cart-pole; of the latter Engram's progress.csv has a row every two seconds. Seconds are those from the
first step, without importing; seconds of work are the processor's, of all threads, and depend less on
what else a machine does. Written for sb3-contrib 2.9.2.
"""

import argparse
import time
from collections import deque

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

ENVS, TORSO, HIDDEN, FORGET_BIAS = 64, 64, 128, 4.0


class Batched(VecEnv):
    """Environments side by side. A task has `begin(rows)`, `advance(actions)` and `observe()`."""

    def __init__(self, width, actions, latest):
        box = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        super().__init__(ENVS, box, spaces.Discrete(actions))
        self.returns, self.latest, self.episodes = np.zeros(ENVS), deque(maxlen=latest), 0

    def seed(self, seed=None):
        self.random = np.random.default_rng(seed)
        return [seed] * ENVS

    def reset(self):
        self.begin(np.arange(ENVS))
        return self.observe()

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        rewards, terminated, truncated = self.advance(self.actions)
        self.returns += rewards
        ended, infos = np.flatnonzero(terminated | truncated), [{} for _ in range(ENVS)]
        if ended.size:
            final = self.observe()
            for row in ended:
                cut = bool(truncated[row] and not terminated[row])
                infos[row] = {"terminal_observation": final[row], "TimeLimit.truncated": cut}
            self.latest.extend(self.returns[ended])
            self.episodes += ended.size
            self.returns[ended] = 0
            self.begin(ended)
        return self.observe(), rewards.astype(np.float32), terminated | truncated, infos

    def close(self):
        pass

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * ENVS

    def env_method(self, name, *args, indices=None, **kwargs):
        raise NotImplementedError(name)

    def get_attr(self, name, indices=None):
        return [getattr(self, name, None)] * ENVS

    def set_attr(self, name, value, indices=None):
        raise NotImplementedError(name)


class Recall(Batched):
    """A cue, blank frames, a question."""

    delay, choices, level = 30, 4, 0.95

    def __init__(self):
        super().__init__(self.choices + 2, self.choices, 1000)
        self.cue, self.time = np.zeros(ENVS, int), np.zeros(ENVS, int)

    def begin(self, rows):
        self.cue[rows] = self.random.integers(self.choices, size=rows.size)
        self.time[rows] = 0

    def observe(self):
        shown = np.zeros((ENVS, self.choices + 2), np.float32)
        first = self.time == 0
        shown[first, self.cue[first]] = 1
        shown[:, -2], shown[:, -1] = first, self.time == self.delay + 1
        return shown

    def advance(self, actions):
        answered = self.time == self.delay + 1
        self.time += 1
        return (answered & (actions == self.cue)).astype(float), answered, np.zeros(ENVS, bool)


class CartPole(Batched):
    """CartPole-v1 by its positions, the last action and the last reward."""

    level, scale = 450.0, 0.01

    def __init__(self):
        super().__init__(5, 2, 100)
        self.state, self.time = np.zeros((ENVS, 4)), np.zeros(ENVS, int)
        self.past = np.zeros((ENVS, 3), np.float32)

    def begin(self, rows):
        self.state[rows] = self.random.uniform(-0.05, 0.05, (rows.size, 4))
        self.time[rows], self.past[rows] = 0, 0

    def observe(self):
        return np.concatenate([self.state[:, [0, 2]].astype(np.float32), self.past], 1)

    def advance(self, actions):
        x, speed, angle, turn = self.state.T
        force = np.where(actions == 1, 10.0, -10.0)
        sin, cos = np.sin(angle), np.cos(angle)
        push = (force + 0.05 * turn**2 * sin) / 1.1
        turning = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        pushing = push - 0.05 * turning * cos / 1.1
        rates = np.stack([speed, pushing, turn, turning], 1)
        self.state = self.state + 0.02 * rates
        self.time += 1
        self.past[:] = 0
        self.past[np.arange(ENVS), actions], self.past[:, 2] = 1, 1
        fallen = (abs(self.state[:, 0]) > 2.4) | (abs(self.state[:, 2]) > 12 * 2 * np.pi / 360)
        return np.ones(ENVS), fallen, self.time >= 500


class Scaled(CartPole):
    """Rewards are learned from a hundred times smaller, and counted as they are."""

    def step_wait(self):
        observations, rewards, ended, infos = super().step_wait()
        return observations, rewards * np.float32(self.scale), ended, infos


class Torso(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, TORSO)
        self.linear = nn.Linear(observation_space.shape[0], TORSO)

    def forward(self, observations):
        return torch.relu(self.linear(observations))


class CartPoleTorso(Torso):
    """Features of the positions; action and reward go past them."""

    def __init__(self, observation_space):
        BaseFeaturesExtractor.__init__(self, observation_space, TORSO + 3)
        self.linear = nn.Linear(2, TORSO)

    def forward(self, observations):
        features = torch.relu(self.linear(observations[:, :2]))
        return torch.cat([features, observations[:, 2:]], -1)


class Policy(RecurrentActorCriticPolicy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with torch.no_grad():
            for name, weight in self.lstm_actor.named_parameters():
                nn.init.orthogonal_(weight) if weight.dim() == 2 else weight.zero_()
            self.lstm_actor.bias_ih_l0[HIDDEN : 2 * HIDDEN] = FORGET_BIAS


class UntilSolved(BaseCallback):
    def __init__(self, enough):
        super().__init__()
        self.enough, self.solved = enough, None

    def _on_training_start(self):
        self.begun, self.begun_work = time.perf_counter(), time.process_time()

    def took(self):
        """Seconds so far, and the processor's seconds."""
        return time.perf_counter() - self.begun, time.process_time() - self.begun_work

    def _on_step(self):
        env = self.training_env
        full = env.episodes >= env.latest.maxlen
        if full and np.mean(env.latest) >= env.level:
            self.solved = (self.num_timesteps, *self.took())
        return self.solved is None and self.took()[1] < self.enough


TASKS = {
    "recall": (Recall, Torso, 1_000_000, {"n_steps": 64, "n_epochs": 1, "learning_rate": 2e-3}),
    "cartpole": (
        Scaled,
        CartPoleTorso,
        600_000,
        {"n_steps": 128, "n_epochs": 4, "learning_rate": 1e-3},
    ),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("task", choices=TASKS)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--seconds", type=float, default=np.inf, help="of work, at most")
    arguments = arguments.parse_args()
    torch.set_num_threads(arguments.threads)
    make, torso, env_steps, settings = TASKS[arguments.task]
    rate = settings.pop("learning_rate")
    print(f"{arguments.task}, at most {env_steps:,} env steps\n", flush=True)
    row = "{:>4} {:>10} {:>8} {:>8} {:>12} {:>11}".format
    print(row("seed", "env steps", "seconds", "of work", "steps/s work", "at the end"), flush=True)
    for seed in arguments.seeds:
        model = RecurrentPPO(
            Policy,
            make(),
            learning_rate=lambda left: rate * left,
            batch_size=ENVS * settings["n_steps"] // 4,
            gamma=0.99,
            gae_lambda=0.95,
            clip_range=0.2,
            clip_range_vf=0.2,
            ent_coef=0.01,
            vf_coef=0.5,
            max_grad_norm=0.5,
            seed=seed,
            device="cpu",
            policy_kwargs={
                "net_arch": [],
                "features_extractor_class": torso,
                "lstm_hidden_size": HIDDEN,
                "shared_lstm": True,
                "enable_critic_lstm": False,
            },
            **settings,
        )
        callback = UntilSolved(arguments.seconds)
        model.learn(env_steps, callback=callback)
        at, seconds, work = callback.solved or [None] * 3
        solved = [f"{at:,}", f"{seconds:.1f}", f"{work:.1f}"] if at else ["-"] * 3
        speed, latest = model.num_timesteps / callback.took()[1], np.mean(model.env.latest)
        print(row(seed, *solved, f"{speed:,.0f}", f"{latest:.2f}"), flush=True)


main()
