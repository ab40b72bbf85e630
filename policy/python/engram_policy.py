"""Engram's policies in plain PyTorch: every torso, memory layer and head, from a weights file.

    import engram_policy
    policy = engram_policy.load("runs/NAME/checkpoints/000000010000/weights.safetensors")
    state = policy.initial_state(batch)
    output, state = policy.step(observation, previous_action, previous_reward, first, state)

Needs `torch` and `safetensors`. Written for reading and checking: one step after another, no fused
kernels, the equations of `policy/src/memory/*.rs` under the same names. Weights have the names of
the file, and `torch.autograd` sees all of them.

A memory layer is a class with `initial_state(batch)`, a list of tensors `[B, ..]`, and
`step(x, state)`, from features `[B, D]` to `([B, H], state)`. A new layer is a class here and an
entry of `MEMORIES`.
"""

import json
import math

import torch
import torch.nn.functional as F


ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "elu": F.elu, "identity": lambda x: x}


def load(path):
    """The policy in a weights file, and what the file says about it in `policy.about`."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["engram"])
        return Policy(about, {name: file.get_tensor(name) for name in file.keys()})


class Weights:
    """The tensors below a name: `weights["bias"]`, `weights.below("output_gate")`."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name):
        return self.tensors[self.prefix + name]

    def __contains__(self, name):
        return self.prefix + name in self.tensors

    def below(self, name):
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def linear(self, name, x):
        bias = self[f"{name}.bias"] if f"{name}.bias" in self else None
        return F.linear(x, self[f"{name}.weight"], bias)


