"""What `engram bench offpolicy` times, in plain PyTorch: run both, one after the other.

    cargo run --release -p engram -- bench offpolicy --learner-threads 2
    python3 learner/comparisons/dqn_plain_pytorch.py --threads 2

Double Q-learning (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461) on batches of 64
whole episodes of T = 51 and 251 decisions, with the networks of the bench: an LSTM of 128 cells
and a GPT-2 of one block, 128 wide, behind embedders of the observation and the previous action. An update is as Memory-RL makes it (Ni et al. 2023,
https://arxiv.org/abs/2307.03864): two forward passes without gradients, of the target network for
the next values and of the online one for the choice of the next action, one with gradients, Adam,
Polyak averaging. Batches are ready beforehand. GPT-2 comes twice, its attention in plain products,
as there, and in PyTorch's fused kernel.

The script restarts itself with an allocator that keeps big blocks, as the bench's own does;
`--glibc-defaults` shows what it takes without. It needs torch alone, of any version from 2.0 on.
"""

import argparse
import copy
import os
import statistics
import sys
import time

KEEP_BIG_BLOCKS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(1 << 30),
}

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--threads", type=int, default=1)
arguments.add_argument("--seconds", type=float, default=3.0, help="for each line of the table")
arguments.add_argument("--glibc-defaults", action="store_true")
arguments = arguments.parse_args()
if not arguments.glibc_defaults and any(name not in os.environ for name in KEEP_BIG_BLOCKS):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_BIG_BLOCKS})

import torch  # noqa: E402, after the allocator's settings.
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

EPISODES, OBSERVATION, ACTIONS = 64, 2, 4
DISCOUNT, LEARNING_RATE, TAU = 0.99, 3e-4, 0.005


class Lstm(nn.Module):
    """Frames in time-major order, from a state of zeros."""

    embedders = 32, 16

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(sum(self.embedders), 128)

    def forward(self, x):
        return self.layer(x)[0]


class Gpt2(nn.Module):
    """One block with one head, norms before layers, and sine positions."""

    embedders = 64, 64

    def __init__(self, fused, width=128):
        super().__init__()
        self.fused = fused
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width)
        frames = torch.arange(512.0).unsqueeze(1)
        angles = frames * 1e4 ** (-torch.arange(0, width, 2) / width)
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], 2).flatten(1))

    def forward(self, x):
        x = x.transpose(0, 1)
        x = x + self.positions[: x.shape[1]]
        x = x + self.output(self.attend(*self.qkv(self.attention_norm(x)).chunk(3, -1)))
        x = x + self.down(F.gelu(self.up(self.feed_forward_norm(x)), approximate="tanh"))
        return self.norm(x).transpose(0, 1)

    def attend(self, q, k, v):
        if self.fused:
            q, k, v = (part.unsqueeze(1) for part in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1)
        logits = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
        seen = torch.ones(logits.shape[1:], dtype=torch.bool).tril()
        return logits.masked_fill(~seen, -1e4).softmax(-1) @ v


class ActionValues(nn.Module):
    """Observations and previous actions to the values of all actions."""

    def __init__(self, memory, *options):
        super().__init__()
        observation, action = memory.embedders
        self.observation = nn.Linear(OBSERVATION, observation)
        self.previous_action = nn.Linear(ACTIONS, action)
        self.memory = memory(*options)
        self.head = nn.Sequential(
            nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, ACTIONS)
        )

    def forward(self, observations, previous_actions):
        x = [self.observation(observations), self.previous_action(previous_actions)]
        return self.head(self.memory(F.relu(torch.cat(x, 2))))


class Learner:
    """A network, the one that follows it, and a batch of episodes of `length` decisions."""

    def __init__(self, name, length, *network):
        self.name, self.length = name, length
        self.online = ActionValues(*network)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=LEARNING_RATE)
        self.observations = torch.randint(-1, 2, (length + 1, EPISODES, OBSERVATION)).float()
        self.actions = torch.randint(0, ACTIONS, (length, EPISODES))
        self.previous_actions = F.pad(F.one_hot(self.actions, ACTIONS).float(), (0, 0, 0, 0, 1, 0))
        self.rewards = torch.full((length, EPISODES), -1.0 / length)
        self.terminated = torch.zeros(length, EPISODES)
        self.terminated[-1] = 1
        self.mask = torch.ones(length, EPISODES)

    def update(self):
        frames = self.observations, self.previous_actions
        with torch.no_grad():
            next_values = self.target(*frames)[1:]
            best = self.online(*frames)[1:].argmax(2, keepdim=True)
            next_value = next_values.gather(2, best).squeeze(2)
            targets = self.rewards + DISCOUNT * (1 - self.terminated) * next_value
        values = self.online(*frames)[:-1].gather(2, self.actions.unsqueeze(2)).squeeze(2)
        losses = (values - targets).square() * self.mask
        loss = losses.sum() / self.mask.sum().clamp(min=1)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.online.parameters()):
                slow.copy_((1 - TAU) * slow + TAU * fast)
        return loss.item()


torch.manual_seed(1)
torch.set_num_threads(arguments.threads)
learners = [
    Learner(name, length, *network)
    for name, *network in [
        ("lstm", Lstm),
        ("gpt2, plain products", Gpt2, False),
        ("gpt2, fused attention", Gpt2, True),
    ]
    for length in (51, 251)
]
times = [[] for _ in learners]
cpu_times = [[] for _ in learners]
for learner in learners:
    learner.update()
started = time.perf_counter()
# They take turns, so that what else happens on the machine strikes all alike.
while len(times[0]) < 3 or time.perf_counter() - started < arguments.seconds * len(learners):
    for learner, seconds, cpu_seconds in zip(learners, times, cpu_times):
        before, cpu_before = time.perf_counter(), time.process_time()
        learner.update()
        seconds.append(time.perf_counter() - before)
        cpu_seconds.append(time.process_time() - cpu_before)

print(f"torch {torch.__version__}, {arguments.threads} threads, {EPISODES} episodes per update")
print(f"medians of {len(times[0])} updates, ms\n")
print(f"{'network':<22} {'parameters':>10} {'T':>5} {'updates/s':>10} {'update':>9} {'CPU':>9}")
for learner, seconds, cpu_seconds in zip(learners, times, cpu_times):
    median, cpu = statistics.median(seconds), statistics.median(cpu_seconds)
    parameters = sum(weight.numel() for weight in learner.online.parameters())
    print(
        f"{learner.name:<22} {parameters:>10} {learner.length:>5} {1 / median:>10.1f}"
        f" {1e3 * median:>9.2f} {1e3 * cpu:>9.2f}"
    )
