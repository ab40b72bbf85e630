"""Plays the worlds of POPGym for the tests of this crate, and writes popgym.toml.

    python3 -m venv goldens && goldens/bin/pip install popgym==1.0.7 gymnasium==1.4.0 mazelib==0.9.16
    goldens/bin/python envs/tests/replays/popgym_goldens.py > envs/tests/replays/popgym.toml

The package's generators are replaced by the one of chance.py, which the tests have too: both draw the
same decks, boards, mazes, arms and noise. A second one draws actions: at random, or the best ones for
who sees the whole state, so that episodes end in every way. What was seen, paid and ended goes into
a hash; the hashes after 1, 2, 4, 8 … episodes are written, and the first frames in full. Observations
of cart-poles and pendulums, which are not whole numbers, are added up with random weights instead.
There every decision starts in a state that is drawn, because a pole magnifies the last digit.
"""

import struct
import sys
import warnings

import gymnasium
import mazelib.generate.HuntAndKill
import mazelib.generate.MazeGenAlgo
import mazelib.mazelib
import numpy as np
import popgym.envs
from chance import Chance, Digest, is_written
from popgym.core.maze import Cell
from popgym.envs import labyrinth_escape, labyrinth_explore
from popgym.wrappers import DiscreteAction

EPISODES = 340
SKILLS = [0.0, 0.5, 1.0, 0.9375]
LEVELS = ["easy", "medium", "hard"]


def draw_mazes_from(chance):
    """A shuffled list of which one is chosen is as random as the list itself: no shuffling."""

    def randrange(start, stop=None, step=1):
        places = range(start) if stop is None else range(start, stop, step)
        return places[chance.below(len(places))]

    mazelib.generate.HuntAndKill.randrange = randrange
    mazelib.mazelib.randrange = randrange
    mazelib.generate.HuntAndKill.choice = lambda choices: choices[chance.below(len(choices))]
    mazelib.generate.MazeGenAlgo.shuffle = lambda _: None


# The best actions of who sees the whole state.


def autoencode(env, _):
    return env.deck.suits_idx[env.deck["system"][-1]] if len(env.deck) == 0 else 0


def repeat_first(env, _):
    return env.card


def repeat_previous(env, _):
    hand = env.deck["player"]
    return env.deck.suits_idx[hand[-env.k]] if len(hand) >= env.k else 0


def count_recall(env, _):
    return env.counts[env.query]


def higher_lower(env, _):
    next_card = env.deck.idx[len(env.deck) - 1]
    return int(env.deck.ranks_idx[next_card] < env.deck.ranks_idx[env.deck["player"][0]])


def concentration(env, _):
    values, up = env.state, set(env.deck["face_up_idx"])
    first = env.deck["in_play_idx"]
    for place in range(len(values)):
        if place in up or place in first:
            continue
        if not first or values[first[0]] == values[place]:
            return place
    raise AssertionError("every card has a like")


def battleship(env, _):
    return int(np.argmax(((env.board == 1) & (env.guesses == 0)).ravel()))


def mine_sweeper(env, _):
    return int(np.argmax((env.hidden_grid == 0).ravel()))


def multiarmed_bandit(env, _):
    return int(np.argmax(env.bandits))


def labyrinth(env, memory):
    """Keeps a hand at the right wall. The memory is the last such action: left, right, up, down."""
    clockwise = [2, 1, 3, 0]
    moves = {0: (0, -1), 1: (0, 1), 2: (-1, 0), 3: (1, 0)}
    at = clockwise.index(memory[0])
    for turn in [1, 0, 3, 2]:
        action = clockwise[(at + turn) % 4]
        y, x = (env.position[axis] + moves[action][axis] for axis in (0, 1))
        side = env.maze.grid.shape[0]
        if 0 <= y < side and 0 <= x < side and env.maze.grid[y, x] != Cell.OBSTACLE:
            memory[0] = action
            return action
    return 0


def blocks(space):
    """Number of classes of every one-hot vector of a flattened observation."""
    if isinstance(space, gymnasium.spaces.Tuple):
        return [n for part in space.spaces for n in blocks(part)]
    return [int(n) for n in np.atleast_1d(space.nvec if hasattr(space, "nvec") else space.n)]


def classes(observation):
    return bytes(int(n) for n in np.atleast_1d(observation))


def check_flatten(space, observation):
    """The one-hot vectors side by side are what the package's Flatten gives."""
    flat, at = gymnasium.spaces.utils.flatten(space, observation), 0
    for count, index in zip(blocks(space), classes(observation)):
        assert list(flat[at : at + count]) == [float(i == index) for i in range(count)]
        at += count
    assert at == len(flat)


def ending(terminated, truncated):
    return 1 if terminated else 2 if truncated else 0


def text(values):
    return "".join("0123456789abcdefghijklmnopqrstuvwxyz"[value] for value in values)