class Policy:
    """A whole policy. `tensors` holds its weights by name."""

    def __init__(self, about, tensors):
        self.about, self.tensors = about, tensors
        self.config, self.spec, self.outputs = about["config"], about["spec"], about["outputs"]
        self.weights = Weights(tensors)
        self.like = next(iter(tensors.values()))
        self.frame_stack = self.spec.get("frame_stack", 1)
        self.memory = memory(self.config["memory"], self.weights.below("memory"), self.like)

    def initial_state(self, batch):
        """The state of `batch` environments at the beginning of episodes: zeros."""
        state = self.memory.initial_state(batch)
        if "previous_observation" in self.config["inputs"]:
            shape = self.spec["observation"]["shape"]
            stacked = [self.frame_stack * shape[0], *shape[1:]]
            features = self.torso(self.like.new_zeros(1, *stacked)).shape[1]
            state = [*state, self.like.new_zeros(batch, features)]
        if self.frame_stack > 1:
            shape = self.spec["observation"]["shape"]
            state = [*state, self.like.new_zeros(batch, self.frame_stack - 1, *shape)]
        return state

    def step(self, observation, previous_action, previous_reward, first, state):
        """What the policy says of B frames, and the state after them.

        `observation` is [B, ..], the newest one where several are stacked, `previous_action` [B] (or [B, A] where actions are continuous),
        `previous_reward` [B]; `first` [B] is true where an episode begins. The output is a
        dictionary: `logits`, `mean` and `log_std`, or `raw`; `value`, `action_values`, whichever
        there are.
        """
        observation, seen = self.stack(observation, first, state)
        state = [reset(tensor, first) for tensor in state[: len(state) - len(seen)]]
        features = self.torso(observation)
        x = self.inputs(features, previous_action, previous_reward, first, state)
        before = "previous_observation" in self.config["inputs"]
        y, after = self.memory.step(x, state[:-1] if before else state)
        if self.config.get("skip"):
            y = torch.cat([y, self.weights.linear("skip", features)], 1)
        after = [*after, features] if before else after
        return self.heads(y), [*after, *seen]

    def stack(self, observation, first, state):
        """Observations as the torso sees them, and what the stack carries on, if there is one."""
        if self.frame_stack == 1:
            return observation, []
        now = observation.to(self.like).unsqueeze(1)
        begun = first.view(-1, *[1] * (now.dim() - 1))
        stacked = torch.cat([torch.where(begun, now, state[-1]), now], 1)
        return stacked.flatten(1, 2), [stacked[:, 1:]]

    def inputs(self, features, previous_action, previous_reward, first, state):
        """What the memory is fed."""
        seen, kept = self.config["inputs"], ~first
        parts = [self.embed("observation", features)]
        action, reward = previous_action, previous_reward.to(self.like).unsqueeze(1)
        if "discrete" in self.spec["action"]:
            action = F.one_hot(action, self.spec["action"]["discrete"]["count"])
            action = action.to(self.like) * kept.unsqueeze(1)
        if "previous_action" in seen:
            parts.append(self.embed("previous_action", action.to(self.like)))
        if "previous_reward" in seen:
            parts.append(self.embed("previous_reward", reward))
        if "clipped_previous_reward" in seen:
            parts.append(self.embed("previous_reward", reward.clamp(-1, 1)))
        if "previous_observation" in seen:
            parts.append(self.embed("previous_observation", state[-1]))
        return torch.cat(parts, 1)

    def embed(self, name, x):
        """An input behind its embedder, where it has one."""
        embed = self.config.get("embed") or {}
        if name not in embed:
            return x
        return ACTIVATIONS[embed["activation"]](self.weights.linear(f"embed.{name}", x))

    def torso(self, observation):
        config, w = self.config["torso"], self.weights.below("torso")
        x = observation.to(self.like)
        x = x / 255 if self.spec["observation"]["dtype"] == "u8" else x
        if config["name"] == "identity":
            return x.flatten(1)
        if config["name"] == "mlp":
            return mlp(w, x.flatten(1), len(config["hidden"]), config["activation"])
        if config["name"] == "cnn":
            layers = config["convolutions"]
            for i, layer in enumerate(layers):
                x = F.conv2d(x, w[f"{i}.weight"], w[f"{i}.bias"], layer["stride"]).relu()
            x = w.linear(str(len(layers)), x.flatten(1))
            if config.get("output") == "relu":
                x = x.relu()
            if config.get("output") == "layer_norm_tanh":
                x = F.layer_norm(x, x.shape[-1:], w["norm.weight"], w["norm.bias"]).tanh()
            return x
        for i in range(len(config["channels"])):  # impala_resnet
            section = w.below(str(i))
            x = F.max_pool2d(same(section.below("convolution"), x), 3, stride=2, padding=1)
            for block in (section.below("block_0"), section.below("block_1")):
                x = x + same(block.below("second"), same(block.below("first"), x.relu()).relu())
        return w.linear("linear", x.relu().flatten(1)).relu()

    def heads(self, y):
        output, w = {}, self.weights
        if self.outputs["name"] == "vector_actor":
            says = self.head("policy", y)
            if self.outputs["spread"] == "deterministic":
                return {"raw": says}
            mean, log_std = says.chunk(2, -1)
            return {"mean": mean, "log_std": log_std.clamp(-20, 2)}
        if "policy.log_std" in w:
            output["mean"] = self.head("policy", y)
            output["log_std"] = w["policy.log_std"].expand_as(output["mean"])
        elif self.outputs["name"] != "action_values":
            output["logits"] = self.head("policy", y)
        if self.outputs["name"] == "actor_critic":
            output["value"] = self.head("value", y).squeeze(-1)
        if "critics" in self.outputs:
            critics = range(self.outputs["critics"])
            output["action_values"] = [self.critic(f"action_values.{i}", y) for i in critics]
        return output

    def head(self, name, y):
        config, w = self.config["head"], self.weights.below(name)
        layers = len(config["hidden"])
        return w.linear(str(layers), mlp(w, y, layers, config["activation"]))

    def critic(self, name, y):
        """The expected returns of all actions, [B, A]."""
        raw, returns = self.head(name, y), self.outputs["returns"]
        if returns["name"] == "expected":
            return raw
        raw = raw.unflatten(-1, (self.spec["action"]["discrete"]["count"], -1))
        if returns["name"] == "quantiles":
            return raw.mean(-1)
        support = torch.linspace(returns["least"], returns["greatest"], returns["atoms"])
        return raw.softmax(-1) @ support.to(raw)


def reset(tensor, first):
    """Zeros in the rows where an episode begins."""
    return tensor.masked_fill(first.view(-1, *[1] * (tensor.dim() - 1)), 0)


def mlp(w, x, layers, activation):
    for i in range(layers):
        x = ACTIVATIONS[activation](w.linear(str(i), x))
    return x


