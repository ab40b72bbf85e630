"""Plays MiniGrid's Memory for the tests of this crate, and writes minigrid.toml.

    python3 -m venv goldens && goldens/bin/pip install minigrid==3.2.0
    goldens/bin/python envs/tests/replays/minigrid_goldens.py > envs/tests/replays/minigrid.toml

MiniGrid's generator is replaced by the one of chance.py, which the tests have too. A second one draws
actions: at random, or on the way to the right or the wrong object. What was seen, paid and ended goes
into a hash: the image one-hot, as MiniGrid's own wrapper has it, channel by channel and row by row.
"""

import struct
import sys
import warnings

import numpy as np
from chance import Chance, Digest, is_written
from minigrid.envs.memory import MemoryEnv
from minigrid.wrappers import OneHotPartialObsWrapper

EPISODES = 240
SKILLS = [0.0, 0.5, 1.0, 1.0]
LEFT, RIGHT, FORWARD = 0, 1, 2


def walk(world, goal):
    """The next action on the way along the hallway to one of its ends."""
    x, y = world.agent_pos
    heading = 0 if x < goal[0] else 1 if y < goal[1] else 3
    turn = (heading - world.agent_dir) % 4
    return FORWARD if turn == 0 else LEFT if turn == 3 else RIGHT


def image(observation):
    return np.ascontiguousarray(observation["image"].transpose(2, 1, 0)).astype(np.uint8).tobytes()


def text(world):
    """Object types that are seen, row by row."""
    types = world.gen_obs()["image"][:, :, 0].T
    return "".join(str(value) for value in types.ravel())


def replay(size, random_length):
    env = OneHotPartialObsWrapper(MemoryEnv(size=size, random_length=random_length))
    world = env.unwrapped
    chance, actor, digest = Chance(size), Chance(1000 + size), Digest()
    world._np_random = chance
    digests, first, steps, ends, total = [], [], 0, [0, 0, 0], 0.0
    for episode in range(EPISODES):
        observation, _ = env.reset()
        digest.add(image(observation))
        goal = world.failure_pos if episode % 4 == 3 else world.success_pos
        if episode == 1:
            first.append(text(world))
        end = 0
        while end == 0:
            informed = actor.unit() < SKILLS[episode % 4]
            action = walk(world, goal) if informed else actor.below(7)
            observation, reward, terminated, truncated, _ = env.step(action)
            end = 1 if terminated else 2 if truncated else 0
            digest.add(image(observation) + struct.pack("<f", reward) + bytes([end]))
            if episode == 1 and len(first) < 8:
                first.append(text(world))
            steps, total = steps + 1, total + reward
        ends[end] += 1
        if is_written(episode, EPISODES):
            digests.append(digest.text())
    print("[[memory]]")
    print(f"size = {size}")
    print('hallway = "random"' if random_length else 'hallway = "full"')
    print(f"steps = {steps}\nterminated = {ends[1]}\ntruncated = {ends[2]}")
    print(f"mean_return = {total / EPISODES:.9g}")
    print("digests =", digests)
    print("first =", first)
    print()


def main():
    warnings.simplefilter("ignore")
    print("# Written by minigrid_goldens.py; see there.\n")
    for size, random_length in [(7, False), (9, False), (11, False), (13, False), (13, True), (17, True)]:
        replay(size, random_length)


if __name__ == "__main__":
    sys.exit(main())
