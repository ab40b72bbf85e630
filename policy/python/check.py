"""Checks engram_policy.py against policies that Rust wrote: python3 check.py FOLDER

The folder comes from `cargo run -p engram-policy --example policies_for_python FOLDER`. Every
number must agree to single precision; the largest difference of each policy is printed.
"""

import json
import pathlib
import sys

import torch

import engram_policy

TOLERANCE = 2e-5


def largest_difference(path):
    policy = engram_policy.load(path)
    shape, actions = policy.spec["observation"]["shape"], policy.spec["action"]
    discrete, state, worst = "discrete" in actions, None, 0.0
    for moment in json.loads(path.with_suffix(".json").read_text()):
        first = torch.tensor(moment["first"])
        batch = len(first)
        state = policy.initial_state(batch) if state is None else state
        action = torch.tensor(moment["previous_action"]).view(batch, -1)
        output, state = policy.step(
            torch.tensor(moment["observation"]).view(batch, *shape),
            action[:, 0].long() if discrete else action,
            torch.tensor(moment["previous_reward"]),
            first,
            state,
        )
        for found, key in ((output["logits" if discrete else "mean"], "policy"), (output["value"], "value")):
            expected = torch.tensor(moment[key]).view_as(found)
            worst = max(worst, (found - expected).abs().max().item())
    return worst


with torch.no_grad():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors"))
    differences = {path.stem: largest_difference(path) for path in paths}
for name, difference in differences.items():
    print(f"{name:<28}{difference:.1e}")
assert differences and max(differences.values()) < TOLERANCE, "Python and Rust do not agree"
print(f"{len(differences)} policies agree; the largest difference is {max(differences.values()):.1e}")
