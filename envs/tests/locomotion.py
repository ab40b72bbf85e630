"""PyBullet's walking robots: prints their tables, or records them for the tests of this crate.

    python3 -m venv bullet && bullet/bin/pip install pybullet==3.2.7 numpy
    bullet/bin/python envs/tests/locomotion.py record > envs/tests/locomotion.toml
    bullet/bin/python envs/tests/locomotion.py table
    bullet/bin/python envs/tests/locomotion.py speed

The robots are driven without the `pybullet_envs` package, which needs an old gym: what that package
does around the physics is written out in `Robot` below.
"""

import math
import os
import sys
import time

import numpy as np
import pybullet as bullet
import pybullet_data

TIME_STEP = 0.0165
EPISODES = 20
LIMIT = 1000

# Model, torque of every joint at full action in the order of the joints, feet, alive rule.
ROBOTS = {
    "hopper": dict(
        model="hopper.xml", torques=[75] * 3, feet=["foot"],
        alive=lambda r: r.height > 0.8 and abs(r.pitch) < 1.0,
    ),
    "walker2d": dict(
        model="walker2d.xml", torques=[40, 40, 12] * 2, feet=["foot", "foot_left"],
        alive=lambda r: r.height > 0.8 and abs(r.pitch) < 1.0,
    ),
    "half-cheetah": dict(
        model="half_cheetah.xml", torques=[108, 81, 54, 126, 54, 27],
        feet=["ffoot", "fshin", "fthigh", "bfoot", "bshin", "bthigh"],
        alive=lambda r: abs(r.pitch) < 1.0 and not any(r.contacts[i] for i in (1, 2, 4, 5)),
    ),
    "ant": dict(
        model="ant.xml", torques=[250] * 8,
        feet=["front_left_foot", "front_right_foot", "left_back_foot", "right_back_foot"],
        alive=lambda r: r.height > 0.26,
    ),
}


