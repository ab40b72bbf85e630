"""The generator that other programs and the tests of this crate share, and the hash of what they saw."""

import numpy as np

WORD = (1 << 64) - 1


class Chance:
    """SplitMix64, with the calls of numpy's generators that the packages make."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & WORD
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        return z ^ (z >> 31)

    def below(self, count):
        return ((self.next() >> 32) * count) >> 32

    def unit(self):
        return (self.next() >> 11) * 2.0**-53

    def shuffle(self, array):
        for last in range(len(array) - 1, 0, -1):
            other = self.below(last + 1)
            array[last], array[other] = array[other], array[last]

    def integers(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        if size is None:
            return low + self.below(high - low)
        return np.array([low + self.below(high - low) for _ in range(size)])

    def randint(self, high):
        return self.below(high)

    def binomial(self, count, share, size):
        assert count == 1 and share == 0.5
        return np.array([self.below(2) for _ in range(size)])

    def choice(self, array, size, replace):
        assert not replace
        array = array.copy()
        for drawn in range(size):
            other = drawn + self.below(len(array) - drawn)
            array[drawn], array[other] = array[other], array[drawn]
        return array[:size]

    def random(self, size=None, dtype=np.float64):
        if size is None:
            return self.unit()
        return np.array([self.unit() for _ in range(size)], dtype=dtype)

    def uniform(self, low, high, size=None):
        if size is not None:
            low, high = np.full(size, low), np.full(size, high)
        assert np.array_equal(-low, high)
        return np.array([2.0 * limit * self.unit() - limit for limit in high])

    def normal(self, mean, deviation):
        assert mean == 0
        # Nearly normal, and the same to the last digit wherever it is added up.
        return np.array([s * (sum(self.unit() for _ in range(12)) - 6.0) for s in deviation])


class Digest:
    """FNV-1a of 64 bits."""

    def __init__(self):
        self.hash = 0xCBF29CE484222325

    def add(self, data):
        for byte in data:
            self.hash = ((self.hash ^ byte) * 0x100000001B3) & WORD

    def text(self):
        return f"{self.hash:016x}"


def is_written(episode, episodes):
    """The hashes after 1, 2, 4, 8 … episodes are written, and the one after all."""
    return episode & (episode + 1) == 0 or episode == episodes - 1