def cards_and_boards(name, best, worlds):
    for level, (cls, label) in enumerate(zip(worlds, LEVELS)):
        env = DiscreteAction(cls())
        world = env.unwrapped
        chance, actor, digest = Chance(2 * level), Chance(2 * level + 1), Digest()
        world._np_random = chance
        draw_mazes_from(chance)
        sizes = blocks(env.observation_space)
        digests, first, steps, ends, total = [], [], 0, [0, 0, 0], 0.0
        for episode in range(EPISODES):
            observation, _ = env.reset()
            check_flatten(env.observation_space, observation)
            digest.add(classes(observation))
            if episode == 0:
                first.append(text(classes(observation)))
            memory, end, count = [2], 0, 0
            while end == 0:
                informed = actor.unit() < SKILLS[episode % len(SKILLS)]
                action = best(world, memory) if informed else actor.below(int(env.action_space.n))
                observation, reward, terminated, truncated, _ = env.step(int(action))
                end = ending(terminated, truncated)
                digest.add(classes(observation) + struct.pack("<f", reward) + bytes([end]))
                if episode == 0 and count < 10:
                    first.append(f"{text(classes(observation))} {np.float32(reward):.9g} {end}")
                count, total = count + 1, total + reward
            steps, ends[end] = steps + count, ends[end] + 1
            if is_written(episode, EPISODES):
                digests.append(digest.text())
        print(f"[[{name}]]")
        print(f'level = "{label}"')
        print("classes =", sizes)
        print("actions =", int(env.action_space.n))
        print(f"steps = {steps}\nterminated = {ends[1]}\ntruncated = {ends[2]}")
        print(f"mean_return = {total / EPISODES:.9g}")
        print("digests =", digests)
        print("first =", first)
        print()


def control(name, limits, worlds):
    """`limits` of the states that are drawn: the first never end an episode, the others may."""
    for level, (cls, label) in enumerate(zip(worlds, LEVELS)):
        env = cls()
        chance, actor = Chance(2 * level), Chance(2 * level + 1)
        env._np_random = chance
        discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
        first, steps, ends, sums = [], 0, [0, 0, 0], np.zeros(3)
        for episode in range(EPISODES // 4):
            observation, _ = env.reset()
            sums += [observation[0], observation[1], 0.0]
            if episode == 0:
                first.append([*observation, 0.0])
            end, count = 0, 0
            while end == 0:
                scale = limits[episode % len(limits)]
                env.state = np.array([2.0 * s * actor.unit() - s for s in scale])
                action = actor.below(2) if discrete else 2.0 * actor.unit() - 1.0
                given = action if discrete else np.array([2.0 * np.float64(np.float32(action))])
                observation, reward, terminated, truncated, _ = env.step(given)
                end = ending(terminated, truncated)
                weight = 2.0 * actor.unit() - 1.0
                paid = float(np.float32(reward)) * env.max_episode_length
                row = [float(observation[0]), float(observation[1]), paid]
                sums += weight * np.array(row)
                if episode == 0 and count < 10:
                    first.append(row)
                count += 1
            steps, ends[end] = steps + count, ends[end] + 1
        print(f"[[{name}]]")
        print(f'level = "{label}"\nmax_steps = {env.max_episode_length}')
        print(f"steps = {steps}\nterminated = {ends[1]}\ntruncated = {ends[2]}")
        print("sums =", [float(f"{x:.10g}") for x in sums])
        print("first =", [[float(f"{x:.9g}") for x in row] for row in first])
        print()


def main():
    warnings.simplefilter("ignore")
    print("# Written by popgym_goldens.py; see there.\n")

    def of(name, module=popgym.envs):
        return [getattr(module, name + level) for level in ["Easy", "Medium", "Hard"]]

    cards_and_boards("autoencode", autoencode, of("Autoencode"))
    cards_and_boards("battleship", battleship, of("Battleship"))
    cards_and_boards("concentration", concentration, of("Concentration"))
    cards_and_boards("count-recall", count_recall, of("CountRecall"))
    cards_and_boards("higher-lower", higher_lower, of("HigherLower"))
    cards_and_boards("labyrinth-escape", labyrinth, of("LabyrinthEscape", labyrinth_escape))
    cards_and_boards("labyrinth-explore", labyrinth, of("LabyrinthExplore", labyrinth_explore))
    cards_and_boards("mine-sweeper", mine_sweeper, of("MineSweeper"))
    cards_and_boards("multiarmed-bandit", multiarmed_bandit, of("MultiarmedBandit"))
    cards_and_boards("repeat-first", repeat_first, of("RepeatFirst"))
    cards_and_boards("repeat-previous", repeat_previous, of("RepeatPrevious"))
    cart = [[2.2, 3.0, 0.1, 3.0], [2.41, 3.0, 0.21, 3.0]]
    control("position-only-cartpole", cart, of("PositionOnlyCartPole"))
    control("velocity-only-cartpole", cart, of("VelocityOnlyCartPole"))
    control("noisy-position-only-cartpole", cart, of("NoisyPositionOnlyCartPole"))
    pendulum = [[9.0, 8.0]]
    control("position-only-pendulum", pendulum, of("PositionOnlyPendulum"))
    control("noisy-position-only-pendulum", pendulum, of("NoisyPositionOnlyPendulum"))


if __name__ == "__main__":
    sys.exit(main())
