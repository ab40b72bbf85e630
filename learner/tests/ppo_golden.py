"""Numbers that ppo_golden.rs holds PPO against: python3 ppo_golden.py > ppo_golden.json

Recurrent PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347) as it is commonly written in
PyTorch: modules, autograd and torch.optim.Adam; steps of an LSTM one by one, advantages in a loop
backwards through time. It needs torch, of any version from 2.0 on (2.15 made the file), and
numpy. Everything is in double precision.

Initial weights and trajectories follow from `number`, so both sides build the same. All that is taken
from Engram is ORDER, the trajectories of each minibatch: the test says so if that changes.

Where programs differ, this does what Engram says it does:

- A minibatch's advantages are divided by their standard deviation over N (not N - 1), or by a least
  one where that is larger; others add a small number instead.
- Gradients are shortened by exactly max_norm / norm. `clip_grad_norm_` adds 1e-6 to the norm.
- An epoch's mean divergence ends a batch, before the next epoch. CleanRL takes that of the last
  minibatch; Stable-Baselines3 stops between minibatches, at 1.5 times the limit.
- The last frame of an episode is a frame of its own. Nothing is decided there, so it is in no mean, but
  where the episode was cut off, the value before it bootstraps from it.
"""

import json

import numpy as np
import torch
from torch import nn

OBSERVATION, TORSO, HIDDEN, ACTIONS = 5, 4, 3, 3
# A row each: First, Mid, Terminated and Truncated frames. Unrolls begin anywhere in an episode.
FRAMES = ["MMMMMMMMM", "FMMTFMMMM", "MMUFMTFMM", "MTFMMMMMU", "FMMMMMMMT", "TFMUFMMMM"]
BATCH, TIME = len(FRAMES), len(FRAMES[0]) - 1
UPDATES = 4
NAMES = [
    "torso.0.weight",
    "torso.0.bias",
    "memory.weight_ih_l0",
    "memory.weight_hh_l0",
    "memory.bias_ih_l0",
    "memory.bias_hh_l0",
    "policy.0.weight",
    "policy.0.bias",
    "value.0.weight",
    "value.0.bias",
]
# By update, epoch and minibatch, for two minibatches and for three.
ORDER = {
    2: [
        [
            [[0, 3, 4], [5, 1, 2]],
            [[2, 1, 4], [5, 3, 0]],
            [[1, 0, 5], [2, 3, 4]],
        ],
        [
            [[5, 1, 4], [0, 2, 3]],
            [[0, 5, 1], [3, 4, 2]],
            [[0, 4, 5], [1, 2, 3]],
        ],
        [
            [[1, 4, 0], [5, 2, 3]],
            [[2, 0, 5], [3, 4, 1]],
            [[3, 1, 2], [4, 5, 0]],
        ],
        [
            [[4, 2, 5], [3, 1, 0]],
            [[4, 3, 2], [0, 1, 5]],
            [[0, 5, 1], [2, 4, 3]],
        ],
    ],
    3: [
        [
            [[0, 3], [4, 5], [1, 2]],
            [[2, 1], [4, 5], [3, 0]],
        ],
        [
            [[5, 1], [4, 0], [2, 3]],
            [[0, 5], [1, 3], [4, 2]],
        ],
        [
            [[1, 4], [0, 5], [2, 3]],
            [[2, 0], [5, 3], [4, 1]],
        ],
        [
            [[4, 2], [5, 3], [1, 0]],
            [[4, 3], [2, 0], [1, 5]],
        ],
    ],
}

