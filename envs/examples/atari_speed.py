"""Speed of Atari by others, beside ours, in one sitting: env steps per second of CPU time.

    python3 -m venv venv
    venv/bin/pip install ale-py==0.12.1 envpool==1.2.5 gymnasium==1.4.0 opencv-python-headless==5.0.0.93
    cargo build --release -p engram-envs --features atari --example step_speed
    venv/bin/python envs/examples/atari_speed.py target/release/examples/step_speed

A step is a decision: four frames, of which the last two become one gray picture of 84 × 84, and the four newest pictures.
Everybody has 8 environments on one thread, random actions that were drawn beforehand, and no ends at lost lives;
resets count as steps. Rounds take turns: each program has half a second of CPU time in each. The table
has the median over the rounds, and the median of a round's ratios to EnvPool.
"""

import statistics
import subprocess
import sys
import time

import ale_py
import ale_py.vector_env
import envpool
import gymnasium
import numpy as np

ROWS, SECONDS, ROUNDS = 8, 0.5, 7
GAMES = {"pong": ("Pong", 6), "breakout": ("Breakout", 4)}


def measured(step, actions):
    """Env steps per second of CPU time of this process, all threads."""
    start, calls = time.process_time(), 0
    while time.process_time() - start < SECONDS:
        for at in range(64):
            step(actions[at])
        calls += 64
    return calls * ROWS / (time.process_time() - start)


def pool(name):
    env = envpool.make_gymnasium(
        f"{name}-v5", num_envs=ROWS, num_threads=1, episodic_life=False, reward_clip=False
    )
    env.reset()
    return env.step


def vector(name):
    env = ale_py.vector_env.AtariVectorEnv(
        name.lower(), num_envs=ROWS, num_threads=1, repeat_action_probability=0.0
    )
    env.reset()
    return env.step


def wrapped(name):
    gymnasium.register_envs(ale_py)
    make = lambda: gymnasium.wrappers.FrameStackObservation(
        gymnasium.wrappers.AtariPreprocessing(
            gymnasium.make(f"ALE/{name}-v5", frameskip=1, repeat_action_probability=0.0)
        ),
        4,
    )
    env = gymnasium.vector.SyncVectorEnv([make] * ROWS)
    env.reset()
    return env.step


def ours(program, game):
    keys = ["episodic_life=false", "fire_reset=false", 'pooling="gray"']
    output = subprocess.run(
        [program, *[f"--set={key}" for key in keys], f"atari/{game}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(output.stdout.split()[-1])


def main():
    program = sys.argv[1]
    generator = np.random.default_rng(1)
    for game, (name, count) in GAMES.items():
        actions = [generator.integers(0, count, ROWS) for _ in range(64)]
        others = {
            "EnvPool": pool(name),
            "ale-py's AtariVectorEnv": vector(name),
            "Gymnasium's wrappers": wrapped(name),
        }
        found = {"Engram": []} | {other: [] for other in others}
        for _ in range(ROUNDS):
            found["Engram"].append(ours(program, game))
            for other, step in others.items():
                found[other].append(measured(step, actions))
        for who, speeds in found.items():
            ratios = [speed / base for speed, base in zip(speeds, found["EnvPool"])]
            print(
                f"{game:9} {who:24} {statistics.median(speeds):8.0f} env steps/s, ratio to EnvPool "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
