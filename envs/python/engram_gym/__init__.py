"""Gymnasium environments for Engram's actors.

An actor starts `python -m engram_gym` and speaks with it over a socket, or connects to one that
listens elsewhere. One process steps a group of environments.

| file | is |
|---|---|
| `wire.py` | the protocol: messages and their layout |
| `spaces.py` | spaces: observations become rows of numbers, numbers become actions |
| `wrappers.py` | images and windows: gray scale, resize, parts, stacks |
| `row.py` | one environment with its wrappers |
| `group.py` | the rows of a process, stepped together |
| `server.py` | a connection, from the first message to the last |
| `__main__.py` | the command line |
| `pybullet.py` | an adapter for PyBullet's environments, which were written for the old Gym |
| `dmlab.py` | an adapter for DeepMind Lab |
| `tasks.py` | random gravity, directions and speeds around robots of MuJoCo and PyBullet |
"""
