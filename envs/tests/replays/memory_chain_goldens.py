"""Plays bsuite's memory chain for the tests of this crate, and writes memory_chain.toml.

    python3 -m venv goldens && goldens/bin/pip install bsuite==0.3.6
    goldens/bin/python envs/tests/replays/memory_chain_goldens.py > envs/tests/replays/memory_chain.toml

bsuite's generator is replaced by the one of chance.py, which the tests have too. A second one draws
actions: at random, or the right ones. What was seen, paid and ended goes into a hash.
"""

import struct
import sys

import numpy as np
from bsuite.experiments.memory_len import memory_len
from bsuite.experiments.memory_size import memory_size
from chance import Chance, Digest, is_written

EPISODES = 500
SKILLS = [0.0, 0.5, 1.0]


def replay(env, length, bits):
    chance, actor, digest = Chance(length), Chance(bits + 1000), Digest()
    env._rng = chance
    digests, first, total = [], [], 0.0
    for episode in range(EPISODES):
        timestep = env.reset()
        digest.add(timestep.observation.astype("<f4").tobytes())
        rows = [timestep.observation[0]]
        while not timestep.last():
            informed = actor.unit() < SKILLS[episode % len(SKILLS)]
            action = env._context[env._query] if informed else actor.below(2)
            timestep = env.step(int(action))
            terminated = timestep.last() and timestep.discount == 0.0
            assert timestep.last() == terminated
            digest.add(timestep.observation.astype("<f4").tobytes())
            digest.add(struct.pack("<f", timestep.reward) + bytes([terminated]))
            rows.append(timestep.observation[0])
            total += timestep.reward
        if episode == 0:
            first = rows
        if is_written(episode, EPISODES):
            digests.append(digest.text())
    print("[[memory-chain]]")
    print(f"memory_length = {length}\nnum_bits = {bits}")
    print(f"total_return = {total}")
    print("digests =", digests)
    print("first =", [[float(f"{np.float32(x):.9g}") for x in row] for row in first[:12]])
    print()


def main():
    print("# Written by memory_chain_goldens.py; see there.\n")
    for length in [1, 2, 7, 20, 100]:
        replay(memory_len.load(length), length, 1)
    for bits in [1, 3, 17, 40]:
        replay(memory_size.load(bits), 2, bits)


if __name__ == "__main__":
    sys.exit(main())
