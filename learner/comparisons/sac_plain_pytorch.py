"""What `engram bench continuous` times, in plain PyTorch: run both, one after the other.

    cargo run --release -p engram -- bench continuous --learner-threads 2
    python3 learner/comparisons/sac_plain_pytorch.py --threads 2

Observations of 15 numbers, actions of 3, ready in memory. Two algorithms, from their formulas:

SAC (Haarnoja et al. 2018, https://arxiv.org/abs/1812.05905) as it is commonly written, on 256 single
transitions without memory: two critics as separate networks, targets from the actor and two target
critics, three Adam steps for critics, actor and temperature, Polyak averaging weight by weight.

RESeL (Luo et al. 2024, https://arxiv.org/abs/2405.15384) on whole episodes: a memory of its own for
actor and critics, a GRU of 256 cells or a Mamba block of 256 with 64 numbers of state per channel,
behind embedders and a layer of 256; eight critics as batched products; targets of the least of two
that are drawn; the actor judged by their mean at every second update. A Mamba's state goes from
moment to moment in a loop. Times are per update, over both kinds of update.

The script restarts itself with an allocator that keeps big blocks, as the bench's own does;
`--glibc-defaults` shows what it takes without. It needs torch alone, of any version from 2.0 on.
"""

import argparse
import copy
import math
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
arguments.add_argument("--only", help="lines of this network alone: mlp, gru or mamba")
arguments.add_argument("--glibc-defaults", action="store_true")
arguments = arguments.parse_args()
if not arguments.glibc_defaults and any(name not in os.environ for name in KEEP_BIG_BLOCKS):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_BIG_BLOCKS})

import torch  # noqa: E402, after the allocator's settings.
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

OBSERVATION, ACTION = 15, 3
DISCOUNT, TAU = 0.99, 0.005


def gaussian_sample(numbers):
    """Actions and their log-densities."""
    mean, log_std = numbers.chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
    draw = normal.rsample()
    slope = 2 * (math.log(2) - draw - F.softplus(-2 * draw))
    return draw.tanh(), (normal.log_prob(draw) - slope).sum(-1)


def follow(target, online):
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters()):
            slow.copy_((1 - TAU) * slow + TAU * fast)


class Temperature:
    """log α, moved so that the entropy comes nearer to one nat below zero for each number."""

    def __init__(self, learning_rate):
        self.log = torch.zeros(1, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.log], lr=learning_rate)

    def value(self):
        return self.log.exp().item()

    def update(self, entropy):
        loss = (self.log * (entropy + ACTION)).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def relu_mlp(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs)
    )


class Sac:
    """Actor, two critics, and a batch of single transitions."""

    name, shape, turn = "mlp", (1, 256), 50

    def __init__(self):
        rows = self.shape[1]
        self.actor = relu_mlp(OBSERVATION, 2 * ACTION)
        self.critics = nn.ModuleList(relu_mlp(OBSERVATION + ACTION, 1) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=3e-4)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), lr=3e-4)
        self.temperature = Temperature(3e-4)
        self.observations, self.next_observations = torch.rand(2, rows, OBSERVATION) * 2 - 1
        self.actions = torch.rand(rows, ACTION) * 2 - 1
        self.rewards = torch.rand(rows) * 2 - 1
        self.terminated = torch.zeros(rows)

    def update(self):
        alpha = self.temperature.value()
        with torch.no_grad():
            actions, log_probs = gaussian_sample(self.actor(self.next_observations))
            x = torch.cat([self.next_observations, actions], 1)
            least = torch.min(*(critic(x).squeeze(1) for critic in self.targets))
            later = least - alpha * log_probs
            targets = self.rewards + DISCOUNT * (1 - self.terminated) * later
        x = torch.cat([self.observations, self.actions], 1)
        loss = sum(F.mse_loss(critic(x).squeeze(1), targets) for critic in self.critics)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()

        actions, log_probs = gaussian_sample(self.actor(self.observations))
        x = torch.cat([self.observations, actions], 1)
        least = torch.min(*(critic(x).squeeze(1) for critic in self.critics))
        actor_loss = (alpha * log_probs - least).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()

        entropy = -log_probs.detach().mean()
        self.temperature.update(entropy)
        follow(self.targets, self.critics)
        return loss.item(), actor_loss.item(), entropy.item()

    def parameters(self):
        return sum(weight.numel() for weight in self.actor.parameters())


