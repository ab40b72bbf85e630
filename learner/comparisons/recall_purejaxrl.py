"""`recall-30` by the recurrent PPO of PureJaxRL, to set beside `engram bench solve`.

    git clone https://github.com/luchris429/purejaxrl
    python3 -m venv venv && venv/bin/pip install jax flax distrax optax gymnax
    cargo run --release -p engram -- bench solve --experiment recall-30 --repetitions 3
    venv/bin/python learner/comparisons/recall_purejaxrl.py purejaxrl

Its training loop runs as it is. Three names of its module are replaced from outside: the network, by
the one of `recall-30` (MLP 64, LSTM 128 with forget bias 4, linear heads); the memory, by that LSTM
with both states in one array; and the environment, by recall written in JAX, because the loop
compiles environment and update into one program.

Solved means 95 % of the latest 1000 episodes. Seconds are those of the compiled run alone, spread
evenly over its steps; importing and compiling have a column of their own. Revision 31756b1 of
PureJaxRL works with jax 0.10.2, flax 0.12.8, distrax 0.1.9, optax 0.2.8, gymnax 1.0.1.
"""

import time

STARTED = time.perf_counter()

import argparse
import os
import sys
import types

os.environ.setdefault("JAX_PLATFORMS", "cpu")

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("folder", help="where PureJaxRL was cloned to")
arguments.add_argument("--envs", type=int, default=64)
arguments.add_argument("--steps", type=int, default=64, help="of each environment, per update")
arguments.add_argument("--minibatches", type=int, default=4)
arguments.add_argument("--epochs", type=int, default=1)
arguments.add_argument("--learning-rate", type=float, default=2e-3, help="falls to 0 in a line")
arguments.add_argument("--env-steps", type=int, default=600_000)
arguments.add_argument("--delay", type=int, default=30)
arguments.add_argument("--choices", type=int, default=4)
arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
ARGS = arguments.parse_args()

loop_folder = os.path.join(ARGS.folder, "purejaxrl")
if not os.path.exists(os.path.join(loop_folder, "ppo_rnn.py")):
    sys.exit(f"{loop_folder} holds no ppo_rnn.py: give the folder of a clone of PureJaxRL")
sys.path.insert(0, loop_folder)

# Its wrappers import two packages of environments that recall does not need.
for name in ("brax", "brax.envs", "brax.envs.wrappers", "brax.envs.wrappers.training", "navix"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["brax"].envs = sys.modules["brax.envs"]
sys.modules["brax.envs.wrappers.training"].EpisodeWrapper = object
sys.modules["brax.envs.wrappers.training"].AutoResetWrapper = object

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import ppo_rnn
from flax import struct
from flax.linen.initializers import constant, orthogonal
from gymnax.environments import spaces

HIDDEN = 128
FORGET_BIAS = 4.0


@struct.dataclass
class State:
    cue: jax.Array
    time: jax.Array


class Recall:
    """A cue, `delay` blank frames, a question; a new episode begins where one ends."""

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (ARGS.choices + 2,))

    def action_space(self, params):
        return spaces.Discrete(ARGS.choices)

    def reset(self, key, params=None):
        state = State(jax.random.randint(key, (), 0, ARGS.choices), jnp.int32(0))
        return self.observe(state), state

    def observe(self, state):
        first, asked = state.time == 0, state.time == ARGS.delay + 1
        cue = jax.nn.one_hot(state.cue, ARGS.choices) * first
        return jnp.concatenate([cue, jnp.stack([first, asked]).astype(jnp.float32)])

    def step(self, key, state, action, params=None):
        done = state.time == ARGS.delay + 1
        reward = (done & (action == state.cue)).astype(jnp.float32)
        _, new = self.reset(key)
        after = State(
            jnp.where(done, new.cue, state.cue), jnp.where(done, 0, state.time + 1)
        )
        return self.observe(after), after, reward, done, {}


class Cell(nn.Module):
    """An LSTM whose two states lie side by side in one array."""

    @nn.compact
    def __call__(self, carry, inputs):
        cell, hidden = jnp.split(carry, 2, axis=-1)
        joined = jnp.concatenate([inputs, hidden], axis=-1)
        gates = nn.Dense(4 * HIDDEN, kernel_init=orthogonal(1.0), bias_init=gate_bias)(joined)
        into, forget, new, out = jnp.split(gates, 4, axis=-1)
        cell = nn.sigmoid(forget) * cell + nn.sigmoid(into) * jnp.tanh(new)
        hidden = nn.sigmoid(out) * jnp.tanh(cell)
        return jnp.concatenate([cell, hidden], axis=-1), hidden


