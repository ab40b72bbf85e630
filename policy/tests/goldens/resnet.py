"""Numbers that the deep ResNet is held against: python3 resnet.py > resnet.json

Written from figure 3 of Espeholt et al. 2018, in double precision. Parameter number k, in the
order of `parameters`, holds 0.3 sin(1 + k + 2.3 i) at place i; byte i of the images is
(37 i + 11) mod 256. The loss is the sum of sin(1 + i) times output i.
"""

import json

import torch
from torch.nn import functional as F

IMAGES, CHANNELS, FEATURES = (3, 2, 11, 6), (3, 4), 5
parameters = []


def parameter(*shape):
    places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    values = 0.3 * torch.sin(1 + len(parameters) + 2.3 * places)
    parameters.append(values.view(shape).requires_grad_())
    return parameters[-1]


def convolution(inputs, outputs):
    weight, bias = parameter(outputs, inputs, 3, 3), parameter(outputs)
    return lambda x: F.conv2d(x, weight, bias, padding=1)


count = torch.Size(IMAGES).numel()
x = ((37 * torch.arange(count) + 11) % 256).view(IMAGES).double() / 255
for channels in CHANNELS:
    x = F.max_pool2d(convolution(x.shape[1], channels)(x), 3, stride=2, padding=1)
    for _ in range(2):
        first, second = convolution(channels, channels), convolution(channels, channels)
        x = x + second(F.relu(first(F.relu(x))))
flat = F.relu(x).flatten(1)
outputs = F.relu(F.linear(flat, parameter(FEATURES, flat.shape[1]), parameter(FEATURES)))
weights = torch.sin(1 + torch.arange(outputs.numel(), dtype=torch.float64))
(outputs.flatten() * weights).sum().backward()
gradients = [values.grad.flatten().tolist() for values in parameters]
print(json.dumps({"outputs": outputs.tolist(), "gradients": gradients}))
