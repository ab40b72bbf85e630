"""Speed of Gymnasium alone: one line for each way to step, its name and microseconds per env step,
for each burst of 64 calls.

    python gym_speed.py ID ROWS SECONDS

The environments are made as engram-gym makes them, without Gymnasium's checker, and are stepped with
random actions that are drawn beforehand. A reset counts as a step.
"""

import sys
import time

import gymnasium
import numpy as np


def bare(environments, actions):
    """Environments in a list: a loop, and nothing around it."""
    ended = [True] * len(environments)

    def step(at):
        for row, environment in enumerate(environments):
            if ended[row]:
                environment.reset()
                ended[row] = False
            else:
                _, _, terminated, truncated, _ = environment.step(actions[at][row])
                ended[row] = terminated or truncated

    return step


def vector(environments, actions):
    """A vector environment of Gymnasium's, with its own autoreset."""
    environments.reset(seed=1)

    def step(at):
        environments.step(actions[at])

    return step


def measure(name, step, rows, seconds):
    for at in range(20):
        step(at)
    begin, bursts = time.perf_counter(), []
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for at in range(64):
            step(at)
        bursts.append((time.perf_counter() - start) / 64 / rows * 1e6)
    print(name, *bursts, flush=True)


def main():
    identifier, rows, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

    def make():
        return gymnasium.make(identifier, disable_env_checker=True)

    space = make().action_space
    space.seed(1)
    actions = [[space.sample() for _ in range(rows)] for _ in range(64)]
    batches = [np.array(batch) for batch in actions]
    measure("bare", bare([make() for _ in range(rows)], actions), rows, seconds)
    environments = gymnasium.vector.SyncVectorEnv([make] * rows)
    measure("SyncVectorEnv", vector(environments, batches), rows, seconds)
    environments.close()
    environments = gymnasium.vector.AsyncVectorEnv([make] * rows)
    measure("AsyncVectorEnv", vector(environments, batches), rows, seconds)
    environments.close()


if __name__ == "__main__":
    main()
