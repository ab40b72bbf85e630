"""Spaces, wrappers and rows, without a connection."""

import unittest

import gymnasium
import numpy as np
from gymnasium import spaces

from engram_gym import wire
from engram_gym.group import Group, maker
from engram_gym.row import Row
from engram_gym.spaces import Refused, decoder, encoder
from engram_gym.wrappers import Stack, grayscale, parts, resize, shares


def encoded(enc, observation):
    row = np.full(enc.shape, 9, enc.dtype)
    enc.encode(observation, row)
    return row


class Script(gymnasium.Env):
    """Shows its step's number and the latest action; lasts `length` steps."""

    def __init__(self, length=6):
        self.length = length
        self.observation_space = spaces.Box(-100, 100, (2,), np.float32)
        self.action_space = spaces.Discrete(5, start=1)
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.time = 0
        return np.array([0, 0], np.float32), {}

    def step(self, action):
        self.time += 1
        return (
            np.array([self.time, action], np.float32),
            float(self.time),
            self.time == self.length,
            False,
            {},
        )


def row(environment, **settings):
    made = Row(lambda: environment, settings, seed=3)
    out = np.zeros(made.observation.shape, made.observation.dtype)
    made.reset(out)
    return made, out


class Spaces(unittest.TestCase):
    def test_discrete_observations_are_one_hot(self):
        np.testing.assert_array_equal(
            encoded(encoder(spaces.Discrete(4, start=2)), 3), [0, 1, 0, 0]
        )
        multi = encoder(spaces.MultiDiscrete([2, 3]))
        np.testing.assert_array_equal(encoded(multi, np.array([1, 2])), [0, 1, 0, 0, 1])

    def test_images_are_bytes_with_channels_in_front(self):
        image = np.arange(8 * 6 * 3).reshape(8, 6, 3).astype(np.uint8)
        enc = encoder(spaces.Box(0, 255, (8, 6, 3), np.uint8))
        self.assertEqual((enc.shape, enc.dtype), ((3, 8, 6), np.uint8))
        np.testing.assert_array_equal(encoded(enc, image), image.transpose(2, 0, 1))
        self.assertEqual(encoder(spaces.Box(0, 255, (4, 84, 84), np.uint8)).shape, (4, 84, 84))
        self.assertEqual(encoder(spaces.Box(0, 255, (84, 84), np.uint8)).shape, (1, 84, 84))

    def test_parts_of_dicts_and_tuples_stand_side_by_side_as_floats(self):
        space = spaces.Dict(
            b=spaces.Discrete(2),
            a=spaces.Tuple([spaces.Box(-1, 1, (2, 2)), spaces.Box(0, 255, (1,), np.uint8)]),
        )
        observation = {
            "b": 1,
            "a": (np.array([[1, 2], [3, 4]], np.float32), np.array([255], np.uint8)),
        }
        np.testing.assert_array_equal(encoded(encoder(space), observation), [1, 2, 3, 4, 1, 0, 1])
        np.testing.assert_array_equal(encoded(encoder(space, ["b"]), observation), [0, 1])
        with self.assertRaisesRegex(Refused, r"names \['c'\]; the observation has \['a', 'b'\]"):
            encoder(space, ["c"])

    def test_one_part_of_a_dict_keeps_its_shape(self):
        space = spaces.Dict(image=spaces.Box(0, 255, (7, 7, 3), np.uint8), mission=spaces.Text(9))
        self.assertEqual(encoder(space, ["image"]).shape, (3, 7, 7))
        with self.assertRaisesRegex(Refused, "Text"):
            encoder(space)

    def test_boxes_of_actions_are_scaled_to_their_bounds(self):
        dec = decoder(spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)))
        self.assertEqual(dec.spec(), {"continuous": 2})
        np.testing.assert_allclose(dec.decode(np.array([1, -1], np.float32)), [2, 0])
        np.testing.assert_allclose(dec.decode(np.array([0.5, 0], np.float32)), [1, 5])
        unbounded = spaces.Box(-np.inf, np.inf, (1,))
        with self.assertRaisesRegex(Refused, "set `action_bound`"):
            decoder(unbounded)
        np.testing.assert_allclose(decoder(unbounded, 3.0).decode(np.array([-1], np.float32)), [-3])

    def test_combinations_are_discrete(self):
        dec = decoder(spaces.MultiDiscrete([2, 3]))
        self.assertEqual(dec.spec(), {"discrete": 6})
        np.testing.assert_array_equal(
            [dec.decode(a) for a in range(6)], [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
        )
        with self.assertRaisesRegex(Refused, "10000 combinations; 4096"):
            decoder(spaces.MultiDiscrete([100, 100]))
        with self.assertRaisesRegex(Refused, "Text"):
            decoder(spaces.Text(3))


class Wrappers(unittest.TestCase):
    def test_areas_are_averaged(self):
        np.testing.assert_allclose(shares(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], rtol=1e-6)
        inner = encoder(spaces.Box(0, 255, (4, 8), np.uint8))
        image = np.repeat(np.array([[0, 100, 200, 20]], np.uint8), 2, 1).repeat(4, 0)
        np.testing.assert_array_equal(
            encoded(resize(inner, 2, 4), image)[0], [[0, 100, 200, 20]] * 2
        )
        np.testing.assert_array_equal(encoded(resize(inner, 1, 1), image)[0], [[80]])
        np.testing.assert_array_equal(
            encoded(resize(inner, 8, 16), image)[0], image.repeat(2, 0).repeat(2, 1)
        )

    def test_gray_is_brightness(self):
        inner = encoder(spaces.Box(0, 255, (8, 8, 3), np.uint8))
        image = np.zeros((8, 8, 3), np.uint8)
        image[0, 0], image[0, 1], image[0, 2] = (255, 0, 0), (0, 255, 0), (255, 255, 255)
        gray = encoded(grayscale(inner), image)
        self.assertEqual(gray.shape, (1, 8, 8))
        np.testing.assert_array_equal(gray[0, 0, :4], [76, 150, 255, 0])

    def test_parts_are_taken_in_their_order(self):
        inner = encoder(spaces.Box(-1, 1, (4,)))
        np.testing.assert_array_equal(encoded(parts(inner, [2, 0]), np.array([5, 6, 7, 8])), [7, 5])

    def test_a_stack_forgets_at_a_reset(self):
        stack = Stack(encoder(spaces.Box(-9, 9, (2,))), 3)
        np.testing.assert_array_equal(encoded(stack, np.array([1, 2])), [0, 0, 0, 0, 1, 2])
        np.testing.assert_array_equal(encoded(stack, np.array([3, 4])), [0, 0, 1, 2, 3, 4])
        stack.reset()
        np.testing.assert_array_equal(encoded(stack, np.array([5, 6])), [0, 0, 0, 0, 5, 6])


class Rows(unittest.TestCase):
    def test_skipped_frames_add_their_rewards_and_stop_at_the_end(self):
        stepped, out = row(Script(length=6), frame_skip=4)
        self.assertEqual((stepped.step(2, out), stepped.reward), (wire.MID, 1 + 2 + 3 + 4))
        np.testing.assert_array_equal(out, [4, 3])
        self.assertEqual((stepped.step(0, out), stepped.reward), (wire.TERMINATED, 5 + 6))

    def test_a_time_limit_counts_decisions_and_truncates(self):
        stepped, out = row(Script(length=99), max_steps=3, frame_skip=2)
        self.assertEqual(
            [stepped.step(0, out) for _ in range(3)], [wire.MID, wire.MID, wire.TRUNCATED]
        )
        stepped.reset(out)
        self.assertEqual(stepped.step(0, out), wire.MID)

    def test_rewards_are_clipped_after_they_are_added(self):
        stepped, out = row(Script(), clip_reward=2.5, frame_skip=2)
        stepped.step(0, out)
        self.assertEqual(stepped.reward, 2.5)

    def test_sticky_actions_repeat_as_often_as_is_asked(self):
        stepped, out = row(Script(length=10_000), sticky_actions=0.25)
        repeated = 0
        before = None
        for step in range(4000):
            action = step % 5
            stepped.step(action, out)
            shown = int(out[1]) - 1
            self.assertIn(shown, (action, before))
            repeated += shown != action
            before = shown
        self.assertTrue(850 < repeated < 1150, repeated)

    def test_only_the_first_episode_is_seeded(self):
        environment = Script(length=1)
        stepped, out = row(environment)
        stepped.step(0, out)
        stepped.reset(out)
        self.assertEqual(environment.seeds, [3, None])

    def test_our_limit_takes_the_place_of_the_environments_own(self):
        settings = {"id": "Pendulum-v1", "max_steps": 250, "seeds": [1], "rows": 1}
        out = np.zeros(3, np.float32)
        stepped = Row(maker(settings), settings, seed=1)
        stepped.reset(out)
        codes = [stepped.step(np.zeros(1, np.float32), out) for _ in range(250)]
        self.assertEqual((set(codes[:-1]), codes[-1]), ({wire.MID}, wire.TRUNCATED))


class Groups(unittest.TestCase):
    def test_rows_that_are_not_asked_do_nothing(self):
        group = Group({"id": "CartPole-v1", "rows": 3, "seeds": [1, 2, 3]})
        padded = lambda commands: bytes([*commands, 0]) + np.zeros(3, "<i4").tobytes()
        group.step(memoryview(padded([1, 1, 1])))
        times = [r._steps for r in group.rows]
        message = group.step(memoryview(padded([0, 2, 1])))
        self.assertEqual([r._steps for r in group.rows], [1, 0, 0])
        self.assertEqual(times, [0, 0, 0])
        self.assertEqual(len(message), wire.HEADER.size + 3 * 4 + 3 * 16 + 2 * 3)
        group.close()


if __name__ == "__main__":
    unittest.main()
