"""Spaces: observations become rows of numbers, and numbers become actions.

| observation space | becomes |
|---|---|
| Box of bytes in three dimensions, or two | an image of bytes, [channels, height, width] |
| Box of bytes in one dimension | bytes |
| any other Box | floats, flattened |
| Discrete, MultiDiscrete | one-hot floats |
| MultiBinary | floats |
| Dict, Tuple | all parts side by side, as floats (bytes divided by 255) |

| action space | becomes |
|---|---|
| Discrete | discrete |
| MultiDiscrete, MultiBinary | discrete: one action for each combination |
| Box | continuous, from [-1, 1] to the space's bounds |

Other spaces are refused by name. Spaces are told by their class's name, so that those of another
package with the same attributes serve too.
"""

import numpy as np

MAX_ACTIONS = 4096


class Refused(Exception):
    """A space or a setting that cannot be served; the message says what would be right."""


def _kind(space):
    """The name of the space's class that this module knows, else of its own class."""
    known = {"Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple"}
    names = [cls.__name__ for cls in type(space).__mro__]
    return next((name for name in names if name in known), names[0])


class Encoder:
    """Numbers of an observation: `shape`, `dtype`, and `encode(observation, row)`, which writes."""

    def __init__(self, shape, dtype, encode):
        self.shape, self.dtype, self.encode = tuple(shape), np.dtype(dtype), encode

    @property
    def size(self):
        return int(np.prod(self.shape))


def encoder(space, keys=None):
    """The encoder of an observation space; of a Dict only `keys`, where they are given."""
    kind = _kind(space)
    if keys is not None:
        if kind != "Dict":
            raise Refused(f"`observe` names parts, but the observation space is {space}, no Dict")
        missing = [key for key in keys if key not in space.spaces]
        if missing:
            raise Refused(f"`observe` names {missing}; the observation has {sorted(space.spaces)}")
        parts = [(key, space.spaces[key]) for key in keys]
    elif kind == "Dict":
        parts = sorted(space.spaces.items())
    elif kind == "Tuple":
        parts = list(enumerate(space.spaces))
    else:
        return _leaf(space, kind)
    if len(parts) == 1:
        key, part = parts[0]
        inner = encoder(part)
        return Encoder(
            inner.shape, inner.dtype, lambda observation, row: inner.encode(observation[key], row)
        )
    return _side_by_side([(key, _floats(encoder(part))) for key, part in parts])


def _side_by_side(parts):
    places, at = [], 0
    for key, part in parts:
        places.append((key, slice(at, at + part.size), part.encode))
        at += part.size

    def encode(observation, row):
        for key, place, write in places:
            write(observation[key], row[place])

    return Encoder([at], np.float32, encode)


def _floats(part):
    """The same numbers as floats in one dimension."""
    if part.dtype == np.float32:
        return Encoder([part.size], np.float32, part.encode)
    staging = np.zeros(part.shape, np.uint8)

    def encode(observation, row):
        part.encode(observation, staging)
        np.divide(staging.reshape(-1), np.float32(255), out=row)

    return Encoder([part.size], np.float32, encode)


def _leaf(space, kind):
    if kind == "Box":
        return _box(space)
    if kind == "Discrete":
        return _one_hots([int(space.n)], [int(getattr(space, "start", 0))])
    if kind == "MultiDiscrete":
        counts = np.asarray(space.nvec).reshape(-1)
        starts = np.asarray(getattr(space, "start", np.zeros_like(counts))).reshape(-1)
        return _one_hots(counts.tolist(), starts.tolist())
    if kind == "MultiBinary":
        return _flat(int(np.prod(space.shape)))
    raise Refused(
        f"the observation space holds {space} ({kind}); Box, Discrete, MultiDiscrete, MultiBinary, "
        f"and Dict or Tuple of these can be served"
    )


