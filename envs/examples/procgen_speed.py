"""Speed of ProcGen by its own Python package, beside ours, in one sitting: env steps per second of CPU
time.

    cargo xtask fetch procgen                        # prints the folder `procgen-0.10.7/procgen/data`
    python3 -m venv venv
    venv/bin/pip install gym3==0.3.3 gym==0.26.2 'numpy<2'
    cargo build --release -p engram-envs --example step_speed
    PYTHONPATH=.../procgen-0.10.7 venv/bin/python envs/examples/procgen_speed.py target/release/examples/step_speed

Both play by the same library, 8 environments on one thread, with random actions that were drawn
beforehand; resets count as steps. Rounds take turns: each program has half a second of CPU time in
each. The table has the median over the rounds, and the median of a round's ratios to Python.
"""

import statistics
import subprocess
import sys
import time

import numpy as np
from procgen import ProcgenGym3Env

ROWS, SECONDS, ROUNDS = 8, 0.5, 7
GAMES = {"coinrun-200": ("coinrun", "easy", 200), "chaser-500": ("chaser", "hard", 500)}


def python(game, mode, levels):
    """A function that plays, and gives env steps per second of CPU time, all threads."""
    env = ProcgenGym3Env(
        num=ROWS, env_name=game, distribution_mode=mode, num_levels=levels, num_threads=0
    )
    generator = np.random.default_rng(1)
    actions = [generator.integers(0, 15, ROWS, dtype=np.int32) for _ in range(64)]

    def measured():
        start, calls = time.process_time(), 0
        while time.process_time() - start < SECONDS:
            for action in actions:
                env.act(action)
                env.observe()
            calls += len(actions)
        return calls * ROWS / (time.process_time() - start)

    return measured


def ours(program, name):
    output = subprocess.run(
        [program, f"procgen/{name}"], capture_output=True, text=True, check=True
    )
    return float(output.stdout.split()[-1])


def main():
    for name, settings in GAMES.items():
        theirs, found = python(*settings), []
        for _ in range(ROUNDS):
            found.append((ours(sys.argv[1], name), theirs()))
        ratios = [ours / theirs for ours, theirs in found]
        ours_, theirs_ = (statistics.median(speeds) for speeds in zip(*found))
        print(
            f"{name:12} Engram {ours_:.0f} env steps/s, Python {theirs_:.0f}; ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