class Robot:
    """One robot on the stadium's floor, in a physics server of its own process."""

    def __init__(self, name, substeps=4, iterations=5):
        bullet.connect(bullet.DIRECT)
        bullet.resetSimulation()
        bullet.setPhysicsEngineParameter(deterministicOverlappingPairs=1)
        bullet.setGravity(0, 0, -9.8)
        bullet.setDefaultContactERP(0.9)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=TIME_STEP, numSolverIterations=iterations, numSubSteps=substeps
        )
        data = pybullet_data.getDataPath()
        self.floor = bullet.loadSDF(os.path.join(data, "plane_stadium.sdf"))[0]
        bullet.changeDynamics(self.floor, -1, lateralFriction=0.8, restitution=0.5)
        flags = bullet.URDF_USE_SELF_COLLISION | bullet.URDF_USE_SELF_COLLISION_EXCLUDE_ALL_PARENTS
        self.name, self.rules = name, ROBOTS[name]
        model = os.path.join(data, "mjcf", self.rules["model"])
        self.body = bullet.loadMJCF(model, flags=flags)[0]
        self.links, self.joints = {}, []
        for index in range(bullet.getNumJoints(self.body)):
            info = bullet.getJointInfo(self.body, index)
            self.links[info[12].decode()] = index
            self.release(index)
            name = info[1].decode()
            if not name.startswith("ignore") and not name.startswith("jointfix"):
                self.joints.append((index, info[8], info[9], name))
        # A free base is a part of its own; its pose is that of the torso.
        if "torso" not in self.links:
            self.links["torso"] = -1
        self.torques = self.rules["torques"]
        assert len(self.torques) == len(self.joints)
        self.feet = [self.links[foot] for foot in self.rules["feet"]]
        self.start = bullet.saveState()

    def release(self, joint):
        bullet.setJointMotorControl2(
            self.body, joint, bullet.POSITION_CONTROL, targetPosition=0, targetVelocity=0,
            positionGain=0.1, velocityGain=0.1, force=0,
        )

    def reset(self, angles):
        bullet.restoreState(self.start)
        for (joint, *_), angle in zip(self.joints, angles):
            bullet.resetJointState(self.body, joint, angle, 0)
            self.release(joint)
        self.contacts = [0.0] * len(self.feet)
        self.read()
        self.initial_height = self.height
        self.potential = -self.distance / TIME_STEP
        return self.observation()

    def pose(self, link):
        """Position of a link's center of mass, its orientation, the velocity of the former."""
        if link == -1:
            position, orientation = bullet.getBasePositionAndOrientation(self.body)
            return position, orientation, bullet.getBaseVelocity(self.body)[0]
        state = bullet.getLinkState(self.body, link, computeLinkVelocity=1)
        return state[0], state[1], state[6]

    def read(self):
        position, orientation, self.velocity = self.pose(self.links["torso"])
        self.height = position[2]
        self.roll, self.pitch, self.yaw = bullet.getEulerFromQuaternion(orientation)
        parts = [self.pose(link)[0] for link in self.links.values()]
        parts.append(bullet.getBasePositionAndOrientation(self.floor)[0])
        self.parts = len(parts)
        self.x, self.y = np.mean([p[0] for p in parts]), np.mean([p[1] for p in parts])
        self.distance = math.hypot(self.y, 1000 - self.x)
        self.relative = []
        for joint, low, high, _ in self.joints:
            position, velocity, _, _ = bullet.getJointState(self.body, joint)
            self.relative.append((2 * (position - 0.5 * (low + high)) / (high - low), 0.1 * velocity))

    def observation(self):
        angle = math.atan2(-self.y, 1000 - self.x) - self.yaw
        cos, sin = math.cos(-self.yaw), math.sin(-self.yaw)
        vx, vy, vz = self.velocity
        vx, vy = cos * vx - sin * vy, sin * vx + cos * vy
        more = [self.height - self.initial_height, math.sin(angle), math.cos(angle)]
        more += [0.3 * vx, 0.3 * vy, 0.3 * vz, self.roll, self.pitch]
        joints = [number for pair in self.relative for number in pair]
        return np.clip(np.array(more + joints + self.contacts), -5, 5)

    def step(self, action):
        clipped = np.clip(action, -1, 1)
        for (joint, *_), torque, a in zip(self.joints, self.torques, clipped):
            bullet.setJointMotorControl2(
                self.body, joint, bullet.TORQUE_CONTROL, force=torque * float(a)
            )
        bullet.stepSimulation()
        self.read()
        observation = self.observation()
        alive = 1.0 if self.rules["alive"](self) else -1.0
        before, self.potential = self.potential, -self.distance / TIME_STEP
        speeds = np.array([pair[1] for pair in self.relative])
        electricity = -2.0 * np.abs(clipped * speeds).mean() - 0.1 * np.square(clipped).mean()
        limits = -0.1 * sum(abs(pair[0]) > 0.99 for pair in self.relative)
        for i, foot in enumerate(self.feet):
            touching = bullet.getContactPoints(self.body, self.floor, foot, -1)
            self.contacts[i] = float(len(touching) > 0)
        terms = [alive, self.potential - before, electricity, limits]
        ended = alive < 0 and self.name != "half-cheetah"
        return observation, sum(terms), ended, terms

    def anatomy(self):
        """Name, mass and moments of inertia of every link that has a mass."""
        links = sorted(set(self.links.items()), key=lambda link: link[1])
        for name, link in links:
            mass, _, inertia, *_ = bullet.getDynamicsInfo(self.body, link)
            if mass > 0:
                yield name, mass, inertia


def numbers(values, digits=9):
    return "[" + ", ".join(f"{float(v):.{digits}g}" for v in values) + "]"


def rows(values, digits=9):
    return "[\n" + "".join(f"  {numbers(v, digits)},\n" for v in values) + "]"


def scenarios(count):
    """Recorded episodes: their names, and actions as long as they are not zero."""
    ramp = np.arange(count) / count
    yield "drop", [np.zeros(count)] * 45
    yield "half-torque", [np.full(count, 0.5)] * 5
    yield "last-joint", [np.eye(count)[-1] * 0.5] * 5
    yield "lean-back", [np.full(count, -0.1)] * 10 + [np.zeros(count)] * 35
    yield "wave", [0.4 * np.sin(0.7 * t + 2 * ramp) for t in range(45)]


def play(robot, actions):
    observations, rewards = [robot.reset(np.zeros(len(robot.joints)))], []
    for action in actions:
        observation, reward, ended, _ = robot.step(action)
        observations.append(observation)
        rewards.append(reward)
        if ended:
            break
    return observations, rewards


