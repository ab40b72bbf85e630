"""A server as an actor starts it."""

import json
import signal
import socket
import subprocess
import sys
import unittest

from engram_gym import wire
from engram_gym.group import maker


class Server(unittest.TestCase):
    def setUp(self):
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "engram_gym", "--stdin"]
        with theirs:
            self.process = subprocess.Popen(command, stdin=theirs, stderr=subprocess.DEVNULL)
        ours.settimeout(60)
        self.channel = wire.Channel(ours)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.addCleanup(self.channel.close)

    def make(self, **settings):
        defaults = {"protocol": wire.PROTOCOL, "id": "CartPole-v1", "rows": 1, "seeds": [1]}
        self.channel.send_json(wire.MAKE, defaults | settings)
        return self.channel.receive()

    def test_an_interrupt_is_for_the_actor_and_the_end_of_the_connection_for_the_server(self):
        self.assertEqual(self.make()[0], wire.SPEC)
        self.process.send_signal(signal.SIGINT)
        self.channel.send(wire.STEP, bytes([wire.RESET_ROW, 0, 0, 0]) + bytes(4))
        self.assertEqual(self.channel.receive()[0], wire.FRAMES)
        self.channel.close()
        self.assertEqual(self.process.wait(60), 0)

    def test_another_protocol_is_refused_with_both_numbers(self):
        kind, text = self.make(protocol=99)
        self.assertEqual(kind, wire.ERROR)
        self.assertIn("speaks protocol 99, this server 1", bytes(text).decode())

    def test_an_environment_can_draw_itself_where_somebody_asked_for_it(self):
        self.assertIsNone(maker({"id": "CartPole-v1"})().render_mode)
        self.assertEqual(maker({"id": "CartPole-v1", "pictures": True})().render_mode, "rgb_array")

    def test_the_spec_is_json(self):
        kind, text = self.make(frame_stack=3, observe=[0, 2])
        self.assertEqual(kind, wire.SPEC)
        spec = json.loads(bytes(text))
        self.assertEqual(spec["observation"], {"dtype": "f32", "shape": [6]})
        self.assertEqual((spec["action"], spec["shared"]), ({"discrete": 2}, None))


if __name__ == "__main__":
    unittest.main()
