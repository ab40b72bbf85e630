"""Engram's environments for Python, as Gymnasium knows environments.

    envs = engram_envs.make_vec("recall-30", num_envs=1024, seed=1, delay=40)

An environment has the name of its file in `configs/env`, and its settings are the keys there.

| file | is |
|---|---|
| `vector.py` | many environments, stepped together |
| `single.py` | one environment |
| `spaces.py` | spaces of a group, and its columns as arrays |
| `registration.py` | the ids of `gymnasium.make` |
| `_native` | the environments themselves, in Rust |
"""

from engram_envs._native import names, settings
from engram_envs.registration import register
from engram_envs.single import Env
from engram_envs.vector import VectorEnv

__all__ = ["Env", "VectorEnv", "make", "make_vec", "names", "settings"]


def make_vec(name, num_envs=1, **settings):
    """Many environments, stepped together; see `VectorEnv`."""
    return VectorEnv(name, num_envs, **settings)


def make(name, **settings):
    """One environment; see `Env`."""
    return Env(name, **settings)


register()