def gate_bias(key, shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype).at[HIDDEN : 2 * HIDDEN].set(FORGET_BIAS)


class Memory(nn.Module):
    @nn.compact
    def __call__(self, carry, inputs):
        def step(cell, carry, inputs):
            features, resets = inputs
            return cell(jnp.where(resets[:, None], 0.0, carry), features)

        scan = nn.scan(
            step, variable_broadcast="params", in_axes=0, out_axes=0, split_rngs={"params": False}
        )
        return scan(Cell(), carry, inputs)

    @staticmethod
    def initialize_carry(batch, hidden):
        return jnp.zeros((batch, 2 * HIDDEN))


class Network(nn.Module):
    action_dim: int
    config: dict

    @nn.compact
    def __call__(self, carry, inputs):
        def linear(size, gain):
            return nn.Dense(size, kernel_init=orthogonal(gain), bias_init=constant(0.0))

        observations, dones = inputs
        features = nn.relu(linear(64, np.sqrt(2))(observations))
        carry, features = Memory()(carry, (features, dones))
        policy = distrax.Categorical(logits=linear(self.action_dim, 0.01)(features))
        return carry, policy, jnp.squeeze(linear(1, 1.0)(features), axis=-1)


ppo_rnn.gymnax = types.SimpleNamespace(make=lambda name: (Recall(), None))
ppo_rnn.ScannedRNN = Memory
ppo_rnn.ActorCriticRNN = Network
CONFIG = {
    "LR": ARGS.learning_rate,
    "NUM_ENVS": ARGS.envs,
    "NUM_STEPS": ARGS.steps,
    "TOTAL_TIMESTEPS": ARGS.env_steps,
    "UPDATE_EPOCHS": ARGS.epochs,
    "NUM_MINIBATCHES": ARGS.minibatches,
    "GAMMA": 0.99,
    "GAE_LAMBDA": 0.95,
    "CLIP_EPS": 0.2,
    "ENT_COEF": 0.01,
    "VF_COEF": 0.5,
    "MAX_GRAD_NORM": 0.5,
    "ENV_NAME": "recall",
    "ANNEAL_LR": True,
}


def solved_at(metric):
    """Env steps until 95 % of the latest 1000 episodes were right, or None."""
    ended = np.asarray(metric["returned_episode"])
    right = np.asarray(metric["returned_episode_returns"])[ended]
    when = np.broadcast_to(np.arange(ended[..., 0].size).reshape(ended.shape[:2])[..., None], ended.shape)[ended]
    if right.size < 1000:
        return None
    sums = np.cumsum(right)
    shares = (sums[999:] - np.concatenate([[0.0], sums[:-1000]])) / 1000
    reached = np.flatnonzero(shares >= 0.95)
    return int((when[reached[0] + 999] + 1) * ARGS.envs) if reached.size else None


compiled = jax.jit(ppo_rnn.make_train(CONFIG)).lower(jax.random.PRNGKey(0)).compile()
start_up = time.perf_counter() - STARTED
waves = ARGS.env_steps // ARGS.envs // ARGS.steps
total = waves * ARGS.envs * ARGS.steps
print(f"{ARGS.envs} environments x {ARGS.steps} steps, {ARGS.minibatches} minibatches, {ARGS.epochs} epochs")
print(f"start-up {start_up:.1f} s\n")
print(f"{'seed':>4} {'env steps':>10} {'seconds':>8} {'with start-up':>14} {'env steps/s':>12}")
for seed in ARGS.seeds:
    begun = time.perf_counter()
    metric = jax.block_until_ready(compiled(jax.random.PRNGKey(seed)))["metric"]
    took = time.perf_counter() - begun
    at = solved_at(metric)
    if at is None:
        print(f"{seed:>4} {'-':>10} {'-':>8} {'-':>14} {total / took:>12,.0f}")
    else:
        seconds = took * at / total
        print(f"{seed:>4} {at:>10,} {seconds:>8.2f} {start_up + seconds:>14.1f} {total / took:>12,.0f}")
