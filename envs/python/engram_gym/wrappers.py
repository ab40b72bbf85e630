"""Wrappers of observations, each an encoder around another: gray scale, resize, parts, stacks.

They are applied in this order. Images are bytes, [channels, height, width]. Area averages are two
matrix products, one for each side: element (i, j) is the share of old pixel j in new pixel i.
"""

import numpy as np

from .spaces import Encoder, Refused

# ITU-R BT.601.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def wrapped(inner, settings):
    """The encoder with all wrappers that are set, but stacks: these have a memory."""
    if settings.get("grayscale"):
        inner = grayscale(inner)
    if settings.get("resize") is not None:
        inner = resize(inner, *settings["resize"])
    observe = settings.get("observe")
    if observe is not None and not all(isinstance(part, str) for part in observe):
        inner = parts(inner, observe)
    return inner


def grayscale(inner):
    """Brightness of a color image."""
    _image("grayscale", inner)
    channels, height, width = inner.shape
    if channels < 3:
        return inner
    color = np.zeros(inner.shape, np.uint8)

    def encode(observation, row):
        inner.encode(observation, color)
        row[0] = np.rint(np.tensordot(LUMA, color[:3].astype(np.float32), axes=1))

    return Encoder((1, height, width), np.uint8, encode)


def resize(inner, height, width):
    """An image of another size; each pixel is the average of the area that it covers."""
    _image("resize", inner)
    channels, old_height, old_width = inner.shape
    rows, columns = shares(old_height, height), shares(old_width, width).T.copy()
    image = np.zeros(inner.shape, np.uint8)

    def encode(observation, row):
        inner.encode(observation, image)
        row[...] = np.rint(rows @ image.astype(np.float32) @ columns)

    return Encoder((channels, height, width), np.uint8, encode)


def shares(old, new):
    """The share of each of `old` pixels in each of `new` ones: [new, old], rows add up to 1."""
    edges = np.arange(new + 1) * (old / new)
    low = np.maximum(edges[:-1, None], np.arange(old)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, old + 1)[None, :])
    return (np.maximum(high - low, 0.0) * (new / old)).astype(np.float32)


def parts(inner, indices):
    """Some numbers of an observation, in the order of `indices`."""
    if len(inner.shape) != 1:
        raise Refused(
            f"`observe` takes numbers of a flat observation; this one is {list(inner.shape)}"
        )
    beyond = [index for index in indices if not 0 <= index < inner.size]
    if beyond:
        raise Refused(
            f"`observe` names {beyond}; the observation has numbers 0 to {inner.size - 1}"
        )
    chosen, all_numbers = np.array(indices, np.intp), np.zeros(inner.shape, inner.dtype)

    def encode(observation, row):
        inner.encode(observation, all_numbers)
        np.take(all_numbers, chosen, out=row)

    return Encoder([len(indices)], inner.dtype, encode)


class Stack:
    """The newest observations side by side, the oldest first, zeros before an episode's start."""

    def __init__(self, inner, count):
        self._inner, self._count = inner, count
        first, *rest = inner.shape
        self._newest = slice((count - 1) * first, count * first)
        self._older, self._kept = slice(first, count * first), slice(0, (count - 1) * first)
        self.shape, self.dtype = (count * first, *rest), inner.dtype
        self._window = np.zeros(self.shape, self.dtype)

    def reset(self):
        """Forgets all: an episode begins."""
        self._window[...] = 0

    def encode(self, observation, row):
        """Adds an observation, and writes the window."""
        window = self._window
        window[self._kept] = window[self._older]
        self._inner.encode(observation, window[self._newest])
        row[...] = window


def _image(wrapper, inner):
    if len(inner.shape) != 3 or inner.dtype != np.uint8:
        found = f"{inner.dtype.name}{list(inner.shape)}"
        raise Refused(f"`{wrapper}` wants images of bytes; the observation is {found}")
