"""Numbers that the GRU and Mamba are held against:
python3 state_space.py > state_space.json (PyTorch 2)

The GRU is PyTorch's own, one moment at a time; Mamba is its equations, one moment at a time.
Parameter number k of a layer (in the order below) holds 0.6 sin(1 + k + 0.37 i) at place i; inputs
and states likewise. Where an episode begins, the state is zero.
"""

import json
import math

import torch
import torch.nn.functional as F
from torch import nn

torch.set_default_dtype(torch.float64)
TIME, BATCH, INPUTS, WIDTH = 5, 2, 3, 4
FIRST = torch.tensor([[0, 1], [0, 0], [1, 0], [0, 1], [0, 1]])  # [T][B]


def wave(k, *shape):
    numbers = [0.6 * math.sin(1 + k + 0.37 * i) for i in range(math.prod(shape))]
    return torch.tensor(numbers).reshape(shape)


def run(step, shapes):
    """step(x, state) -> y, state, where a state is a list of tensors [B, *shape]."""
    x = wave(50, TIME, BATCH, INPUTS)
    sizes = [math.prod(shape) for shape in shapes]
    parts = wave(60, BATCH, sum(sizes)).split(sizes, 1)
    state = [part.reshape(BATCH, *shape) for part, shape in zip(parts, shapes)]
    outputs = []
    with torch.no_grad():
        for t in range(TIME):
            for tensor in state:
                tensor[FIRST[t] == 1] = 0.0
            y, state = step(x[t], state)
            outputs.append(y)
    flat = torch.cat([tensor.reshape(BATCH, -1) for tensor in state], 1)
    return {"outputs": torch.stack(outputs).tolist(), "state": flat.tolist()}


def gru(layers):
    module = nn.GRU(INPUTS, WIDTH, layers)
    with torch.no_grad():
        for k, parameter in enumerate(module.parameters()):
            parameter.copy_(wave(k, *parameter.shape))

    def step(x, state):
        y, h = module(x.unsqueeze(0), torch.stack(state))
        return y[0], list(h.clone())

    return run(step, [[WIDTH]] * layers)


class Waves:
    """Hands out parameters 0, 1, 2, ..."""

    def __init__(self):
        self.k = -1

    def __call__(self, *shape):
        self.k += 1
        return wave(self.k, *shape)


EPSILON = 1e-8


def normalizer(kind, waves):
    weight = waves(WIDTH)
    bias = waves(WIDTH) if kind == "layer" else None

    def rms(x):
        return x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight

    def layer(x):
        centered = x - x.mean(-1, keepdim=True)
        return centered / (centered.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight + bias

    return layer if kind == "layer" else rms


def mixer(states, taps, waves):
    channels, rank = 2 * WIDTH, math.ceil(WIDTH / 16)
    w_in = waves(2 * channels, WIDTH)
    conv_weight, conv_bias = waves(channels, taps), waves(channels)  # column k: k moments ago
    w_x = waves(rank + 2 * states, channels)
    w_delta, b_delta = waves(channels, rank), waves(channels)
    log_decay = waves(states, channels)
    skip = waves(channels)
    w_out = waves(WIDTH, channels)

    def mix(u, conv, h):  # [B, D], [B, K - 1, 2 D], [B, N, 2 D]
        x, z = (u @ w_in.T).split(channels, -1)
        seen = torch.cat([conv, x.unsqueeze(1)], 1)  # oldest first
        x = sum(conv_weight[:, k] * seen[:, -1 - k] for k in range(taps)) + conv_bias
        x = x * torch.sigmoid(x)
        selected = x @ w_x.T
        raw, b, c = selected.split([rank, states, states], -1)
        delta = torch.log(1 + torch.exp(raw @ w_delta.T + b_delta))
        y = skip * x
        after = torch.empty_like(h)
        for n in range(states):
            decay = torch.exp(-delta * torch.exp(log_decay[n]))
            after[:, n] = decay * h[:, n] + delta * x * b[:, n : n + 1]
            y = y + after[:, n] * c[:, n : n + 1]
        return (y * z * torch.sigmoid(z)) @ w_out.T, seen[:, 1:], after

    return mix


def mamba(states, taps, blocks, norm, feed_forward):
    waves = Waves()
    w, b = waves(WIDTH, INPUTS), waves(WIDTH)
    layers = [(normalizer(norm, waves), mixer(states, taps, waves)) for _ in range(blocks)]
    if feed_forward:
        w_1, b_1, w_2, b_2 = waves(WIDTH, WIDTH), waves(WIDTH), waves(WIDTH, WIDTH), waves(WIDTH)
        last = normalizer("layer", waves)
    else:
        last = normalizer(norm, waves)
        w_last = waves(WIDTH, WIDTH)

    def step(x, state):
        r, after = x @ w.T + b, []
        for i, (normalize, mix) in enumerate(layers):
            mixed, conv, h = mix(normalize(r), *state[2 * i : 2 * i + 2])
            r = r + mixed
            after += [conv.clone(), h]
        if feed_forward:
            return last(F.gelu(r @ w_1.T + b_1) @ w_2.T + b_2 + r), after
        return last(r) @ w_last.T, after

    return run(step, [[taps - 1, 2 * WIDTH], [states, 2 * WIDTH]] * blocks)


print(
    json.dumps(
        {
            "gru": gru(1),
            "gru_2": gru(2),
            "mamba_rms": mamba(3, 3, 2, "rms", False),
            "mamba_layer": mamba(3, 3, 2, "layer", False),
            "mamba_rms_feed_forward": mamba(2, 4, 1, "rms", True),
            "mamba_layer_feed_forward": mamba(1, 1, 1, "layer", True),
        }
    )
)
