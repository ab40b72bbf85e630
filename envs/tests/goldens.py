"""Records episodes of Gymnasium and PyBullet for the tests of this crate, and writes goldens.toml.

    python3 -m venv goldens && goldens/bin/pip install gymnasium==1.4.0 pybullet==3.2.7 \
        dm_control==1.0.50 mujoco==4.0.0
    goldens/bin/python envs/tests/goldens.py > envs/tests/goldens.toml

The Hopper of PyBullet is driven without the `pybullet_envs` package, which needs an old gym: what
that package does around the physics is written out in `Hopper` below.
"""

import math
import os
import sys

import gymnasium
import numpy as np

HOPPER_EPISODES = 300


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


def dmc_cartpole(start, policy, steps):
    """The control suite's cart-pole: its model and its reward, five steps of MuJoCo per action."""
    import mujoco
    from dm_control.suite import cartpole as suite
    from dm_control.utils.rewards import tolerance

    xml, assets = suite.get_model_and_assets()
    model = mujoco.MjModel.from_xml_string(xml.decode(), assets)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = start[:2], start[2:]
    actions, observations, rewards = [], [], []
    for step in range(steps):
        data.ctrl[0] = np.float32(policy(step))
        total = 0.0
        for _ in range(5):
            mujoco.mj_step(model, data)
            upright = (math.cos(data.qpos[1]) + 1) / 2
            centered = (1 + tolerance(data.qpos[0], margin=2)) / 2
            control = tolerance(data.ctrl[0], margin=1, value_at_margin=0, sigmoid="quadratic")
            slow = (1 + tolerance(data.qvel[1], margin=5)) / 2
            total += upright * centered * (4 + control) / 5 * slow
        actions.append(data.ctrl[0])
        (x, angle), (speed, turning) = data.qpos, data.qvel
        observations.append([x, math.cos(angle), math.sin(angle), speed, turning])
        rewards.append(total / 5)
    print("[[dmc_cartpole]]")
    print("start =", numbers(start, 17))
    print("actions =", numbers(actions))
    print("rewards =", numbers(rewards))
    print("observations =", rows(observations), "\n")


def dmc_pendulum(angle, policy, steps):
    """The control suite's pendulum: its model and its reward, five steps of MuJoCo per action."""
    import mujoco
    from dm_control.suite import pendulum as suite

    xml, assets = suite.get_model_and_assets()
    model = mujoco.MjModel.from_xml_string(xml.decode(), assets)
    data = mujoco.MjData(model)
    data.qpos[0] = angle
    actions, observations, rewards = [], [], []
    for step in range(steps):
        data.ctrl[0] = np.float32(policy(step))
        upright = 0
        for _ in range(5):
            mujoco.mj_step(model, data)
            upright += math.cos(data.qpos[0]) >= math.cos(math.radians(8))
        actions.append(data.ctrl[0])
        observations.append([math.cos(data.qpos[0]), math.sin(data.qpos[0]), data.qvel[0]])
        rewards.append(upright / 5)
    print("[[dmc_pendulum]]")
    print("start =", numbers([angle], 17))
    print("actions =", numbers(actions))
    print("rewards =", numbers(rewards))
    print("observations =", rows(observations), "\n")


class Hopper:
    """HopperBulletEnv-v0: loads the model, applies torques, and reads reward and observation."""

    TORQUE, TIME_STEP = 75.0, 0.0165

    def __init__(self):
        import pybullet
        import pybullet_data

        self.bullet = bullet = pybullet
        bullet.connect(bullet.DIRECT)
        bullet.setPhysicsEngineParameter(deterministicOverlappingPairs=1)
        bullet.setGravity(0, 0, -9.8)
        bullet.setDefaultContactERP(0.9)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=self.TIME_STEP, numSolverIterations=5, numSubSteps=4
        )
        data = pybullet_data.getDataPath()
        self.floor = bullet.loadSDF(os.path.join(data, "plane_stadium.sdf"))[0]
        bullet.changeDynamics(self.floor, -1, lateralFriction=0.8, restitution=0.5)
        flags = bullet.URDF_USE_SELF_COLLISION | bullet.URDF_USE_SELF_COLLISION_EXCLUDE_ALL_PARENTS
        self.body = bullet.loadMJCF(os.path.join(data, "mjcf", "hopper.xml"), flags=flags)[0]
        self.links = {}
        self.joints = []
        for index in range(bullet.getNumJoints(self.body)):
            info = bullet.getJointInfo(self.body, index)
            self.links[info[12].decode()] = index
            self.release(index)
            if info[2] == bullet.JOINT_REVOLUTE and not info[1].startswith(b"ignore"):
                self.joints.append((index, info[8], info[9]))
        self.start = bullet.saveState()

    def release(self, joint):
        self.bullet.setJointMotorControl2(
            self.body, joint, self.bullet.POSITION_CONTROL, targetPosition=0, targetVelocity=0,
            positionGain=0.1, velocityGain=0.1, force=0,
        )

    def reset(self, angles):
        self.bullet.restoreState(self.start)
        for (joint, _, _), angle in zip(self.joints, angles):
            self.bullet.resetJointState(self.body, joint, angle, 0)
            self.release(joint)
        self.contact = 0.0
        self.read()
        self.initial_height = self.height
        self.potential = -self.distance / self.TIME_STEP
        return self.observation()

    def read(self):
        state = lambda link: self.bullet.getLinkState(self.body, link, computeLinkVelocity=1)
        torso = state(self.links["torso"])
        self.height = torso[0][2]
        self.roll, self.pitch, self.yaw = self.bullet.getEulerFromQuaternion(torso[1])
        self.velocity = torso[6]
        parts = [state(link)[0] for link in self.links.values()]
        parts.append(self.bullet.getBasePositionAndOrientation(self.floor)[0])
        self.x, self.y = np.mean([p[0] for p in parts]), np.mean([p[1] for p in parts])
        self.distance = math.hypot(self.y, 1000 - self.x)
        self.relative = []
        for joint, low, high in self.joints:
            position, velocity, _, _ = self.bullet.getJointState(self.body, joint)
            self.relative.append((2 * (position - 0.5 * (low + high)) / (high - low), 0.1 * velocity))

    def observation(self):
        angle = math.atan2(-self.y, 1000 - self.x) - self.yaw
        cos, sin = math.cos(-self.yaw), math.sin(-self.yaw)
        vx, vy, vz = self.velocity
        vx, vy = cos * vx - sin * vy, sin * vx + cos * vy
        more = [self.height - self.initial_height, math.sin(angle), math.cos(angle)]
        more += [0.3 * vx, 0.3 * vy, 0.3 * vz, self.roll, self.pitch]
        joints = [number for pair in self.relative for number in pair]
        return np.clip(np.array(more + joints + [self.contact]), -5, 5)

    def step(self, action):
        action = np.clip(action, -1, 1)
        for (joint, _, _), a in zip(self.joints, action):
            self.bullet.setJointMotorControl2(
                self.body, joint, self.bullet.TORQUE_CONTROL, force=self.TORQUE * float(a)
            )
        self.bullet.stepSimulation()
        self.read()
        observation = self.observation()
        alive = 1.0 if self.height > 0.8 and abs(self.pitch) < 1.0 else -1.0
        before, self.potential = self.potential, -self.distance / self.TIME_STEP
        speeds = np.array([pair[1] for pair in self.relative])
        electricity = -2.0 * np.abs(action * speeds).mean() - 0.1 * np.square(action).mean()
        limits = -0.1 * sum(abs(pair[0]) > 0.99 for pair in self.relative)
        foot = self.links["foot"]
        touching = self.bullet.getContactPoints(self.body, self.floor, foot, -1)
        self.contact = float(len(touching) > 0)
        terms = [alive, self.potential - before, electricity, limits]
        return observation, sum(terms), alive < 0, terms


