"""Atari as others play it: ale-py with wrappers in numpy and OpenCV, and Gymnasium's own. Writes `atari.toml`.

    python3 -m venv venv
    venv/bin/pip install ale-py==0.12.1 gymnasium==1.4.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
    venv/bin/python envs/tests/replays/atari_goldens.py > envs/tests/replays/atari.toml

`Wrapped` does what the wrappers of OpenAI's Baselines do, as they were applied one upon the other for R2AC:
no-ops, skipped frames, lives, fire, small gray pictures, a stack of them. `Preprocessed` is Gymnasium's
`AtariPreprocessing` and a stack. Actions, numbers of no-ops and actions that stick are drawn from the
generator that the tests have too.
"""

import hashlib
import os
import struct

import ale_py
import cv2
import gymnasium
import numpy as np
from ale_py import ALEInterface, LoggerMode
from chance import Chance
from gymnasium.wrappers import AtariPreprocessing

STEPS = 10_000
PART = 1_000
ROMS = os.path.join(os.path.dirname(ale_py.__file__), "roms")

DEFAULT = {
    "height": 84,
    "width": 84,
    "frame_stack": 4,
    "frame_skip": 4,
    "pooling": "color",
    "max_noops": 30,
    "sticky_actions": 0.0,
    "actions": "minimal",
    "episodic_life": True,
    "fire_reset": True,
    "max_frames": 108_000,
}
GRAY = {"pooling": "gray", "episodic_life": False, "fire_reset": False}


class Stack:
    """The newest pictures, the oldest first."""

    def __init__(self, size):
        self.size = size

    def begin(self, picture):
        self.pictures = [picture] * self.size
        return np.stack(self.pictures)

    def show(self, picture):
        self.pictures = self.pictures[1:] + [picture]
        return np.stack(self.pictures)


class Wrapped:
    """ale-py, and the wrappers of Baselines."""

    def __init__(self, settings, chance):
        self.settings, self.chance = settings, chance
        self.ale = ALEInterface()
        self.ale.setInt("random_seed", 1)
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.loadROM(os.path.join(ROMS, settings["game"] + ".bin"))
        full = settings["actions"] == "full"
        self.actions = self.ale.getLegalActionSet() if full else self.ale.getMinimalActionSet()
        self.stack = Stack(settings["frame_stack"])
        self.buffer = [None, None]
        self.new_game, self.lives = True, 0

    def frame(self, action):
        sticky = self.settings["sticky_actions"]
        if sticky == 0.0 or self.chance.unit() >= sticky:
            self.last = action
        self.frames += 1
        return self.ale.act(self.last)

    def restart(self):
        self.ale.reset_game()
        self.last, self.frames = self.actions[0], 0

    def screen(self):
        color = self.settings["pooling"] == "color"
        return self.ale.getScreenRGB() if color else self.ale.getScreenGrayscale()

    def start_game(self):
        self.restart()
        if self.settings["max_noops"] > 0:
            for _ in range(self.chance.integers(1, self.settings["max_noops"] + 1)):
                self.frame(self.actions[0])
                if self.ale.game_over():
                    self.restart()
        self.buffer = [self.screen(), self.screen()]

    def skip(self, action):
        total, skip = 0, self.settings["frame_skip"]
        for i in range(skip):
            total += self.frame(action)
            if i == skip - 2:
                self.buffer[0] = self.screen()
            if i == skip - 1:
                self.buffer[1] = self.screen()
            if skip == 1:
                self.buffer[0] = self.buffer[1]
            if self.ale.game_over():
                break
        return total

    def decide(self, action):
        reward = self.skip(action)
        lives, over = self.ale.lives(), self.ale.game_over()
        late = self.frames >= self.settings["max_frames"]
        lost = self.settings["episodic_life"] and 0 < lives < self.lives
        self.lives, self.new_game = lives, over or late
        return reward, over or lost, late

    def start(self):
        if self.new_game or not self.settings["episodic_life"]:
            self.start_game()
            self.new_game = False
        else:
            self.skip(self.actions[0])
        self.lives = self.ale.lives()

    def picture(self):
        pooled = np.maximum(*self.buffer)
        if self.settings["pooling"] == "color":
            pooled = cv2.cvtColor(pooled, cv2.COLOR_RGB2GRAY)
        size = (self.settings["width"], self.settings["height"])
        return cv2.resize(pooled, size, interpolation=cv2.INTER_AREA)

    def reset(self):
        self.start()
        if self.settings["fire_reset"] and self.actions[1].value == 1:
            for action in self.actions[1:3]:
                _, terminated, late = self.decide(action)
                if terminated or late:
                    self.start()
        return self.stack.begin(self.picture())

    def step(self, action):
        reward, terminated, late = self.decide(self.actions[action])
        return self.stack.show(self.picture()), reward, terminated, late


class Preprocessed:
    """Gymnasium's own wrapper."""

    def __init__(self, settings, chance):
        gymnasium.register_envs(ale_py)
        env = gymnasium.make(
            "ale_py:ALE/" + settings["id"] + "-v5", frameskip=1, repeat_action_probability=0.0
        )
        self.env = AtariPreprocessing(
            env,
            noop_max=settings["max_noops"],
            frame_skip=settings["frame_skip"],
            screen_size=settings["height"],
        )
        self.stack, self.chance = Stack(settings["frame_stack"]), chance
        self.actions = range(env.action_space.n)

    def reset(self):
        self.env.unwrapped._np_random = self.chance
        observation, _ = self.env.reset()
        return self.stack.begin(observation)

    def step(self, action):
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return self.stack.show(observation), reward, terminated, truncated


def replay(kind, seed, **changed):
    settings = DEFAULT | changed
    chance, actor = Chance(2 * seed), Chance(2 * seed + 1)
    env = kind(settings, chance)
    digest, digests, ends, total = hashlib.sha256(), [], [0, 0, 0], 0
    digest.update(env.reset().tobytes())
    end = 0
    for step in range(STEPS):
        if end:
            digest.update(env.reset().tobytes())
        picture, reward, terminated, truncated = env.step(actor.below(len(env.actions)))
        end = 1 if terminated else 2 if truncated else 0
        ends[end] += 1
        total += reward
        # Gymnasium's wrapper leaves a game's last screen out if it ended at one of the last two frames.
        seen = b"" if end and kind is Preprocessed else picture.tobytes()
        digest.update(seen + struct.pack("<f", reward) + bytes([end]))
        if step % PART == PART - 1:
            digests.append(digest.hexdigest()[:16])
    print("[[atari]]")
    print(f"by = {kind.__name__.lower()!r}")
    print(f"terminated = {ends[1]}\ntruncated = {ends[2]}\nrewards = {int(total)}")
    print("digests =", digests)
    print("[atari.env]")
    settings = {"name": "atari", "game": settings["game"]} | settings
    for key, value in settings.items():
        if key != "id":
            print(f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}")
    print()


def main():
    ALEInterface.setLoggerMode(LoggerMode.Error)
    print("# Written by atari_goldens.py; see there.\n")
    replay(Wrapped, 1, game="pong")
    replay(Wrapped, 2, game="breakout")
    replay(Wrapped, 3, game="breakout", sticky_actions=0.25, actions="full", max_frames=1500)
    small = {"height": 105, "width": 80, "frame_stack": 2, "max_noops": 0, "max_frames": 1500}
    replay(Wrapped, 4, game="pong", frame_skip=3, **small)
    replay(Preprocessed, 5, game="pong", id="Pong", **GRAY)
    replay(Preprocessed, 6, game="breakout", id="Breakout", **GRAY)


if __name__ == "__main__":
    main()
