"""Spaces of a group's environments, its columns as arrays, and its pictures."""

import gymnasium
import numpy as np

from engram_envs._native import Group

RENDER_MODES = ("rgb_array",)


def open_group(name, settings, rows, seed):
    """A group of environments, and its columns as arrays, which show its memory in place."""
    group = Group(name, settings, rows, seed)
    return group, {key: np.asarray(column) for key, column in group.columns().items()}


def spaces(group, columns):
    """The spaces of one environment: of its observations, and of its actions."""
    shape = tuple(group.observation_shape)
    if columns["observations"].dtype == np.uint8:
        observations = gymnasium.spaces.Box(0, 255, shape, np.uint8)
    else:
        observations = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
    if group.action_count is not None:
        return observations, gymnasium.spaces.Discrete(group.action_count)
    return observations, gymnasium.spaces.Box(-1, 1, columns["actions"].shape[1:], np.float32)


def checked_render_mode(render_mode):
    if render_mode not in (None, *RENDER_MODES):
        raise ValueError(f"render_mode is {render_mode!r}; it must be None or 'rgb_array'")
    return render_mode


def picture(group, row, size):
    """An environment as it draws itself for people: an array of `[height, width, 3]` bytes."""
    width, height = size
    pixels = np.frombuffer(group.render(row, width, height), np.uint8)
    return pixels.reshape(height, width, 3).copy()