def hopper_episode(world, name, angles, actions):
    observations, rewards = [world.reset(angles)], []
    for action in actions:
        observation, reward, ended, _ = world.step(action)
        observations.append(observation)
        rewards.append(reward)
        if ended:
            break
    print("[[hopper]]")
    print(f'scenario = "{name}"')
    print("actions =", rows(actions[: len(rewards)], 6))
    print("rewards =", numbers(rewards))
    print("observations =", rows(observations, 6), "\n")


def hopper_statistics(world, name, policy):
    generator = np.random.default_rng(1)
    returns, lengths, terms = [], [], np.zeros(4)
    for _ in range(HOPPER_EPISODES):
        world.reset(generator.uniform(-0.1, 0.1, 3))
        total, length, ended = 0.0, 0, False
        while not ended and length < 1000:
            _, reward, ended, parts = world.step(policy(generator))
            total, length, terms = total + reward, length + 1, terms + parts
        returns.append(total)
        lengths.append(length)
    print("[[hopper_statistics]]")
    print(f'policy = "{name}"')
    print("episodes =", HOPPER_EPISODES)
    print("mean_return =", f"{np.mean(returns):.4g}", "# standard deviation", f"{np.std(returns):.3g}")
    print("mean_length =", f"{np.mean(lengths):.4g}", "# standard deviation", f"{np.std(lengths):.3g}")
    print("mean_terms =", numbers(terms / sum(lengths), 4), "# alive, progress, electricity, limits\n")


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

    dmc_cartpole([0.05, 0.03, 0.01, -0.01], lambda step: 0.1 * math.sin(step), 40)
    dmc_cartpole([0.0, math.pi + 0.01, 0.0, 0.0], lambda step: 0.7 * math.sin(0.3 * step), 80)
    dmc_cartpole([0.0, math.pi - 0.01, 0.01, 0.02], lambda step: 0.5 if step < 30 else -0.5, 80)
    dmc_pendulum(0.02, lambda step: -0.2 if step < 3 else 0.3 * math.sin(step), 40)
    dmc_pendulum(math.pi, lambda step: math.sin(0.35 * step), 80)

    world = Hopper()
    rest = np.zeros(3)
    hopper_episode(world, "drop", rest, [rest] * 60)
    hopper_episode(world, "half-foot-torque", rest, [np.array([0.0, 0.0, 0.5])] * 5)
    hopper_episode(world, "lean-back", rest, [np.array([-0.1, -0.1, -0.1])] * 10 + [rest] * 50)
    hopper_episode(world, "lean-forward", rest, [np.array([-0.2, -0.2, 0.1])] * 10 + [rest] * 50)
    hopper_episode(world, "crouch", rest, [np.array([-0.3, -0.5, 0.2])] * 10 + [rest] * 50)
    wave = [np.array([-0.2 - 0.2 * math.sin(t), -0.3, 0.3 * math.cos(t)]) for t in range(60)]
    hopper_episode(world, "wave", rest, wave)
    hopper_episode(world, "half-torque", rest, [np.full(3, 0.5)] * 5)
    hopper_statistics(world, "zero", lambda _: rest)
    hopper_statistics(world, "random", lambda generator: generator.uniform(-1, 1, 3))


if __name__ == "__main__":
    sys.exit(main())
