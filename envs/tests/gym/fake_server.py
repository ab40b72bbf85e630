"""A server of environments that counts, for tests: the wire is the real one, the rest needs nothing
but Python.

An observation is [process, seed, time, action, episode] and `size` zeros. An episode ends after
`length` decisions, terminated in even rows and truncated in odd ones; success is the row's parity
too. A decision pays the time before it. `kwargs` may also hold:

    continuous  dimensions of the actions; the first number of one is shown
    refuse      a text: the environment is not made, and this is why
    die         "make" or "reset": the process ends there
    exit_at     the process ends at this step of its life, before any row has taken it
    slow_at     this step of its life takes a second
    sulk        a file: while it exists, rows that step are answered by nonsense
"""

import json
import os
import struct
import tempfile
import time

from engram_gym import wire
from engram_gym.__main__ import take_stdin


class Row:
    def __init__(self, number, seed, length):
        self.number, self.seed, self.length = number, seed, length
        self.time, self.action, self.episode = 0, 0.0, 0

    def reset(self):
        self.time, self.action = 0, 0.0
        self.episode += 1
        return 0.0, wire.FIRST, wire.UNKNOWN

    def step(self, action):
        reward = float(self.time)
        self.time, self.action = self.time + 1, float(action)
        if self.time < self.length:
            return reward, wire.MID, wire.UNKNOWN
        odd = self.number % 2
        return reward, (wire.TRUNCATED if odd else wire.TERMINATED), wire.SUCCESS - odd

    def observation(self, size):
        numbers = (os.getpid(), self.seed % (1 << 20), self.time, self.action, self.episode)
        return struct.pack("<5f", *numbers) + bytes(4 * size)


def serve(channel):
    _, payload = channel.receive()
    settings = json.loads(bytes(payload))
    kwargs = settings.get("kwargs", {})
    if "refuse" in kwargs:
        return channel.send(wire.ERROR, kwargs["refuse"].encode())
    if kwargs.get("die") == "make":
        print("the last words of a server")
        os._exit(3)
    size, dimensions = kwargs.get("size", 0), kwargs.get("continuous", 0)
    rows = [Row(number, seed, kwargs["length"]) for number, seed in enumerate(settings["seeds"])]
    count = len(rows)
    bytes_of_all = count * 4 * (5 + size)
    file = None
    if settings["shared"] and bytes_of_all >= 1 << 15:
        file = tempfile.NamedTemporaryFile(delete=False)
        file.truncate(bytes_of_all)
    channel.send_json(
        wire.SPEC,
        {
            "protocol": settings["protocol"],
            "observation": {"dtype": "f32", "shape": [5 + size]},
            "action": {"continuous": dimensions} if dimensions else {"discrete": 5},
            "action_repeat": settings.get("frame_skip", 1),
            "shared": file and file.name,
        },
    )
    if file:
        channel.receive()
        os.unlink(file.name)
    life = 0
    while True:
        kind, payload = channel.receive()
        if kind == wire.RENDER:
            channel.send(wire.PICTURE, wire.PICTURE_SIZE.pack(2, 1) + bytes([0, 0, 0, 255, 0, 0]))
            continue
        at = (count + 3) // 4 * 4
        actions = struct.unpack_from(
            f"<{count * dimensions}f" if dimensions else f"<{count}i", payload, at
        )
        life += any(command == wire.STEP_ROW for command in payload[:count])
        if life == kwargs.get("exit_at"):
            os._exit(5)
        if life == kwargs.get("slow_at"):
            time.sleep(1)
        rewards, codes, successes = [0.0] * count, bytearray(count), bytearray(count)
        for number, row in enumerate(rows):
            command = payload[number]
            if command == wire.RESET_ROW:
                if kwargs.get("die") == "reset":
                    os._exit(4)
                answer = row.reset()
            elif command == wire.STEP_ROW:
                answer = row.step(actions[number * (dimensions or 1)])
                if os.path.exists(kwargs.get("sulk", "")):
                    answer = (0.0, 99, 0)
            else:
                continue
            rewards[number], codes[number], successes[number] = answer
        observations = b"".join(row.observation(size) for row in rows)
        if file:
            file.seek(0)
            file.write(observations)
            file.flush()
            observations = b""
        frames = struct.pack(f"<{count}f", *rewards) + observations + codes + successes
        channel.send(wire.FRAMES, frames)


if __name__ == "__main__":
    try:
        serve(wire.Channel(take_stdin()))
    except (wire.Closed, ConnectionError):
        pass