def statistics(robot, policy, episodes):
    generator = np.random.default_rng(1)
    joints = len(robot.joints)
    returns, lengths, terms = [], [], np.zeros(4)
    for _ in range(episodes):
        robot.reset(generator.uniform(-0.1, 0.1, joints))
        total, length, ended = 0.0, 0, False
        while not ended and length < LIMIT:
            action = generator.uniform(-1, 1, joints) if policy == "random" else np.zeros(joints)
            _, reward, ended, parts = robot.step(action)
            total, length, terms = total + reward, length + 1, terms + parts
        returns.append(total)
        lengths.append(length)
    return np.array(returns), np.array(lengths), terms / sum(lengths)


def record():
    print("# Written by locomotion.py; see there.\n")
    for name in ROBOTS:
        robot = Robot(name)
        for link, mass, inertia in robot.anatomy():
            print(f'[[links]]\nrobot = "{name}"\nname = "{link}"')
            print(f"mass = {mass:.6g}\ninertia = {numbers(inertia, 5)}\n")
        for scenario, actions in scenarios(len(robot.joints)):
            observations, rewards = play(robot, actions)
            print(f'[[episodes]]\nrobot = "{name}"\nscenario = "{scenario}"')
            print("actions =", rows(actions[: len(rewards)], 6))
            print("rewards =", numbers(rewards, 6))
            print("observations =", rows(observations, 5), "\n")
        for policy in ("zero", "random"):
            episodes = 300 if name in ("hopper", "walker2d") else 20
            returns, lengths, terms = statistics(robot, policy, episodes)
            print(f'[[statistics]]\nrobot = "{name}"\npolicy = "{policy}"\nepisodes = {episodes}')
            print(f"mean_return = {returns.mean():.5g}\nstandard_deviation = {returns.std():.4g}")
            print(f"mean_length = {lengths.mean():.5g}\nlength_deviation = {lengths.std():.4g}")
            print("mean_terms =", numbers(terms, 4), "# alive, progress, electricity, limits\n")


def table():
    for name in ROBOTS:
        robot = Robot(name)
        joints = len(robot.joints)
        print(f"\n{name}")
        for link, mass, inertia in robot.anatomy():
            print(f"  {link:<18} {mass:9.4f} kg  inertia {np.round(inertia, 4)}")
        for (_, low, high, joint), torque in zip(robot.joints, robot.torques):
            print(f"  {joint:<18} {low:7.4f} to {high:7.4f} rad  {torque} N m")
        robot.reset(np.zeros(joints))
        for step in range(1, 41):
            robot.step(np.zeros(joints))
            if step in (5, 10, 20, 40):
                print(f"  drop, step {step:2}: z {robot.height:.4f}, pitch {robot.pitch:.4f}")
        robot.reset(np.zeros(joints))
        robot.step(np.full(joints, 0.5))
        speeds = [round(10 * speed, 3) for _, speed in robot.relative]
        print("  joint velocities after one step of 0.5:", speeds)
        for policy in ("zero", "random"):
            returns, lengths, terms = statistics(robot, policy, EPISODES)
            print(
                f"  {policy}: return {returns.mean():.1f} ± {returns.std():.1f},"
                f" length {lengths.mean():.1f} ± {lengths.std():.1f}, terms {np.round(terms, 3)}"
            )


def speed():
    for name in ROBOTS:
        robot = Robot(name)
        generator, joints = np.random.default_rng(1), len(robot.joints)
        actions = generator.uniform(-1, 1, (256, joints))
        for what in ("environment", "stepSimulation alone"):
            steps, ended, begin = 0, True, time.process_time()
            while time.process_time() - begin < 2.0:
                if what == "environment":
                    if ended:
                        robot.reset(generator.uniform(-0.1, 0.1, joints))
                    _, _, ended, _ = robot.step(actions[steps % 256])
                else:
                    bullet.stepSimulation()
                steps += 1
            print(f"{name:<14} {what:<22} {steps / (time.process_time() - begin):8.0f} steps/s")


if __name__ == "__main__":
    {"record": record, "table": table, "speed": speed}[sys.argv[1]]()
