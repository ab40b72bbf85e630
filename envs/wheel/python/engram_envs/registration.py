"""The ids of `gymnasium.make` and `gymnasium.make_vec`: `engram/` and a name.

Gymnasium's ids have one slash, so that of a file in a folder becomes a hyphen: `engram/popgym-autoencode`.
"""

import gymnasium

from engram_envs._native import names


def register():
    """Registers every environment, once."""
    for name in names():
        identifier = f"engram/{name.replace('/', '-')}"
        if identifier not in gymnasium.registry:
            gymnasium.register(
                identifier,
                entry_point="engram_envs.single:Env",
                vector_entry_point="engram_envs.vector:VectorEnv",
                kwargs={"name": name},
            )