def same(w, x):
    """A 3 x 3 convolution that keeps the image's sides."""
    return F.conv2d(x, w["weight"], w["bias"], padding=1)


def norm(w, x, epsilon):
    """Layer norm, or the root mean square where there is no bias."""
    if "bias" in w:
        return F.layer_norm(x, x.shape[-1:], w["weight"], w["bias"], epsilon)
    return x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt() * w["weight"]


def feed_forward(w, x, epsilon):
    """The residual feed-forward layer behind several memories."""
    return norm(w.below("norm"), w.linear("1", F.gelu(w.linear("0", x))) + x, epsilon)


class Memory:
    """What layers share: configuration, weights, and where their zeros lie."""

    def __init__(self, config, w, like):
        self.config, self.w, self.like = config, w, like

    def zeros(self, *shape):
        return self.like.new_zeros(shape)

    def entered(self, x):
        """Behind the input layer, where there is one."""
        return self.w.linear("input", x) if "input.weight" in self.w else x

    def last(self, y, epsilon=1e-5):
        asked_for = self.config["feed_forward"]
        return feed_forward(self.w.below("feed_forward"), y, epsilon) if asked_for else y


class NoMemory(Memory):
    def initial_state(self, batch):
        return []

    def step(self, x, state):
        return x, state


class Lstm(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"]) for _ in range(2 * self.config["layers"])]

    def step(self, x, state):
        after, w = [], self.w
        for i in range(self.config["layers"]):
            h, c = state[2 * i : 2 * i + 2]
            gates = F.linear(x, w[f"weight_ih_l{i}"], w[f"bias_ih_l{i}"])
            gates = gates + F.linear(h, w[f"weight_hh_l{i}"], w[f"bias_hh_l{i}"])
            write, forget, candidate, show = gates.chunk(4, 1)
            c = forget.sigmoid() * c + write.sigmoid() * candidate.tanh()
            x = show.sigmoid() * c.tanh()
            after += [x, c]
        return x, after


class Gru(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"]) for _ in range(self.config["layers"])]

    def step(self, x, state):
        after, w = [], self.w
        for i, h in enumerate(state):
            of_x = F.linear(x, w[f"weight_ih_l{i}"], w[f"bias_ih_l{i}"]).chunk(3, 1)
            of_h = F.linear(h, w[f"weight_hh_l{i}"], w[f"bias_hh_l{i}"]).chunk(3, 1)
            r, z = ((a + b).sigmoid() for a, b in zip(of_x[:2], of_h[:2]))
            x = (1 - z) * (of_x[2] + r * of_h[2]).tanh() + z * h
            after.append(x)
        return x, after


class Elstm(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"])]

    def step(self, x, state):
        (c,), w = state, self.w
        z, f = F.linear(x, w["input_weight"], w["bias"]).chunk(2, 1)
        w_z, w_f = w["recurrent_weight"]
        z, f = (z + w_z * c).tanh(), (f + w_f * c).sigmoid()
        c = f * c + (1 - f) * z
        return w.linear("output_gate", torch.cat([x, c], 1)).sigmoid() * c, [c]


class Lru(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"]) for _ in range(2)]

    def step(self, x, state):
        w = self.w
        rate = torch.polar((-w["decay"].exp()).exp(), w["turn"].exp())
        u = torch.view_as_complex(w.linear("input", x).unflatten(-1, (-1, 2)).contiguous())
        s = rate * torch.complex(*state) + w["scale"].exp() * u
        both = torch.view_as_real(s).flatten(-2)
        y = F.linear(both, w["output.weight"]) + w.linear("skip", x)
        return self.last(y), [s.real, s.imag]


def gilr_cell(w, x, h):
    v, f = w.linear("recurrence", x).chunk(2, 1)
    v, f = v.tanh(), f.sigmoid()
    return f * h + (1 - f) * v


class Gilr(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"])]

    def step(self, x, state):
        h = gilr_cell(self.w, x, state[0])
        return self.last(self.w.linear("output", h)), [h]


class Mingru(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"])]

    def step(self, x, state):
        v, f = self.w.linear("recurrence", x).chunk(2, 1)
        f = f.sigmoid()
        h = f * state[0] + (1 - f) * self.candidate(v)
        return self.last(h), [h]

    def candidate(self, v):
        positive = torch.where(v < 0, v.sigmoid(), v + 0.5)
        return {"tanh": v.tanh(), "linear": v, "positive": positive}[self.config["candidate"]]


class Minlstm(Mingru):
    def step(self, x, state):
        v, f, i = self.w.linear("recurrence", x).chunk(3, 1)
        f, i = f.sigmoid(), i.sigmoid()
        h = (f * state[0] + i * self.candidate(v)) / (f + i)
        return self.last(h), [h]


class Indrnn(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"])]

    def step(self, x, state):
        argument = self.w.linear("input", x) + self.w["recurrent_weight"] * state[0]
        h = ACTIVATIONS[self.config["activation"]](argument)
        return h, [h]


class GilrLstm(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["hidden"]) for _ in range(2)]

    def step(self, x, state):
        h = gilr_cell(self.w, x, state[0])
        forget, write, show, z = self.w.linear("gates", h).chunk(4, 1)
        forget, write, show = forget.sigmoid(), write.sigmoid(), show.sigmoid()
        c = forget * state[1] + (1 - forget) * write * z.tanh()
        return self.last(self.w.linear("output", c * show)), [h, c]


def causal_conv(w, x, before):
    """The last K - 1 inputs [B, K - 1, H], oldest first; column k of the weights is k frames ago."""
    seen = torch.cat([before, x.unsqueeze(1)], 1)
    return (seen * w["weight"].flip(1).T).sum(1) + w["bias"], seen[:, 1:]


class Dense(Memory):
    def initial_state(self, batch):
        return []

    def step(self, x, state):
        x = ACTIVATIONS[self.config["input_activation"]](x)
        return mlp(self.w, x, len(self.config["hidden"]), self.config["activation"]), state


class Conv1d(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["kernel"] - 1, self.config["hidden"])]

    def step(self, x, state):
        y, before = causal_conv(self.w.below("conv"), self.w.linear("input", x), state[0])
        return self.last(y), [before]


class FrameStack(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch, self.config["frames"] - 1, 0)]  # As wide as the first features.

    def step(self, x, state):
        before = state[0] if state[0].shape[2] else x.new_zeros(*state[0].shape[:2], x.shape[1])
        seen = torch.cat([before, x.unsqueeze(1)], 1)
        return seen.flatten(1), [seen[:, 1:]]


class PositionalMlp(Memory):
    def initial_state(self, batch):
        return [self.zeros(batch)]

    def step(self, x, state):
        y = x + sines(state[0], x.shape[1])
        return mlp(self.w, y, len(self.config["hidden"]), self.config["activation"]), [state[0] + 1]


class Mamba(Memory):
    EPSILON = 1e-8

    def initial_state(self, batch):
        config, channels = self.config, 2 * self.config["width"]
        conv, h = (batch, config["conv"] - 1, channels), (batch, config["state"], channels)
        return [self.zeros(*shape) for _ in range(config["blocks"]) for shape in (conv, h)]

    def step(self, x, state):
        w, after = self.w, []
        r = self.entered(x)
        for i in range(self.config["blocks"]):
            block = w.below(str(i))
            u = norm(block.below("norm"), r, self.EPSILON)
            mixed, conv, h = self.mix(block, u, *state[2 * i : 2 * i + 2])
            r, after = r + mixed, [*after, conv, h]
        if self.config["feed_forward"]:
            return self.last(r, self.EPSILON), after
        return w.linear("output", norm(w.below("norm"), r, self.EPSILON)), after

    def mix(self, w, u, conv, h):
        x, z = w.linear("input", u).chunk(2, 1)
        x, conv = causal_conv(w.below("conv"), x, conv)
        x, states = F.silu(x), self.config["state"]
        selected = w.linear("select", x)
        raw, write, read = selected.split([selected.shape[1] - 2 * states, states, states], 1)
        delta = F.softplus(w.linear("delta", raw))
        decay = torch.exp(-delta.unsqueeze(1) * w["log_decay"].exp())  # [B, N, 2 D]
        h = decay * h + write.unsqueeze(2) * (delta * x).unsqueeze(1)
        y = (h * read.unsqueeze(2)).sum(1) + w["skip"] * x
        return w.linear("output", y * F.silu(z)), conv, h


def sines(number, width):
    """Sine positions [B, W] of frames' numbers [B]."""
    waves = 1e4 ** (-2 * torch.arange((width + 1) // 2).to(number) / width)
    angles = number.unsqueeze(1) * waves
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


class Attention(Memory):
    """What GPT-2 and cgpt share. State: keys and values of each block, and the frame's number."""

    EPSILON = 1e-5

    def initial_state(self, batch):
        config = self.config
        frames = (batch, config["context_length"] - 1, config["width"])
        carried = [self.zeros(*frames) for _ in range(2 * config["blocks"])]
        return [*carried, torch.zeros(batch, dtype=torch.int64, device=self.like.device)]

    def blocks(self, x, state, slopes, approximate):
        *carried, number = state
        after, m = [], self.config["context_length"]
        distance = torch.arange(m - 1, -1, -1, device=x.device)  # of each key, oldest first
        unseen = distance > number.clamp(max=m - 1).unsqueeze(1)  # [B, M]
        bias = -slopes.unsqueeze(1) * distance  # [h, M]
        bias = bias.masked_fill(unseen.unsqueeze(1), -math.inf)  # [B, h, M]
        for i in range(self.config["blocks"]):
            w = self.w.below(f"blocks.{i}")
            q, k, v = w.linear("qkv", norm(w.below("attention_norm"), x, self.EPSILON)).chunk(3, 1)
            keys = torch.cat([carried[2 * i], k.unsqueeze(1)], 1)
            values = torch.cat([carried[2 * i + 1], v.unsqueeze(1)], 1)
            after += [keys[:, 1:], values[:, 1:]]
            q, k, v = (t.unflatten(-1, (self.config["heads"], -1)) for t in (q, keys, values))
            logits = torch.einsum("bhd,bmhd->bhm", q, k) / math.sqrt(q.shape[-1]) + bias
            seen = torch.einsum("bhm,bmhd->bhd", logits.softmax(-1), v).flatten(1)
            x = x + w.linear("output", seen)
            up = w.linear("up", norm(w.below("feed_forward_norm"), x, self.EPSILON))
            x = x + w.linear("down", F.gelu(up, approximate=approximate))
        return norm(self.w.below("norm"), x, self.EPSILON), [*after, number + 1]


class Cgpt(Attention):
    def step(self, x, state):
        heads = self.config["heads"]
        slopes = 2 ** (-8 * torch.arange(1, heads + 1).to(x) / heads)
        y, after = self.blocks(self.entered(x), state, slopes, "none")
        return self.w.linear("output", y), after


class Gpt2(Attention):
    def step(self, x, state):
        x = self.entered(x) + self.positions(state[-1])
        return self.blocks(x, state, self.zeros(self.config["heads"]), "tanh")

    def positions(self, number):
        width = self.config["width"]
        if self.config["positions"] == "learned":
            return self.w["positions"][number.clamp(max=self.config["context_length"] - 1)]
        return sines(number.to(self.like), width)


class Stack(Memory):
    def __init__(self, config, w, like):
        super().__init__(config, w, like)
        layers = enumerate(config["layers"])
        self.layers = [memory(layer, w.below(str(i)), like) for i, layer in layers]

    def initial_state(self, batch):
        return [tensor for layer in self.layers for tensor in layer.initial_state(batch)]

    def step(self, x, state):
        after, state = [], list(state)
        for layer in self.layers:
            count = len(layer.initial_state(1))
            x, after_layer = layer.step(x, state[:count])
            state, after = state[count:], after + after_layer
        return x, after


MEMORIES = {
    "none": NoMemory,
    "lstm": Lstm,
    "gru": Gru,
    "elstm": Elstm,
    "lru": Lru,
    "gilr": Gilr,
    "mingru": Mingru,
    "minlstm": Minlstm,
    "indrnn": Indrnn,
    "gilr_lstm": GilrLstm,
    "mamba": Mamba,
    "cgpt": Cgpt,
    "gpt2": Gpt2,
    "conv1d": Conv1d,
    "frame_stack": FrameStack,
    "positional_mlp": PositionalMlp,
    "dense": Dense,
    "stack": Stack,
}


def memory(config, w, like):
    return MEMORIES[config["name"]](config, w, like)
