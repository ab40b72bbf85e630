"""Records episodes of Gymnasium and MuJoCo for the tests of this crate, and writes goldens.toml.

    python3 -m venv goldens && goldens/bin/pip install gymnasium==1.4.0 dm_control==1.0.50 \
        mujoco==4.0.0
    goldens/bin/python envs/tests/goldens.py > envs/tests/goldens.toml
"""

import math
import sys

import gymnasium
import numpy as np


def numbers(values, digits=9):
    return "[" + ", ".join(f"{float(v):.{digits}g}" for v in values) + "]"


def rows(values, digits=9):
    return "[\n" + "".join(f"  {numbers(v, digits)},\n" for v in values) + "]"


def cartpole(policy, seed):
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=seed)
    start = list(env.unwrapped.state)
    generator = np.random.default_rng(seed)
    actions, observations = [], []
    while True:
        action = policy(observation, generator)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert reward == 1.0
        actions.append(action)
        observations.append(observation)
        if terminated or truncated:
            break
    print("[[cartpole]]")
    print("start =", numbers(start, 17))
    print("actions =", numbers(actions))
    print("observations =", rows(observations), "\n")


def cartpole_continuous(policy, seed):
    """CartPole-v1 for 300 steps, always pushed to the right, by 30 newtons times the action."""
    env = gymnasium.make("CartPole-v1", max_episode_steps=300)
    observation, _ = env.reset(seed=seed)
    start = list(env.unwrapped.state)
    generator = np.random.default_rng(seed)
    actions, observations = [], []
    ended = False
    while not ended:
        action = float(np.float32(np.clip(policy(observation, generator), -1, 1)))
        env.unwrapped.force_mag = 30 * action
        observation, reward, terminated, truncated, _ = env.step(1)
        assert reward == 1.0
        actions.append(action)
        observations.append(observation)
        ended = terminated or truncated
    print("[[cartpole_continuous]]")
    print("start =", numbers(start, 17))
    print("actions =", numbers(actions))
    print("observations =", rows(observations), "\n")


def pendulum(seed, name="pendulum", length=1.0, strength=1.2):
    env = gymnasium.make("Pendulum-v1")
    env.unwrapped.l = length
    env.reset(seed=seed)
    start = list(env.unwrapped.state)
    generator = np.random.default_rng(seed)
    actions, observations, rewards = [], [], []
    truncated = False
    while not truncated:
        # In double precision, as the state is: a torque rounded to float32 would drift away.
        action = float(np.float32(generator.uniform(-strength, strength)))
        observation, reward, _, truncated, _ = env.step(np.array([2 * action]))
        actions.append(action)
        observations.append(observation)
        rewards.append(reward)
    print(f"[[{name}]]")
    print("start =", numbers(start, 17))
    print("actions =", numbers(actions))
    print("rewards =", numbers(rewards))
    print("observations =", rows(observations), "\n")


def dmc(name, model_text, start, policy, steps, reward, observe):
    """A model of the control suite: five steps of MuJoCo per action, and the mean reward of them."""
    import mujoco

    xml, assets = model_text
    model = mujoco.MjModel.from_xml_string(xml.decode() if isinstance(xml, bytes) else xml, assets)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = start[: model.nq], start[model.nq :]
    actions, observations, rewards = [], [], []
    for step in range(steps):
        data.ctrl[0] = np.float32(policy(step))
        total = 0.0
        for _ in range(5):
            mujoco.mj_step(model, data)
            total += reward(data)
        actions.append(data.ctrl[0])
        observations.append(observe(data))
        rewards.append(total / 5)
    print(f"[[{name}]]")
    print("start =", numbers(start, 17))
    print("actions =", numbers(actions))
    print("rewards =", numbers(rewards))
    print("observations =", rows(observations), "\n")


