"""The rows of a process, stepped together, with their frames in one block of memory.

Environments are stepped one by one and reset explicitly, so neither of Gymnasium's autoreset modes
is needed: the last observation of an episode is shown as the Last frame that it is, a reset takes a
step of its own, and every row has its own seed. A ready-made vector environment would hide one of
these behind its mode.

Keys of MAKE, all but the first four optional:

    protocol, id, rows, seeds   seeds: one below 2^31 for each row
    shared                      true: large observations may lie in a shared file
    module                      imported first, by name
    kwargs                      for `gymnasium.make`
    frame_skip, frame_stack, grayscale, resize, clip_reward, sticky_actions, max_steps, observe,
    action_bound                see docs/guide/configuration-env.md
"""

import importlib
import mmap
import os
import tempfile

import numpy as np

from . import wire
from .row import Row
from .spaces import Refused

# A copy through a socket costs more than one through memory from about here.
SHARED_FROM_BYTES = 32 << 10
SHARED_FOLDER = "/dev/shm"


class Group:
    """Rows, and the payload of FRAMES that they write into."""

    def __init__(self, settings):
        make = maker(settings)
        self.rows = [Row(make, settings, seed) for seed in settings["seeds"]]
        first = self.rows[0]
        self._shape, self._dtype = first.observation.shape, first.observation.dtype
        self._repeat = settings.get("frame_skip", 1)
        self._continuous = first.action.continuous
        self._file = None
        self._shared = settings.get("shared") and self._bytes() >= SHARED_FROM_BYTES
        self._lay_out(inline=not self._shared)
        if self._shared:
            self._share()

    def _bytes(self):
        return len(self.rows) * int(np.prod(self._shape)) * self._dtype.itemsize

    def _lay_out(self, inline):
        """Makes the message of FRAMES, and views of its columns."""
        count, observations = len(self.rows), self._bytes() if inline else 0
        head = wire.HEADER.size
        size = 4 * count + observations + 2 * count
        self._message = bytearray(head + size)
        wire.HEADER.pack_into(self._message, 0, size, wire.FRAMES)
        self._rewards = np.frombuffer(self._message, "<f4", count, head)
        codes = head + 4 * count + observations
        view = memoryview(self._message)
        self._codes = view[codes : codes + count]
        self._successes = view[codes + count : codes + 2 * count]
        if inline:
            self._view(
                np.frombuffer(
                    self._message,
                    self._dtype,
                    observations // self._dtype.itemsize,
                    head + 4 * count,
                )
            )

    def _view(self, numbers):
        self._observations = numbers.reshape((len(self.rows), *self._shape))
        self._outs = list(self._observations)
        self._floats = self._observations if self._dtype == np.float32 else None

    def _share(self):
        folder = SHARED_FOLDER if os.path.isdir(SHARED_FOLDER) else None
        try:
            handle, self._file = tempfile.mkstemp(prefix="engram-gym-", dir=folder)
            os.ftruncate(handle, self._bytes())
            memory = mmap.mmap(handle, self._bytes())
            os.close(handle)
        except OSError:
            self._lay_out(inline=True)
            self.forget_file()
            return
        self._view(np.frombuffer(memory, self._dtype))

    def attached(self, opened):
        """The actor has opened the shared file, or could not: then frames hold the observations."""
        self.forget_file()
        if not opened:
            self._lay_out(inline=True)

    def forget_file(self):
        if self._file is not None:
            if os.path.exists(self._file):
                os.unlink(self._file)
            self._file = None

    def spec(self):
        return {
            "protocol": wire.PROTOCOL,
            "observation": {
                "dtype": "u8" if self._dtype == np.uint8 else "f32",
                "shape": list(self._shape),
            },
            "action": self.rows[0].action.spec(),
            "action_repeat": self._repeat,
            "shared": self._file,
        }

    def step(self, payload):
        """The message that answers a STEP."""
        count = len(self.rows)
        commands, at = payload[:count], (count + 3) // 4 * 4
        if self._continuous is None:
            actions = np.frombuffer(payload, "<i4", count, at).tolist()
        else:
            actions = np.frombuffer(payload, "<f4", count * self._continuous, at)
            actions = actions.reshape(count, self._continuous)
        codes, outs, rewards = self._codes, self._outs, self._rewards
        successes = self._successes
        for index, row in enumerate(self.rows):
            command = commands[index]
            if command == wire.STEP_ROW:
                codes[index] = row.step(actions[index], outs[index])
            elif command == wire.RESET_ROW:
                row.reset(outs[index])
                codes[index] = wire.FIRST
            else:
                continue
            rewards[index] = row.reward
            successes[index] = row.success
        if not np.isfinite(rewards).all() or not self._finite():
            self._mend(commands)
        return self._message

    def _finite(self):
        return self._floats is None or np.isfinite(self._floats).all()

    def _mend(self, commands):
        """Rows that show something else than numbers end as broken, and show zeros in its place."""
        for index, row in enumerate(self.rows):
            fine = np.isfinite(self._rewards[index])
            if self._floats is not None:
                fine &= np.isfinite(self._floats[index]).all()
            if fine:
                continue
            if commands[index] == wire.RESET_ROW:
                raise RuntimeError(
                    "the first observation of an episode holds something else than numbers"
                )
            if self._floats is not None:
                np.nan_to_num(self._floats[index], copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            self._codes[index] = row.broken()
            self._rewards[index], self._successes[index] = row.reward, row.success

    def close(self):
        for row in self.rows:
            row.close()


def maker(settings):
    """A function that makes one environment, without wrappers of ours."""
    import gymnasium

    if settings.get("module"):
        importlib.import_module(settings["module"])
    kwargs = dict(settings.get("kwargs") or {})
    if settings.get("max_steps"):
        # Our limit counts decisions, and takes the place of the environment's own.
        kwargs["max_episode_steps"] = -1
    kwargs.setdefault("disable_env_checker", True)
    identifier = settings["id"]

    def make(**more):
        return gymnasium.make(identifier, **kwargs, **more)

    # Some environments are slower where they can draw themselves.
    if settings.get("pictures") and "render_mode" not in kwargs:
        probe = make()
        modes = (getattr(probe, "metadata", None) or {}).get("render_modes") or []
        probe.close()
        if "rgb_array" in modes:
            return lambda: make(render_mode="rgb_array")
    return make


def check(settings):
    """Refuses settings that the actor cannot have meant."""
    if settings.get("protocol") != wire.PROTOCOL:
        raise Refused(
            f"the actor speaks protocol {settings.get('protocol')}, this server {wire.PROTOCOL}: "
            f"install engram-gym from the checkout that the actor was built from"
        )
    if len(settings["seeds"]) != settings["rows"] or settings["rows"] < 1:
        raise Refused(f"{len(settings['seeds'])} seeds for {settings['rows']} rows")