def _box(space):
    shape, size = tuple(space.shape), int(np.prod(space.shape))
    if size == 0:
        raise Refused(f"the observation space {space} holds no number")
    if np.dtype(space.dtype) != np.uint8 or len(shape) == 0 or len(shape) > 3:
        return _flat(size)
    if len(shape) == 1:
        return Encoder(shape, np.uint8, _copy)
    if len(shape) == 2:
        return Encoder((1, *shape), np.uint8, lambda image, row: _copy(image, row[0]))
    if shape[2] <= 4 < shape[0]:
        height, width, channels = shape
        return Encoder(
            (channels, height, width),
            np.uint8,
            lambda image, row: _copy(np.moveaxis(image, 2, 0), row),
        )
    return Encoder(shape, np.uint8, _copy)


def _copy(observation, row):
    row[...] = observation


def _flat(size):
    def encode(observation, row):
        row[:] = observation if getattr(observation, "ndim", 0) == 1 else np.ravel(observation)

    return Encoder([size], np.float32, encode)


def _one_hots(counts, starts):
    offsets = np.cumsum([0, *counts[:-1]]) - np.asarray(starts)

    def encode(observation, row):
        row[:] = 0.0
        row[np.ravel(observation) + offsets] = 1.0

    return Encoder([int(sum(counts))], np.float32, encode)


class Decoder:
    """Actions: `discrete` (their number) or `continuous` (their dimensions), and `decode`."""

    def __init__(self, decode, discrete=None, continuous=None):
        self.decode, self.discrete, self.continuous = decode, discrete, continuous

    def spec(self):
        if self.discrete is not None:
            return {"discrete": self.discrete}
        return {"continuous": self.continuous}


def decoder(space, bound=None):
    """The decoder of an action space. `bound` bounds a Box where that has no bounds."""
    kind = _kind(space)
    if kind == "Discrete":
        start = int(getattr(space, "start", 0))
        return _checked(
            Decoder((lambda a: int(a) + start) if start else int, discrete=int(space.n)), space
        )
    if kind == "MultiDiscrete":
        shape, counts = space.nvec.shape, np.asarray(space.nvec).reshape(-1)
        starts = np.asarray(getattr(space, "start", np.zeros_like(counts))).reshape(-1)
        return _combinations(space, counts.tolist(), starts, shape, space.dtype)
    if kind == "MultiBinary":
        counts = [2] * int(np.prod(space.shape))
        return _combinations(space, counts, np.zeros(len(counts), int), space.shape, space.dtype)
    if kind == "Box":
        return _box_actions(space, bound)
    raise Refused(
        f"the action space is {space} ({kind}); Discrete, MultiDiscrete, MultiBinary and Box can "
        f"be served"
    )


def _combinations(space, counts, starts, shape, dtype):
    total = int(np.prod([float(count) for count in counts]))
    if total > MAX_ACTIONS:
        raise Refused(
            f"the action space {space} has {total} combinations; {MAX_ACTIONS} can be served"
        )

    def decode(index):
        return (
            (np.array(np.unravel_index(int(index), counts)) + starts).astype(dtype).reshape(shape)
        )

    return _checked(Decoder(decode, discrete=total), space)


def _box_actions(space, bound):
    low = np.asarray(space.low, np.float64).reshape(-1)
    high = np.asarray(space.high, np.float64).reshape(-1)
    # Spaces say "no bound" by infinity, or by the largest number of their type.
    free = (low < -1e30) | (high > 1e30)
    if free.any():
        if bound is None:
            raise Refused(f"the action space {space} has no bounds; set `action_bound`")
        low, high = np.where(free, -bound, low), np.where(free, bound, high)
    middle, half = (high + low) / 2, (high - low) / 2
    shape, dtype = space.shape, space.dtype
    whole = np.issubdtype(dtype, np.integer)

    def decode(vector):
        numbers = middle + half * vector
        # Rounding must not leave the bounds.
        numbers = np.clip(np.rint(numbers) if whole else numbers, low, high)
        return numbers.astype(dtype).reshape(shape)

    return _checked(Decoder(decode, continuous=len(low)), space)


def _checked(decoder, space):
    count = decoder.discrete if decoder.discrete is not None else decoder.continuous
    if not 1 <= count <= MAX_ACTIONS:
        raise Refused(
            f"the action space {space} has {count} actions or dimensions; 1 to {MAX_ACTIONS} can be"
        )
    return decoder