class Mamba(nn.Module):
    """One block (Gu & Dao 2023, https://arxiv.org/abs/2312.00752) and a feed-forward layer."""

    def __init__(self, width=256, state=64, taps=8):
        super().__init__()
        channels, self.rank, self.state = 2 * width, width // 16, state
        self.scale = nn.Parameter(torch.ones(width))
        self.input = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, taps, groups=channels, padding=taps - 1)
        self.select = nn.Linear(channels, self.rank + 2 * state, bias=False)
        self.delta = nn.Linear(self.rank, channels)
        self.delta.bias.data.fill_(-4.0)
        logs = torch.arange(1.0, state + 1).log().expand(channels, state)
        self.log_decay = nn.Parameter(logs.clone())
        self.skip = nn.Parameter(torch.ones(channels))
        self.output = nn.Linear(channels, width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.norm = nn.LayerNorm(width)

    def mix(self, u):
        x, z = self.input(u).chunk(2, -1)
        x = self.conv(x.permute(1, 2, 0))[..., : len(u)].permute(2, 0, 1)
        x = F.silu(x)
        delta, write, read = self.select(x).split([self.rank, self.state, self.state], -1)
        delta = F.softplus(self.delta(delta))
        decay = (delta.unsqueeze(-1) * -self.log_decay.exp()).exp()  # [T, B, channels, state]
        written = (delta * x).unsqueeze(-1) * write.unsqueeze(-2)
        h, outputs = torch.zeros_like(decay[0]), []
        for factor, addend, direction in zip(decay, written, read):
            h = factor * h + addend
            outputs.append(torch.einsum("bcn,bn->bc", h, direction))
        return self.output((torch.stack(outputs) + self.skip * x) * F.silu(z))

    def forward(self, x):
        x = x + self.mix(x * (x.square().mean(-1, keepdim=True) + 1e-8).rsqrt() * self.scale)
        return self.norm(x + self.feed_forward(x))


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(256, 256)

    def forward(self, x):
        return self.layer(x)[0]


class Encoder(nn.Module):
    """Frames in time-major order to what is remembered at them, beside the observation."""

    def __init__(self, memory):
        super().__init__()
        self.observation = nn.Linear(OBSERVATION, 128)
        self.previous_observation = nn.Linear(OBSERVATION, 128)
        self.previous_action = nn.Linear(ACTION, 128)
        self.before = nn.Linear(384, 256)
        self.memory = memory()
        self.after = nn.Linear(256, 128)
        self.skip = nn.Linear(OBSERVATION, 128)

    def forward(self, frames):
        observations, previous_observations, previous_actions = frames
        x = [
            self.observation(observations),
            self.previous_observation(previous_observations),
            self.previous_action(previous_actions),
        ]
        x = self.memory(F.elu(self.before(torch.cat(x, 2))))
        return torch.cat([self.after(F.elu(x)), self.skip(observations)], 2)


class Actor(nn.Module):
    def __init__(self, memory):
        super().__init__()
        self.encoder = Encoder(memory)
        self.head = nn.Sequential(
            nn.Linear(256, 256), nn.ELU(), nn.Linear(256, 256), nn.ELU(), nn.Linear(256, 2 * ACTION)
        )

    def forward(self, frames):
        return gaussian_sample(self.head(self.encoder(frames)))


class Critics(nn.Module):
    """Eight of them on one memory: `[8, T, B]`."""

    def __init__(self, memory, count=8):
        super().__init__()
        self.encoder = Encoder(memory)
        self.action = nn.Linear(ACTION, 128)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in (384, 256), (256, 256), (256, 1):
            bound = math.sqrt(6 / (inputs + outputs))
            weight = torch.empty(count, inputs, outputs).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(count, 1, outputs)))

    def forward(self, memory, actions):
        x = torch.cat([memory, self.action(actions)], 2)
        y = x.flatten(0, 1).expand(len(self.weights[0]), -1, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            y = torch.baddbmm(bias, F.elu(y) if number else y, weight)
        return y.view(-1, *x.shape[:2])


def slow_memory(network, learning_rate):
    """Groups of an optimizer: what is before and behind the memory learns faster than itself."""
    slow = [w for name, w in network.named_parameters() if "encoder.memory" in name]
    fast = [w for name, w in network.named_parameters() if "encoder.memory" not in name]
    return torch.optim.Adam([{"params": fast, "lr": learning_rate}, {"params": slow, "lr": 1e-5}])


class Resel:
    """Actor, critics, and a batch of episodes of T decisions."""

    turn = 2

    def __init__(self, name, memory, shape):
        self.name, self.shape = name, shape
        length, rows = shape
        self.actor, self.critics = Actor(memory), Critics(memory)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor_optimizer = slow_memory(self.actor, 3e-4)
        self.critic_optimizer = slow_memory(self.critics, 1e-3)
        self.temperature = Temperature(1e-4)
        observations = torch.rand(length + 1, rows, OBSERVATION) * 2 - 1
        self.actions = torch.rand(length, rows, ACTION) * 2 - 1
        before = F.pad(observations[:-1], (0, 0, 0, 0, 1, 0))
        self.frames = observations, before, F.pad(self.actions, (0, 0, 0, 0, 1, 0))
        self.rewards = torch.rand(length, rows) * 2 - 1
        self.terminated = torch.zeros(length, rows)
        self.mask = torch.ones(length, rows)
        self.range = None
        self.updates = 0

    def mean(self, numbers):
        return (numbers * self.mask).sum() / self.mask.sum()

    def update(self):
        self.updates += 1
        alpha = self.temperature.value()
        with torch.no_grad():
            actions, log_probs = self.actor(self.frames)
            memory = self.targets.encoder(self.frames)
            drawn = torch.randperm(8)[:2]
            least = self.targets(memory[1:], actions[1:])[drawn].amin(0)
            later = least - alpha * log_probs[1:]
            if self.range is not None:
                later = later.clamp(*self.range)
            targets = self.rewards + DISCOUNT * (1 - self.terminated) * later
            newest = torch.stack([targets.min(), targets.max()])
            if self.range is None:
                self.range = newest
            low, high = self.range[0].minimum(newest[0]), self.range[1].maximum(newest[1])
            self.range = torch.stack([low, high]).lerp(newest, 1e-3)
        memory = self.critics.encoder(self.frames)[:-1]
        errors = (targets - self.critics(memory, self.actions)).square().sum(0)
        loss = self.mean(errors)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        if self.updates % self.turn == 0:
            self.update_actor(alpha, memory.detach())
        follow(self.targets, self.critics)
        return loss.item()

    def update_actor(self, alpha, memory):
        actions, log_probs = self.actor(self.frames)
        values = self.critics(memory, actions[:-1]).mean(0)
        loss = self.mean(alpha * log_probs[:-1] - values)
        self.actor_optimizer.zero_grad()
        loss.backward()
        self.actor_optimizer.step()
        self.temperature.update(-self.mean(log_probs[:-1].detach()))

    def parameters(self):
        return sum(weight.numel() for weight in self.actor.parameters())


torch.manual_seed(1)
torch.set_num_threads(arguments.threads)
makers = [
    ("mlp", Sac),
    ("gru", lambda: Resel("gru", Gru, (200, 10))),
    ("gru", lambda: Resel("gru", Gru, (1000, 2))),
    ("mamba", lambda: Resel("mamba", Mamba, (200, 2))),
    ("mamba", lambda: Resel("mamba", Mamba, (1000, 1))),
]
learners = [make() for name, make in makers if arguments.only in (None, name)]
times = [[] for _ in learners]
cpu_times = [[] for _ in learners]


def turn(learner):
    for _ in range(learner.turn):
        learner.update()


for learner in learners:
    turn(learner)
started = time.perf_counter()
# They take turns, so that what else happens on the machine strikes all alike.
while len(times[0]) < 3 or time.perf_counter() - started < arguments.seconds * len(learners):
    for learner, seconds, cpu_seconds in zip(learners, times, cpu_times):
        before, cpu_before = time.perf_counter(), time.process_time()
        turn(learner)
        seconds.append((time.perf_counter() - before) / learner.turn)
        cpu_seconds.append((time.process_time() - cpu_before) / learner.turn)

print(f"torch {torch.__version__}, {arguments.threads} threads")
print(f"medians of {len(times[0])} turns, ms per update\n")
print(f"{'network':<8} {'parameters':>10} {'T':>5} {'rows':>5} {'updates/s':>10} {'update':>9} {'CPU':>9}")
for learner, seconds, cpu_seconds in zip(learners, times, cpu_times):
    median, cpu = statistics.median(seconds), statistics.median(cpu_seconds)
    length, rows = learner.shape
    print(
        f"{learner.name:<8} {learner.parameters():>10} {length:>5} {rows:>5} {1 / median:>10.1f}"
        f" {1e3 * median:>9.2f} {1e3 * cpu:>9.2f}"
    )
