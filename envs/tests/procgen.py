"""Digests of ProcGen's games as its own package plays them: `procgen.toml`.

    pip install procgen==0.10.7          # into a Python 3.10
    python procgen.py > procgen.toml

A digest is that of every step's reward, of whether an episode begins, and of the picture, channels first.
"""

import hashlib

import numpy as np
from procgen import ProcgenGym3Env
from procgen.env import ENV_NAMES

# Games that are played for longer, one with many ends and one with many time limits; and the seed of all,
# which is that of Rust's environment 0 with the seed 1.
LONG = [("chaser", "hard", 500), ("coinrun", "easy", 200)]
OTHER = [(game, "hard", 0) for game in ENV_NAMES] + [
    ("dodgeball", "extreme", 0),
    ("maze", "memory", 0),
]
SEED = 552736659


def play(game, mode, levels, steps):
    env = ProcgenGym3Env(
        num=1,
        env_name=game,
        distribution_mode=mode,
        num_levels=levels,
        start_level=0,
        rand_seed=SEED,
        num_threads=0,
    )
    seen, ends, total = hashlib.sha256(), 0, 0.0

    def observe():
        reward, observation, first = env.observe()
        seen.update(reward.astype("<f4").tobytes() + first.astype("u1").tobytes())
        seen.update(np.ascontiguousarray(observation["rgb"].transpose(0, 3, 1, 2)).tobytes())
        return int(first[0]), float(reward[0])

    observe()
    for step in range(steps):
        env.act(np.array([(step * 7 + step * step // 5) % 15], np.int32))
        first, reward = observe()
        ends, total = ends + first, total + reward
    print("[[game]]")
    print(f'game = "{game}"\ndistribution_mode = "{mode}"\nnum_levels = {levels}')
    print(f'rand_seed = {SEED}\nsteps = {steps}\nends = {ends}\nreturns = {total:.3f}')
    print(f'digest = "{seen.hexdigest()}"\n', flush=True)


print("# Made by procgen.py, with procgen 0.10.7 and its own Python side.\n")
for game in LONG:
    play(*game, 10_000)
for game in OTHER:
    play(*game, 500)