COMMON = {
    "algorithm": "ppo",
    "batch_size": BATCH,
    "discount": 0.9,
    "lambda": 0.8,
    "ratio_clip": 0.2,
    "baseline_cost": 0.5,
    "entropy_cost": 0.05,
    "max_non_finite_updates": 1,
    "freeze": [],
}
CASES = {
    "everything": {
        **COMMON,
        "epochs": 3,
        "minibatches": 2,
        "value_clip": 0.02,
        "normalize_advantages": 0.01,
        "kl_stop": 0.0175,
        "reward_clip": "none",
        "reward_scale": 0.5,
        "entropy_schedule": "linear",
        "learning_rate": 0.02,
        "schedule": "linear",
        "max_grad_norm": 0.2,
        "optimizer": {"name": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-5},
    },
    "decoupled": {
        **COMMON,
        "epochs": 2,
        "minibatches": 3,
        "importance_clip": 1.05,
        "reward_clip": "abs_one",
        "entropy_schedule": "constant",
        "learning_rate": 0.05,
        "schedule": "constant",
        "max_grad_norm": 100.0,
        "optimizer": {"name": "adam", "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3},
    },
}


def residue(k, i):
    return (31 * i * i + 57 * (k + 1) * i + 101 * k + 17) % 257


def number(k, i):
    """Number i of column k, in [-0.5, 0.5]: a float of any precision holds it."""
    return (residue(k, i) - 128) / 256


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.torso = nn.Linear(OBSERVATION, TORSO)
        self.memory = nn.LSTMCell(TORSO + ACTIONS, HIDDEN)
        self.policy = nn.Linear(HIDDEN, ACTIONS)
        self.value = nn.Linear(HIDDEN, 1)
        with torch.no_grad():
            for k, weight in enumerate(self.parameters()):
                numbers = [2 * number(k, i) for i in range(weight.numel())]
                weight.copy_(torch.tensor(numbers).view_as(weight))

    def forward(self, batch):
        """Distributions and values, a list with one of each frame."""
        state, outputs = (batch["hidden"], batch["cell"]), []
        for t in range(TIME + 1):
            kept = (~batch["first"][t]).to(torch.float64).unsqueeze(-1)
            state = (state[0] * kept, state[1] * kept)
            features = torch.tanh(self.torso(batch["observations"][t]))
            action = nn.functional.one_hot(batch["previous_actions"][t], ACTIONS) * kept
            state = self.memory(torch.cat([features, action], -1), state)
            policy = torch.distributions.Categorical(logits=self.policy(state[0]))
            outputs.append((policy, self.value(state[0]).squeeze(-1)))
        return outputs

    def decisions(self, batch):
        """Log-probabilities, entropies and values at the frames that decide, `[T, B]`."""
        outputs = self(batch)[:TIME]
        of = [
            (policy.log_prob(action), policy.entropy(), value)
            for (policy, value), action in zip(outputs, batch["previous_actions"][1:])
        ]
        return [torch.stack(column) for column in zip(*of)]


def make_batch(update):
    """Trajectories of one update: each pattern of frames is another row's than before."""
    patterns = [FRAMES[(b + update) % BATCH] for b in range(BATCH)]
    frames = [[patterns[b][t] for b in range(BATCH)] for t in range(TIME + 1)]
    at = np.arange((TIME + 1) * BATCH).reshape(TIME + 1, BATCH)
    column = lambda k, scale, places: torch.tensor(
        [scale * number(10 * update + k, int(i)) for i in places.flat]
    ).view(places.shape)
    first = torch.tensor([[kind == "F" for kind in row] for row in frames])
    last = torch.tensor([[kind in "TU" for kind in row] for row in frames])
    actions = torch.tensor([[residue(10 * update + 21, int(i)) % ACTIONS for i in row] for row in at])
    rewards = column(22, 3.0, at)
    wide = np.arange(at.size * OBSERVATION).reshape(*at.shape, OBSERVATION)
    state = np.arange(BATCH * HIDDEN).reshape(BATCH, HIDDEN)
    return {
        "observations": column(20, 2.0, wide),
        "previous_actions": torch.where(first, 0, actions),
        "rewards": torch.where(first, 0.0, rewards)[1:],
        "behavior": torch.where(last[:-1], 0.0, column(23, 0.5, at[:-1]) - 1.125),
        "hidden": column(24, 1.0, state),
        "cell": column(25, 2.0, state),
        "first": first,
        "decided": ~last[:-1],
        "terminated": torch.tensor([[kind == "T" for kind in row] for row in frames])[1:],
    }


def select(batch, rows):
    """Of columns `[T, B, ..]`, and of states, `[B, H]`, the trajectories `rows`."""
    axis = lambda name: 0 if name in ("hidden", "cell") else 1
    index = torch.tensor(rows)
    return {name: column.index_select(axis(name), index) for name, column in batch.items()}


def add_proximal(batch, model, c):
    """Everything that is computed once, with the weights before the first step."""
    with torch.no_grad():
        values = torch.stack([value for _, value in model(batch)])
        log_probs = model.decisions(batch)[0]
    rewards = batch["rewards"]
    if c["reward_clip"] == "abs_one":
        rewards = rewards.clamp(-1, 1)
    rewards = rewards * c.get("reward_scale", 1.0)
    advantages = torch.zeros(TIME, BATCH)
    for b in range(BATCH):
        running = 0.0
        for t in reversed(range(TIME)):
            if not batch["decided"][t, b]:
                running = 0.0
                continue
            following = 0.0 if batch["terminated"][t, b] else values[t + 1, b]
            delta = rewards[t, b] + c["discount"] * following - values[t, b]
            running = delta + c["discount"] * c["lambda"] * running
            advantages[t, b] = running
    batch["values"], batch["advantages"] = values[:-1], advantages
    batch["returns"] = advantages + values[:-1]
    ratio = (log_probs - batch["behavior"]).exp()
    batch["importance"] = torch.ones_like(ratio)
    batch["proximal"] = batch["behavior"]
    if "importance_clip" in c:
        batch["importance"] = ratio.clamp(max=c["importance_clip"])
        batch["proximal"] = log_probs
    chosen = batch["decided"]
    targets, said = batch["returns"][chosen].numpy(), batch["values"][chosen].numpy()
    return {
        "mean_value": said.mean(),
        "mean_rho": ratio[chosen].mean().item(),
        "explained_variance": 1 - np.var(targets - said) / np.var(targets),
    }


def loss_of(model, batch, c, progress):
    """The loss of a minibatch, and the numbers that are reported of it."""
    columns = [*model.decisions(batch), *(batch[name] for name in (
        "proximal", "importance", "advantages", "values", "returns"))]
    log_probs, entropies, values, old, importance, advantages, old_values, returns = (
        column[batch["decided"]] for column in columns
    )
    if "normalize_advantages" in c:
        deviation = advantages.std(unbiased=False).clamp(min=c["normalize_advantages"])
        advantages = (advantages - advantages.mean()) / deviation
    log_ratio = log_probs - old
    ratio = log_ratio.exp()
    clip = c["ratio_clip"]
    unclipped, clipped = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    policy_loss = -(importance * torch.min(unclipped, clipped)).mean()
    value_losses = (values - returns) ** 2
    if "value_clip" in c:
        reach = c["value_clip"]
        near = old_values + (values - old_values).clamp(-reach, reach)
        value_losses = torch.max(value_losses, (near - returns) ** 2)
    value_loss = 0.5 * value_losses.mean()
    entropy = entropies.mean()
    entropy_cost = c["entropy_cost"] * schedule(c["entropy_schedule"], progress)
    loss = policy_loss + c["baseline_cost"] * value_loss - entropy_cost * entropy
    with torch.no_grad():
        divergence = ((ratio - 1) - log_ratio).mean()
        share = ((ratio - 1).abs() > clip).to(torch.float64).mean()
    return loss, {
        "loss": loss,
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "kl": divergence,
        "clipped_share": share,
    }


def schedule(name, progress):
    return 1 - progress if name == "linear" else 1.0


def learn(model, optimizer, update, c):
    """One update. Returns the means of its steps, by the names of Engram's columns."""
    progress = update / UPDATES
    rate = c["learning_rate"] * schedule(c["schedule"], progress)
    optimizer.param_groups[0]["lr"] = rate
    batch = make_batch(update)
    before = add_proximal(batch, model, c)
    steps = []
    for epoch in range(c["epochs"]):
        for rows in ORDER[c["minibatches"]][update][epoch]:
            loss, numbers = loss_of(model, select(batch, rows), c, progress)
            optimizer.zero_grad()
            loss.backward()
            norm = torch.cat([w.grad.flatten() for w in model.parameters()]).norm()
            for weight in model.parameters():
                weight.grad *= min(1.0, c["max_grad_norm"] / norm.item())
            optimizer.step()
            numbers["grad_norm"] = norm
            steps.append({name: value.item() for name, value in numbers.items()})
        latest = steps[-c["minibatches"] :]
        if np.mean([step["kl"] for step in latest]) > c.get("kl_stop", np.inf):
            break
    means = {name: np.mean([step[name] for step in steps]) for name in steps[0]}
    return {**means, "learning_rate": rate, "optimizer_steps": len(steps), **before}


def run(c):
    model = ActorCritic()
    adam = c["optimizer"]
    betas = (adam["beta1"], adam["beta2"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=betas, eps=adam["epsilon"])
    updates = []
    for update in range(UPDATES):
        stats = learn(model, optimizer, update, c)
        weights = {name: w.flatten().tolist() for name, w in zip(NAMES, model.parameters())}
        stats = {name: float(value) for name, value in stats.items()}
        order = ORDER[c["minibatches"]][update][: c["epochs"]]
        updates.append({"order": order, "stats": stats, "weights": weights})
    return updates


def toml(settings):
    """Settings as a file of Engram has them."""
    plain = [(key, value) for key, value in settings.items() if not isinstance(value, dict)]
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain]
    lines += ["[optimizer]"] + [f"{k} = {json.dumps(v)}" for k, v in settings["optimizer"].items()]
    return "\n".join(lines)


def show(cases):
    """JSON with a line for each column."""
    lines = []
    for name, settings, updates in cases:
        rows = []
        for update in updates:
            inner = [f'"order": {json.dumps(update["order"])}', f'"stats": {json.dumps(update["stats"])}']
            weights = ",\n".join(f'"{n}": {json.dumps(w)}' for n, w in update["weights"].items())
            rows.append("{" + ",\n".join(inner) + ',\n"weights": {\n' + weights + "}}")
        updates = ",\n".join(rows)
        lines.append(f'"{name}": {{"settings": {json.dumps(settings)},\n"updates": [\n{updates}]}}')
    return "{" + ",\n".join(lines) + "}"


torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
print(show((name, toml(c), run(c)) for name, c in CASES.items()))
