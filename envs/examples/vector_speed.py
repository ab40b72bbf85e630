"""Speed of vector environments in Python on one core, side by side: CartPole, random actions, resets
counted as steps. One line for each: million env steps per second, and the ratio to the first.

    python vector_speed.py NUM_ENVS SECONDS ROUNDS

They take turns, and the best round of each counts. `engram-envs` must be installed; EnvPool is measured
where it is.
"""

import os
import sys
import time

import gymnasium
import numpy as np

import engram_envs


def engram(num_envs):
    envs = engram_envs.make_vec("cartpole", num_envs, seed=1)
    envs.reset()
    return envs.step, np.int32


def engram_views(num_envs):
    envs = engram_envs.make_vec("cartpole", num_envs, seed=1, copy=False)
    envs.reset()
    return envs.step, np.int32


def envpool(num_envs):
    import envpool

    envs = envpool.make_gymnasium("CartPole-v1", num_envs=num_envs, num_threads=1, seed=1)
    envs.reset()
    return envs.step, np.int32


def gymnasium_numpy(num_envs):
    envs = gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")
    envs.reset(seed=1)
    return envs.step, np.int64


def gymnasium_sync(num_envs):
    envs = gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode="sync")
    envs.reset(seed=1)
    return envs.step, np.int64


WAYS = [
    ("engram-envs", engram),
    ("engram-envs, views", engram_views),
    ("EnvPool", envpool),
    ("Gymnasium's CartPoleVectorEnv", gymnasium_numpy),
    ("Gymnasium's SyncVectorEnv", gymnasium_sync),
]


def measure(step, actions, seconds):
    """Million env steps per second of CPU time: what others do on the machine does not count."""
    begin, calls = time.process_time(), 0
    while time.process_time() - begin < seconds:
        for batch in actions:
            step(batch)
        calls += len(actions)
    return calls * len(actions[0]) / (time.process_time() - begin) / 1e6


def main():
    num_envs, seconds, rounds = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    # One core for all threads, EnvPool's among them.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    generator = np.random.default_rng(2)
    made, best = [], {}
    for name, make in WAYS:
        try:
            step, dtype = make(num_envs)
        except ImportError as missing:
            print(f"{name:30} left out: {missing}")
            continue
        actions = generator.integers(2, size=(16, num_envs)).astype(dtype)
        made.append((name, step, list(actions)))
    for _ in range(rounds):
        for name, step, actions in made:
            best[name] = max(best.get(name, 0), measure(step, actions, seconds))
    first = best[made[0][0]]
    for name, speed in best.items():
        print(f"{name:30} {speed:8.3f} {speed / first:8.3f}")


if __name__ == "__main__":
    main()
