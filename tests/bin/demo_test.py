"""Tests of bin/demo.py, run as a process."""

import http.client
import importlib.util
import re
import signal
import time
import unittest

from absl.testing import absltest

from tests.support import binary

if importlib.util.find_spec("bokeh") is None:
    raise unittest.SkipTest("the extra demo is not installed")


class DemoTest(absltest.TestCase):
    def test_the_page_is_there_until_a_signal(self):
        running = binary.Running("demo", "--port=0", "--tab=sinusoid")
        self.addCleanup(running.kill)
        address = None
        while address is None and running.code is None:
            time.sleep(0.05)
            address = re.fullmatch(r"The demo is at http://localhost:(\d+); Ctrl\+C ends it\n", running.said("stdout"))
        connection = http.client.HTTPConnection("localhost", int(address[1]), timeout=60)
        self.addCleanup(connection.close)
        connection.request("GET", "/")
        answer = connection.getresponse()
        page = answer.read().decode()
        self.assertEqual((answer.status, "<h1>Learning to learn</h1>" in page, "cdn" in page), (200, True, False))
        # A second one cannot have the port; it says so before anything is loaded.
        again = binary.run("demo", f"--port={address[1]}", "--tab=sinusoid")
        self.assertEqual((again.code, len(again.errors)), (1, 1), again.stderr)
        self.assertStartsWith(again.errors[0], "Error: Expected an address to listen at; port 0 takes a free one.")
        finished = running.stop_when(lambda: True, signal.SIGTERM)
        self.assertEqual((finished.code, finished.errors), (128 + signal.SIGTERM, []), finished.stderr)
        self.assertEndsWith(finished.stderr, "Stopped by SIGTERM\n")


if __name__ == "__main__":
    absltest.main()
