"""Env steps per second of Sample Factory's APPO with IMPALA's deep ResNet.

    pip install sample-factory==2.1.1 torch==2.11.0
    python3 learner/comparisons/sample_factory_resnet.py [noise|breakout] [STEPS]

For Breakout it needs what `pictures.py` beside it says, ale-py==0.10.2 for its old gymnasium. The network is Sample Factory's own `resnet_impala`, 256 features, an
LSTM of 256 cells. PPO, because 2.1.1 stops with V-trace: one pass over 32 unrolls of 20. Two workers play 16 environments each, in two halves that take turns.
The command that trains the same with Engram is in docs/benchmarks/atari.md.
"""

import sys
import tempfile

import gymnasium
import pictures
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import run_rl

WORLD = sys.argv[1] if len(sys.argv) > 1 else "noise"
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 12_800


class Env(gymnasium.Env):
    """A world as Gymnasium has them."""

    render_mode = None

    def __init__(self):
        self.world = pictures.make(WORLD)
        self.observation_space = gymnasium.spaces.Box(0, 255, pictures.SHAPE, dtype="uint8")
        self.action_space = gymnasium.spaces.Discrete(self.world.actions)

    def reset(self, **_):
        return self.world.reset(), {}

    def step(self, action):
        frame, reward, ended = self.world.step(action)
        return frame, reward, ended, False, {}


def make(*_, **__):
    return Env()


register_env("pictures", make)
FLAGS = (
    f"--env=pictures --experiment=resnet --train_dir={tempfile.mkdtemp()} --device=cpu --train_for_env_steps={STEPS} "
    "--encoder_conv_architecture=resnet_impala --encoder_conv_mlp_layers 256 --nonlinearity=relu --obs_scale=255 "
    "--use_rnn=True --rnn_type=lstm --rnn_size=256 --rollout=20 --recurrence=20 --batch_size=640 --num_epochs=1 "
    "--num_batches_per_epoch=1 --with_vtrace=False --normalize_input=False --normalize_returns=False --async_rl=True "
    "--num_workers=2 --num_envs_per_worker=16 --worker_num_splits=2 --env_frameskip=1 --summaries_use_frameskip=False "
    "--experiment_summaries_interval=1000 --save_every_sec=1000"
).split()

# Workers import this file, too.
if __name__ == "__main__":
    parser, _ = parse_sf_args(FLAGS)
    sys.exit(run_rl(parse_full_cfg(parser, FLAGS)))
