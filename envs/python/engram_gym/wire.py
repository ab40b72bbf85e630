"""The protocol between an actor and a server of environments. Little-endian throughout.

A message is a header of 8 bytes and a payload:

    length  u32    bytes of the payload
    kind    u8
    zeros   3 bytes

Kinds, from the actor:

    1 MAKE      JSON: the environment and its wrappers (`group.py` lists the keys)
    2 ATTACHED  u8: 1 if the file that SPEC names could be opened, else 0
    3 STEP      commands u8 x R, zeros up to a multiple of 4, then actions:
                i32 x R (discrete) or f32 x R x D (continuous, in [-1, 1])
    4 RENDER    u32: the row

and from the server:

    129 SPEC     JSON: protocol, observation, action, action_repeat, and shared: a file or null
    130 FRAMES   rewards f32 x R, observations R x O (absent if they lie in the shared file),
                 codes u8 x R, success u8 x R
    131 PICTURE  width u32, height u32, RGB bytes; a width of 0: the bytes are a text that says why
    255 ERROR    text; the connection ends

R rows, O numbers of an observation, D dimensions of an action.

Commands: 0 step, 1 reset, 2 nothing (the row's answer means nothing).
Codes: 0 First, 1 Mid, 2 Last and terminated, 3 Last and truncated, 4 Last, because the environment
failed; it is made anew. Success, at a Last frame: 0 unknown, 1 no, 2 yes.

A conversation: MAKE, SPEC, ATTACHED if a file was named, then any number of STEP and RENDER, each
answered before the next. Either side ends it by closing the connection.

The shared file holds the newest observations, R x O numbers. Its name is removed once it is opened.
"""

import json
import struct

PROTOCOL = 1

MAKE, ATTACHED, STEP, RENDER = 1, 2, 3, 4
SPEC, FRAMES, PICTURE, ERROR = 129, 130, 131, 255

STEP_ROW, RESET_ROW, SKIP_ROW = 0, 1, 2
FIRST, MID, TERMINATED, TRUNCATED, BROKEN = 0, 1, 2, 3, 4
UNKNOWN, FAILURE, SUCCESS = 0, 1, 2

HEADER = struct.Struct("<IB3x")
PICTURE_SIZE = struct.Struct("<II")

# No honest message is longer: 1024 rows of the largest observation are not, in one process.
MAX_PAYLOAD = 1 << 30


class Closed(Exception):
    """The actor has closed the connection."""


class Channel:
    """A connection, message by message."""

    def __init__(self, connection):
        self._connection = connection
        self._header, self._payload = bytearray(HEADER.size), bytearray(1 << 12)
        self.send_whole = connection.sendall

    def receive(self):
        """The next message: its kind, and a view of its payload that lives until the next call."""
        self._fill(memoryview(self._header))
        length, kind = HEADER.unpack(self._header)
        if length > MAX_PAYLOAD:
            raise ValueError(
                f"a message of {length} bytes was announced; the limit is {MAX_PAYLOAD}"
            )
        if length > len(self._payload):
            self._payload = bytearray(length)
        view = memoryview(self._payload)[:length]
        self._fill(view)
        return kind, view

    def send(self, kind, payload=b""):
        """Sends one message."""
        self.send_whole(HEADER.pack(len(payload), kind) + payload)

    def send_json(self, kind, value):
        """Sends one message of JSON."""
        self.send(kind, json.dumps(value).encode())

    def close(self):
        self._connection.close()

    def _fill(self, view):
        while view:
            count = self._connection.recv_into(view)
            if count == 0:
                raise Closed
            view = view[count:]
