"""Prints the goldens of optimizer.rs: PyTorch's rules, number by number, in double precision.

One weight starts at 0.5, the other at -1.0; the gradient of weight i at step k (from 1) is
sin(k + 2 i) / (1 + i). Run with any Python 3, and paste what it prints.
"""

from math import sin, sqrt

STEPS = 5
LEARNING_RATE = 0.01


def gradient(k, i):
    return sin(k + 2 * i) / (1 + i)


def rmsprop(alpha=0.99, epsilon=0.01, momentum=0.0):
    weights, square, velocity = [0.5, -1.0], [0.0, 0.0], [0.0, 0.0]
    for k in range(1, STEPS + 1):
        for i in range(2):
            g = gradient(k, i)
            square[i] = alpha * square[i] + (1 - alpha) * g * g
            velocity[i] = momentum * velocity[i] + g / (sqrt(square[i]) + epsilon)
            weights[i] -= LEARNING_RATE * velocity[i]
    return weights


def adam(beta1=0.9, beta2=0.999, epsilon=1e-3):
    weights, mean, square = [0.5, -1.0], [0.0, 0.0], [0.0, 0.0]
    for k in range(1, STEPS + 1):
        for i in range(2):
            g = gradient(k, i)
            mean[i] = beta1 * mean[i] + (1 - beta1) * g
            square[i] = beta2 * square[i] + (1 - beta2) * g * g
            root = sqrt(square[i]) / sqrt(1 - beta2**k) + epsilon
            weights[i] -= LEARNING_RATE / (1 - beta1**k) * mean[i] / root
    return weights


print("rmsprop            ", rmsprop())
print("rmsprop, momentum  ", rmsprop(momentum=0.9))
print("adam               ", adam())
