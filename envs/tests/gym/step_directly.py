"""Steps environments with Gymnasium alone, and writes what they show.

    python step_directly.py ID STEPS SEED...

One environment for each seed. After an episode's end a step begins the next, whatever the action.
Action of row r at step t: (t * 7 + r * 3 + t * t // 5) % 2. Before the first step and after each,
all rows: the observation, the reward (0 at first), and 0 at the first frame of an episode, 1 in
between, 2 where it has terminated, 3 where it was truncated; all as little-endian 32-bit floats.
"""

import sys

import gymnasium
import numpy as np

identifier, steps, *seeds = sys.argv[1:]
environments = [gymnasium.make(identifier) for _ in seeds]
ended = [True] * len(seeds)
seeds = [int(seed) for seed in seeds]
for step in range(-1, int(steps)):
    for row, environment in enumerate(environments):
        reward, code = 0.0, 0
        if ended[row]:
            observation, _ = environment.reset(seed=seeds[row])
            seeds[row] = None
        else:
            action = (step * 7 + row * 3 + step * step // 5) % 2
            observation, reward, terminated, truncated, _ = environment.step(action)
            code = 2 if terminated else 3 if truncated else 1
        ended[row] = code > 1
        sys.stdout.buffer.write(np.array([*observation, reward, code], "<f4").tobytes())
