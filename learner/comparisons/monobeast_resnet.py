"""Env steps per second of TorchBeast's MonoBeast with IMPALA's deep ResNet.

    git clone https://github.com/facebookresearch/torchbeast
    python3 learner/comparisons/monobeast_resnet.py torchbeast [noise|breakout] [ACTORS]

Needs torch, and for Breakout what `pictures.py` beside it says. The network is PolyBeast's, which MonoBeast lacks, with its
LSTM of 256 cells. Unrolls of 20, batches of 32. The command that trains the same with Engram is in
docs/benchmarks/atari.md.
"""

import logging
import os
import sys
import tempfile
import types

import pictures

sys.path.insert(0, sys.argv[1])
WORLD = sys.argv[2] if len(sys.argv) > 2 else "noise"
ACTORS = int(sys.argv[3]) if len(sys.argv) > 3 else 8
STEPS = 12_800

os.environ["OMP_NUM_THREADS"] = "1"


def module(name, **content):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)


def each(f, x):
    return tuple(each(f, y) for y in x) if isinstance(x, tuple) else f(x)


class Box:
    shape = pictures.SHAPE


class Env:
    """A world as Gym once had them."""

    observation_space = Box

    def __init__(self):
        self.world = pictures.make(WORLD)
        self.action_space = types.SimpleNamespace(n=self.world.actions)
        self.reset = self.world.reset

    def step(self, action):
        return (*self.world.step(action), {})

    def seed(self, seed):
        pass

    def close(self):
        pass


# What the two programs import and this does not use.
module("gym", spaces=types.SimpleNamespace(Box=Box))
module("nest", map=each)
module("libtorchbeast", BatchingQueue=None, DynamicBatcher=None, ActorPool=None)
module("torchbeast.atari_wrappers", wrap_pytorch=None, wrap_deepmind=None, make_atari=None)

from torchbeast import monobeast, polybeast_learner  # noqa: E402


class Net(polybeast_learner.Net):
    def __init__(self, shape, actions, use_lstm):
        super().__init__(actions, use_lstm)

    def forward(self, inputs, core_state=()):
        (action, logits, baseline), core_state = super().forward(inputs, core_state)
        return dict(policy_logits=logits, baseline=baseline, action=action), core_state


monobeast.Net = Net
monobeast.create_env = lambda flags: Env()
logging.getLogger().setLevel(logging.INFO)
monobeast.train(
    monobeast.parser.parse_args(
        f"--num_actors {ACTORS} --total_steps {STEPS} --batch_size 32 --unroll_length 20 --use_lstm --disable_cuda "
        f"--num_learner_threads 1 --disable_checkpoint --savedir {tempfile.mkdtemp()}".split()
    )
)