def dmc_cartpole(name, start, policy, steps):
    """The control suite's cart-pole, with as many poles as `start` has numbers for."""
    from dm_control.suite import cartpole as suite
    from dm_control.utils.rewards import tolerance

    def reward(data):
        upright = np.mean((np.cos(np.cumsum(data.qpos[1:])) + 1) / 2)
        centered = (1 + tolerance(data.qpos[0], margin=2)) / 2
        control = tolerance(data.ctrl[0], margin=1, value_at_margin=0, sigmoid="quadratic")
        slow = (1 + tolerance(data.qvel[1:], margin=5).min()) / 2
        return upright * centered * (4 + control) / 5 * slow

    def observe(data):
        angles = np.cumsum(data.qpos[1:])
        turned = [number for angle in angles for number in (math.cos(angle), math.sin(angle))]
        return [data.qpos[0], *turned, *data.qvel]

    model = suite.get_model_and_assets(len(start) // 2 - 1)
    dmc(name, model, start, policy, steps, reward, observe)


def dmc_pendulum(angle, policy, steps):
    """The control suite's pendulum."""
    from dm_control.suite import pendulum as suite

    upright = lambda data: float(math.cos(data.qpos[0]) >= math.cos(math.radians(8)))
    observe = lambda data: [math.cos(data.qpos[0]), math.sin(data.qpos[0]), data.qvel[0]]
    model = suite.get_model_and_assets()
    dmc("dmc_pendulum", model, [angle, 0.0], policy, steps, upright, observe)


def reacher(policy, steps, seed):
    """Gymnasium's Reacher-v4, with two changes.

    The last number of its observation, which is always zero, is left out. The fingertip is where it
    is: MuJoCo leaves bodies where the last stage of Runge-Kutta saw them, up to a millimeter away
    when the elbow hits its end.
    """
    import mujoco

    env = gymnasium.make("Reacher-v4")
    env.reset(seed=seed)
    data = env.unwrapped.data
    start = [*data.qpos, *data.qvel[:2]]
    actions, observations, rewards = [], [], []
    for step in range(steps):
        action = np.array(policy(step), dtype=np.float32)
        _, reward, _, _, _ = env.step(action)
        mujoco.mj_kinematics(env.unwrapped.model, data)
        observation = env.unwrapped._get_obs()
        assert observation[10] == 0
        actions.append(action)
        observations.append(observation[:10])
        rewards.append(reward)
    print("[[reacher]]")
    print("start =", numbers(start, 17))
    print("actions =", rows(actions))
    print("rewards =", numbers(rewards))
    print("observations =", rows(observations), "\n")


def main():
    print("# Written by goldens.py; see there.\n")
    lean = lambda o, _: int(o[2] + 0.3 * o[3] + 0.05 * o[0] + 0.1 * o[1] > 0)
    cartpole(lambda _, generator: int(generator.integers(2)), seed=1)
    cartpole(lambda _, generator: int(generator.integers(2)), seed=2)
    cartpole(lean, seed=3)
    pendulum(seed=1)
    pendulum(seed=2)
    cartpole_continuous(lambda _, generator: generator.uniform(-1.2, 1.2), seed=4)
    noisy = lambda o, generator: o @ [0.1, 0.15, 1.2, 0.3] + generator.uniform(-0.1, 0.1)
    cartpole_continuous(noisy, seed=5)
    pendulum(seed=3, name="pendulum_short", length=0.2, strength=0.3)

    dmc_cartpole("dmc_cartpole", [0.05, 0.03, 0.01, -0.01], lambda step: 0.1 * math.sin(step), 40)
    dmc_cartpole("dmc_cartpole", [0.0, math.pi + 0.01, 0.0, 0.0], lambda step: 0.7 * math.sin(0.3 * step), 80)
    dmc_cartpole("dmc_cartpole", [0.0, math.pi - 0.01, 0.01, 0.02], lambda step: 0.5 if step < 30 else -0.5, 80)
    dmc_pendulum(0.02, lambda step: -0.2 if step < 3 else 0.3 * math.sin(step), 40)
    dmc_pendulum(math.pi, lambda step: math.sin(0.35 * step), 80)

    two = [0.0, math.pi + 0.01, 0.1, 0.0, 0.01, -0.01]
    dmc_cartpole("dmc_cartpole_two_poles", two, lambda step: 0.7 * math.sin(0.3 * step), 30)
    two = [1.2, 0.1, -0.2, 0.5, 0.01, -0.01]
    dmc_cartpole("dmc_cartpole_two_poles", two, lambda step: 0.5, 30)
    three = [0.0, math.pi - 0.01, -0.1, 0.05, 0.0, 0.01, -0.01, 0.02]
    dmc_cartpole("dmc_cartpole_three_poles", three, lambda step: 0.7 * math.sin(0.3 * step), 30)
    three = [-1.2, 0.1, 0.1, -0.2, -0.5, 0.01, -0.01, 0.02]
    dmc_cartpole("dmc_cartpole_three_poles", three, lambda step: -0.4, 30)

    reacher(lambda step: [0.3 * math.sin(step), 0.2 * math.cos(0.7 * step)], 50, seed=1)
    reacher(lambda step: [0.2, 1.0 if step < 12 else -0.5], 30, seed=2)
    reacher(lambda step: [-1.0, -0.3] if step < 5 else [0.5, 0.0], 30, seed=3)


if __name__ == "__main__":
    sys.exit(main())
