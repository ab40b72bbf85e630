"""Numbers that the linear recurrences are held against: python3 linear.py > linear.json

Needs PyTorch, and uses nothing of it but matrices and elementwise functions, in double precision:
the papers' equations, one step after another. Parameter number k of a layer (in the order of its
`wave(k, ..)` below) holds 0.6 sin(1 + k + 0.37 i) at place i; inputs and states likewise.
"""

import json
import math

import torch

torch.set_default_dtype(torch.float64)


def wave(k, *shape):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (0.6 * torch.sin(1 + k + 0.37 * i)).reshape(shape)


TIME, BATCH, D, N = 5, 2, 3, 4
FIRST = [[0, 1], [0, 0], [1, 0], [0, 1], [0, 1]]  # [T][B]


def run(step, state_width):
    x, state = wave(50, TIME, BATCH, D), wave(60, BATCH, state_width)
    outputs = torch.zeros(TIME, BATCH, N)
    for t in range(TIME):
        for b in range(BATCH):
            if FIRST[t][b]:
                state[b] = 0
            outputs[t, b], state[b] = step(x[t, b], state[b].clone())
    return {"outputs": outputs.tolist(), "state": state.tolist()}


def feed_forward(k):
    """y = LayerNorm(W2 GELU(W1 x + b1) + b2 + x), with parameters from number k on."""
    w1, b1, w2, b2 = wave(k, N, N), wave(k + 1, N), wave(k + 2, N, N), wave(k + 3, N)
    scale, shift = wave(k + 4, N), wave(k + 5, N)

    def forward(x):
        a = w1 @ x + b1
        gelu = a * 0.5 * (1 + torch.erf(a / math.sqrt(2)))
        y = w2 @ gelu + b2 + x
        centered = y - y.mean()
        return centered / torch.sqrt((centered**2).mean() + 1e-5) * scale + shift

    return forward


def lru(last):
    nu, theta, gamma_log = wave(0, N), wave(1, N), wave(2, N)
    w, b = wave(3, N, 2, D), wave(4, N, 2)  # each cell's real row, then its imaginary one
    c = wave(5, N, N, 2)
    skip, skip_bias = wave(6, N, D), wave(7, N)
    rate = torch.exp(torch.complex(-torch.exp(nu), torch.exp(theta)))
    after = feed_forward(8) if last else lambda y: y

    def step(x, state):
        s = torch.complex(state[:N], state[N:])
        u = torch.complex(w[:, 0] @ x + b[:, 0], w[:, 1] @ x + b[:, 1])
        s = rate * s + torch.exp(gamma_log) * u
        y = c[:, :, 0] @ s.real + c[:, :, 1] @ s.imag + skip @ x + skip_bias
        return after(y), torch.cat([s.real, s.imag])

    return run(step, 2 * N)


def gilr_cell():
    v_weight, f_weight = wave(0, 2 * N, D).split(N)
    v_bias, f_bias = wave(1, 2 * N).split(N)

    def cell(x, h):
        v = torch.tanh(v_weight @ x + v_bias)
        f = torch.sigmoid(f_weight @ x + f_bias)
        return f * h + (1 - f) * v

    return cell


def gilr(last):
    cell, o, o_bias = gilr_cell(), wave(2, N, N), wave(3, N)
    after = feed_forward(4) if last else lambda y: y

    def step(x, h):
        h = cell(x, h)
        return after(o @ h + o_bias), h

    return run(step, N)


def gilr_lstm(last):
    cell = gilr_cell()
    weights, biases = wave(2, 4 * N, N).split(N), wave(3, 4 * N).split(N)
    o, o_bias = wave(4, N, N), wave(5, N)
    after = feed_forward(6) if last else lambda y: y

    def step(x, state):
        h = cell(x, state[:N])
        f, i, shown, z = (w @ h + b for w, b in zip(weights, biases))
        f, i, shown, z = torch.sigmoid(f), torch.sigmoid(i), torch.sigmoid(shown), torch.tanh(z)
        c = f * state[N:] + (1 - f) * i * z
        return after(o @ (c * shown) + o_bias), torch.cat([h, c])

    return run(step, 2 * N)


goldens = {}
for layer in (lru, gilr, gilr_lstm):
    goldens[layer.__name__] = layer(False)
    goldens[layer.__name__ + "_feed_forward"] = layer(True)
print(json.dumps(goldens))
