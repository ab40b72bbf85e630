"""Numbers that the memory layers are held against: python3 goldens.py > goldens.json

Written from the equations alone, with nothing but the standard library. Parameter number k of a
layer (in the order below) holds 0.6 sin(1 + k + 0.37 i) at place i; inputs and states likewise.
"""

import json
import math


def wave(k, *shape):
    if len(shape) == 1:
        return [0.6 * math.sin(1 + k + 0.37 * i) for i in range(shape[0])]
    flat = wave(k, math.prod(shape))
    row = math.prod(shape[1:])
    return [nest(flat[i * row : (i + 1) * row], shape[1:]) for i in range(shape[0])]


def nest(flat, shape):
    if len(shape) == 1:
        return flat
    row = len(flat) // shape[0]
    return [nest(flat[i * row : (i + 1) * row], shape[1:]) for i in range(shape[0])]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def affine(weight, x, bias):
    return [b + sum(w * v for w, v in zip(row, x)) for row, b in zip(weight, bias)]


TIME, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
FIRST = [[0, 1], [0, 0], [1, 0], [0, 1], [0, 1]]  # [T][B]


def run(step, state_width):
    x = wave(50, TIME, BATCH, INPUTS)
    state = wave(60, BATCH, state_width)
    outputs = []
    for t in range(TIME):
        moment = []
        for b in range(BATCH):
            if FIRST[t][b]:
                state[b] = [0.0] * state_width
            y, state[b] = step(x[t][b], state[b])
            moment.append(y)
        outputs.append(moment)
    return {"outputs": outputs, "state": state}


def lstm(layers):
    n = HIDDEN
    parameters = []
    for layer in range(layers):
        d = INPUTS if layer == 0 else n
        k = 4 * layer
        parameters.append(
            (wave(k, 4 * n, d), wave(k + 1, 4 * n, n), wave(k + 2, 4 * n), wave(k + 3, 4 * n))
        )

    def step(x, state):
        after = []
        for layer, (w, v, b, d) in enumerate(parameters):
            h, c = state[2 * layer * n : (2 * layer + 1) * n], state[(2 * layer + 1) * n : (2 * layer + 2) * n]
            gates = [p + q for p, q in zip(affine(w, x, b), affine(v, h, d))]
            i, f = gates[:n], gates[n : 2 * n]
            g, o = gates[2 * n : 3 * n], gates[3 * n :]
            c = [sigmoid(f[j]) * c[j] + sigmoid(i[j]) * math.tanh(g[j]) for j in range(n)]
            x = [sigmoid(o[j]) * math.tanh(c[j]) for j in range(n)]
            after += x + c
        return x, after

    return run(step, 2 * n * layers)


def elstm():
    n = HIDDEN
    w = wave(0, 2 * n, INPUTS)  # Z above F
    r = wave(1, 2, n)  # w_z, w_f
    b = wave(2, 2 * n)  # b_z, then b_f
    o, b_o = wave(3, n, INPUTS + n), wave(4, n)

    def step(x, c):
        a = affine(w, x, b)
        z = [math.tanh(a[j] + r[0][j] * c[j]) for j in range(n)]
        f = [sigmoid(a[n + j] + r[1][j] * c[j]) for j in range(n)]
        c = [f[j] * c[j] + (1 - f[j]) * z[j] for j in range(n)]
        gate = affine(o, x + c, b_o)
        return [sigmoid(gate[j]) * c[j] for j in range(n)], c

    return run(step, n)


print(json.dumps({"lstm": lstm(1), "lstm_2": lstm(2), "elstm": elstm()}))
