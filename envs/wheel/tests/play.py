"""Digests of environments as Python sees them: one line each, of the observations, rewards and ends of
`STEPS` steps of `ROWS` environments.

    python play.py ROWS STEPS NAME...
"""

import hashlib
import sys

import numpy as np

import engram_envs


def actions(envs, step):
    """Actions that Rust computes to the same digit; some vectors are beyond their range."""
    rows = np.arange(envs.num_envs)
    if envs.single_action_space.shape == ():
        return (step * 7 + rows * 3 + step * step // 5) % envs.single_action_space.n
    columns = np.arange(envs.single_action_space.shape[0])
    turns = step * 7 + rows[:, None] * 3 + columns * 5 + step * step // 5
    return (turns % 21 - 10) / 8.0


def digest(name, rows, steps):
    envs = engram_envs.make_vec(name, rows, seed=7, copy=False)
    observations, _ = envs.reset()
    seen = hashlib.sha256(observations.tobytes())
    for step in range(steps):
        columns = envs.step(actions(envs, step))[:4]
        for column in columns:
            seen.update(column)
    return seen.hexdigest()


def main():
    rows, steps, *names = sys.argv[1:]
    for name in names:
        print(name, digest(name, int(rows), int(steps)), flush=True)


if __name__ == "__main__":
    main()
