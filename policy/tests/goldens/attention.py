"""Numbers that attention and the causal convolution are held against:
python3 attention.py > attention.json (PyTorch 2)

Made of PyTorch's own modules and one episode at a time: where an episode ends is where a sequence
ends. Parameter number k of a layer (in the order below) holds 0.6 sin(1 + k + 0.37 i) at place i;
inputs and states likewise. Attention starts from nothing, the convolution from a state.
"""

import json
import math

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
BATCH, INPUTS, WIDTH, HEADS, BLOCKS, CONTEXT = 2, 3, 4, 2, 2, 4


def wave(k, *shape):
    numbers = [0.6 * math.sin(1 + k + 0.37 * i) for i in range(math.prod(shape))]
    return torch.tensor(numbers).reshape(shape)


def fill(parameters):
    with torch.no_grad():
        for k, parameter in enumerate(parameters):
            parameter.copy_(wave(k, *parameter.shape))


def episodes(first):
    """Of each environment, (start, end) of every stretch of one episode; first is [T][B]."""
    for b in range(BATCH):
        cuts = [t for t in range(len(first)) if t == 0 or first[t][b]] + [len(first)]
        yield from ((b, start, end) for start, end in zip(cuts, cuts[1:]))


def block(norm, gelu):
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, 0.0, gelu, batch_first=True, norm_first=True
    )
    layer.norm1, layer.norm2 = norm(), norm()
    attention = layer.self_attn
    order = [
        *layer.norm1.parameters(),
        attention.in_proj_weight,
        attention.in_proj_bias,
        *attention.out_proj.parameters(),
        *layer.norm2.parameters(),
        *layer.linear1.parameters(),
        *layer.linear2.parameters(),
    ]
    return layer, order


def mask(length, slope):
    bias = torch.full((HEADS, length, length), -math.inf)
    for h in range(HEADS):
        for i in range(length):
            for j in range(max(0, i - CONTEXT + 1), i + 1):
                bias[h, i, j] = -slope(h + 1) * (i - j)
    return bias


def transformer(norm, gelu, slope, positions, project):
    embed = nn.Linear(INPUTS, WIDTH)
    blocks = [block(norm, gelu) for _ in range(BLOCKS)]
    last, learned, output = norm(), nn.Parameter(torch.zeros(CONTEXT, WIDTH)), nn.Linear(WIDTH, WIDTH)
    parameters = [*embed.parameters(), *(p for _, order in blocks for p in order), *last.parameters()]
    parameters += [learned] if positions == "learned" else []
    parameters += output.parameters() if project else []
    fill(parameters)
    sine = [
        [(math.cos if i % 2 else math.sin)(n / 1e4 ** (2 * (i // 2) / WIDTH)) for i in range(WIDTH)]
        for n in range(20)
    ]
    table = {
        "none": torch.zeros(20, WIDTH),
        "sine": torch.tensor(sine),
        "learned": learned[torch.arange(20).clamp(max=CONTEXT - 1)],
    }[positions]
    time = 12
    first = [[t in (5,), t in (0, 1, 9)] for t in range(time)]
    x, y = wave(50, time, BATCH, INPUTS), torch.zeros(time, BATCH, WIDTH)
    for b, start, end in episodes(first):
        z = (embed(x[start:end, b]) + table[: end - start]).unsqueeze(0)
        for layer, _ in blocks:
            z = layer(z, src_mask=mask(end - start, slope))
        z = last(z)
        y[start:end, b] = (output(z) if project else z)[0].detach()
    return {"outputs": y.tolist()}


def layer_norm():
    return nn.LayerNorm(WIDTH, 1e-5)


def rms_norm():
    return nn.RMSNorm(WIDTH, 1e-5)


def cgpt(norm):
    return transformer(norm, nn.GELU(), lambda h: 2 ** (-8 * h / HEADS), "none", True)


def gpt2(positions):
    return transformer(layer_norm, nn.GELU("tanh"), lambda h: 0.0, positions, False)


def conv1d(kernel, feed_forward):
    embed, weight, bias = nn.Linear(INPUTS, WIDTH), torch.zeros(WIDTH, kernel), torch.zeros(WIDTH)
    first_layer, second_layer, norm = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), layer_norm()
    parameters = [*embed.parameters(), weight, bias]
    if feed_forward:
        parameters += [p for layer in (first_layer, second_layer, norm) for p in layer.parameters()]
    fill(parameters)
    first = [[0, 1], [0, 0], [1, 0], [0, 1], [0, 1]]
    before = wave(60, BATCH, kernel - 1, WIDTH)
    x, y, state = wave(50, 5, BATCH, INPUTS), torch.zeros(5, BATCH, WIDTH), [None] * BATCH
    for b, start, end in episodes(first):
        past = before[b] if start == 0 and not first[0][b] else torch.zeros(kernel - 1, WIDTH)
        u = torch.cat([past, embed(x[start:end, b])])
        # PyTorch's kernels have the oldest tap first, ours the newest.
        taps = weight.flip(1).unsqueeze(1)
        z = nn.functional.conv1d(u.T.unsqueeze(0), taps, bias, groups=WIDTH)[0].T
        if feed_forward:
            z = norm(second_layer(nn.functional.gelu(first_layer(z))) + z)
        y[start:end, b] = z.detach()
        state[b] = u[len(u) - kernel + 1 :].flatten().tolist()
    return {"outputs": y.tolist(), "state": state}


print(
    json.dumps(
        {
            "cgpt_layer": cgpt(layer_norm),
            "cgpt_rms": cgpt(rms_norm),
            "gpt2_sine": gpt2("sine"),
            "gpt2_learned": gpt2("learned"),
            "conv1d": conv1d(3, False),
            "conv1d_feed_forward": conv1d(4, True),
        }
    )
)
