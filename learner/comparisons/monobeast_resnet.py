"""Env steps per second of TorchBeast's MonoBeast with IMPALA's deep ResNet on pictures of noise.

    git clone https://github.com/facebookresearch/torchbeast
    python3 learner/comparisons/monobeast_resnet.py torchbeast [ACTORS]

Needs torch. The network is PolyBeast's, which MonoBeast lacks, with its LSTM of 256 cells; 84 x 84 x 4
bytes of noise cost nothing, as `--env noise` here. Unrolls of 20, batches of 32. The command that trains the
same with Engram is in docs/benchmarks/atari.md.
"""

import logging
import os
import sys
import tempfile
import types

import numpy

sys.path.insert(0, sys.argv[1])
ACTORS, STEPS = int((sys.argv + ["8"])[2]), 12_800

os.environ["OMP_NUM_THREADS"] = "1"


def module(name, **content):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)


def each(f, x):
    return tuple(each(f, y) for y in x) if isinstance(x, tuple) else f(x)


class Box:
    shape = (4, 84, 84)


class Discrete:
    n = 6


class Noise:
    """Pictures of noise; an episode has a thousand steps."""

    observation_space, action_space = Box, Discrete

    def __init__(self):
        random = numpy.random.default_rng(1)
        self.frames, self.t = random.integers(0, 256, (16, *Box.shape), dtype=numpy.uint8), 0

    def reset(self):
        self.t = 0
        return self.frames[0]

    def step(self, action):
        self.t += 1
        return self.frames[self.t % 16], float(action == 0), self.t == 1000, {}

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
monobeast.create_env = lambda flags: Noise()
logging.getLogger().setLevel(logging.INFO)
monobeast.train(
    monobeast.parser.parse_args(
        f"--num_actors {ACTORS} --total_steps {STEPS} --batch_size 32 --unroll_length 20 --use_lstm --disable_cuda "
        f"--num_learner_threads 1 --disable_checkpoint --savedir {tempfile.mkdtemp()}".split()
    )
)
