"""What `examples/resnet_update.rs` times, in plain PyTorch: run both, one after the other.

    cargo run --release -p engram-policy --example resnet_update
    python3 policy/comparisons/resnet_plain_pytorch.py

Forward and backward of T = 20, B = 32 frames of 4 x 84 x 84 through IMPALA's deep ResNet, an LSTM
of 256 cells and a V-trace loss, and single steps of acting, in PyTorch's default layout and with
channels last. The script restarts itself with an allocator that keeps big blocks, without which
PyTorch takes far longer: each update maps its memory afresh. `--glibc-defaults` shows it.
"""

import argparse
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
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--repeats", type=int, default=5)
arguments.add_argument("--glibc-defaults", action="store_true")
arguments = arguments.parse_args()
if not arguments.glibc_defaults and any(name not in os.environ for name in KEEP_BIG_BLOCKS):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_BIG_BLOCKS})

import torch  # noqa: E402, after the allocator's settings.
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

TIME, BATCH, IMAGE, ACTIONS, CELLS = 20, 32, (4, 84, 84), 6, 256


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(F.relu(self.first(F.relu(x))))


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        layers, channels = [], IMAGE[0]
        for outputs in (16, 32, 32):
            layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            layers += [Residual(outputs), Residual(outputs)]
            channels = outputs
        self.torso = nn.Sequential(*layers)
        self.linear = nn.Linear(32 * 11 * 11, 256)
        self.memory = nn.LSTM(256 + 1, CELLS)
        self.policy = nn.Linear(CELLS, ACTIONS)
        self.value = nn.Linear(CELLS, 1)

    def forward(self, images, rewards, state, layout):
        leading = images.shape[:2]
        images = images.flatten(0, 1).to(memory_format=layout).float() / 255
        x = F.relu(self.linear(F.relu(self.torso(images)).flatten(1)))
        x = torch.cat([x.view(*leading, -1), rewards.clamp(-1, 1).unsqueeze(-1)], 2)
        y, state = self.memory(x, state)
        return self.policy(y), self.value(y).squeeze(-1), state


def vtrace_loss(logits, values, actions, behavior_log_probs, rewards):
    log_probs = F.log_softmax(logits, -1)
    taken = log_probs.gather(2, actions.unsqueeze(2)).squeeze(2)
    with torch.no_grad():
        rho = (taken - behavior_log_probs).exp().clamp(max=1)
        v, next_v = values[:-1], values[1:]
        delta = rho * (rewards + 0.99 * next_v - v)
        trace, traces = torch.zeros_like(v[0]), []
        for t in reversed(range(TIME)):
            trace = delta[t] + 0.99 * rho[t] * trace
            traces.append(trace)
        targets = v + torch.stack(traces[::-1])
        next_targets = torch.cat([targets[1:], values[-1:]])
        advantages = rho * (rewards + 0.99 * next_targets - v)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    squares = (targets - values[:-1]).square()
    return (-taken * advantages + 0.25 * squares - 0.01 * entropy).sum()


def median(run):
    run()
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(name, layout):
    torch.manual_seed(1)
    agent = Agent().to(memory_format=layout)
    images = torch.randint(0, 256, (TIME + 1, BATCH, *IMAGE), dtype=torch.uint8)
    frame_rewards = torch.randn(TIME + 1, BATCH)
    actions = torch.randint(0, ACTIONS, (TIME, BATCH))
    behavior_log_probs = torch.full((TIME, BATCH), -1.8)

    def update():
        zeros = torch.zeros(1, BATCH, CELLS)
        logits, values, _ = agent(images, frame_rewards, (zeros, zeros), layout)
        rewards = frame_rewards[1:]
        loss = vtrace_loss(logits[:-1], values, actions, behavior_log_probs, rewards)
        agent.zero_grad()
        loss.backward()

    print(f"{name}: update {median(update):.3f} s", end="", flush=True)
    for batch in (1, 32, 256):
        frames = torch.randint(0, 256, (1, batch, *IMAGE), dtype=torch.uint8)
        rewards, zeros = torch.zeros(1, batch), torch.zeros(1, batch, CELLS)

        def step():
            with torch.inference_mode():
                agent(frames, rewards, (zeros, zeros), layout)

        print(f", step of {batch}: {1e3 * median(step):.2f} ms", end="", flush=True)
    print()


torch.set_num_threads(arguments.threads)
measure("default layout", torch.contiguous_format)
measure("channels last", torch.channels_last)
