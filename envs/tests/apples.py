"""What a random policy collects in the apple phase of Passive Visual Match and Key-to-Door, by
pycolab: the goldens of `gridworld/apples.rs`.

    python3 -m venv goldens && goldens/bin/pip install numpy==1.23.5 pycolab==1.2
    goldens/bin/python envs/tests/apples.py 60 15000
    goldens/bin/python envs/tests/apples.py 250 1500
"""

import sys

import numpy as np
from pycolab import ascii_art, things
from pycolab.prefab_parts import sprites

MAP = [
    "###########",
    "#a a a a a#",
    "# a a a a #",
    "#a a a a a#",
    "# a a a a #",
    "#a a + a a#",
    "###########",
]
APPLES = 10
REST = 20


class Player(sprites.MazeWalker):
    def __init__(self, corner, position, character):
        super().__init__(corner, position, character, impassable="#", confined_to_board=True)

    def update(self, action, board, layers, backdrop, things, plot):
        plot.add_reward(0.0)
        if action is not None:
            [self._north, self._south, self._west, self._east][action](board, plot)


class Apples(things.Drape):
    def __init__(self, curtain, character):
        super().__init__(curtain, character)
        self.taken = np.full(curtain.shape, np.inf)

    def update(self, action, board, layers, backdrop, things, plot):
        here = things["+"].position
        if self.curtain[here]:
            self.curtain[here] = False
            self.taken[here] = plot.frame
            plot.add_reward(1.0)
        self.curtain[plot.frame > self.taken + REST] = True


def collected(frames, generator):
    board = np.array([list(row) for row in MAP])
    for row, column in generator.permutation(np.argwhere(board == "a"))[APPLES:]:
        board[row, column] = " "
    engine = ascii_art.ascii_art_to_game(
        ["".join(row) for row in board],
        " ",
        sprites={"+": Player},
        drapes={"a": Apples},
        update_schedule=["+", "a"],
        z_order=["a", "+"],
    )
    engine.its_showtime()
    return sum(engine.play(int(generator.integers(4)))[1] for _ in range(frames))


if __name__ == "__main__":
    frames, episodes = int(sys.argv[1]), int(sys.argv[2])
    generator = np.random.default_rng(1)
    total = [collected(frames, generator) for _ in range(episodes)]
    print(frames, np.mean(total), "±", np.std(total) / np.sqrt(episodes))
