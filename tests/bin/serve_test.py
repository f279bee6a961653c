"""Tests of bin/serve.py, run as a process."""

import http.client
import importlib.util
import json
import pathlib
import re
import signal
import tempfile
import time
import unittest

from absl.testing import absltest

from tests.support import binary

if importlib.util.find_spec("tornado") is None:
    raise unittest.SkipTest("the extra serve is not installed")


class ServeTest(absltest.TestCase):
    def test_an_entry_is_served_until_a_signal(self):
        with tempfile.TemporaryDirectory() as folder:
            running = binary.Running(
                "serve", "--pretrained=omniglot_5way_1shot_dense", f"--tenants={folder}/tenants", "--port=0",
                "--name=dense",
            )  # fmt: skip
            self.addCleanup(running.kill)
            address = None
            while address is None and running.code is None:
                time.sleep(0.05)
                address = re.search(r"http://127.0.0.1:(\d+)/v1/models/dense", running.said())
            connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
            self.addCleanup(connection.close)
            image = [[[0.5]] * 28] * 28
            task = {"support_x": [image], "support_y": [3], "steps": 2}
            body = json.dumps({"signature_name": "fit_task", "inputs": task})
            connection.request("POST", "/v1/models/dense/tenants/ann:predict", body)
            answer = json.loads(connection.getresponse().read())
            self.assertLen(answer["outputs"], 2)
            finished = running.stop_when(lambda: True, signal.SIGTERM)
            self.assertEqual((finished.code, finished.errors), (128 + signal.SIGTERM, []), finished.stderr)
            self.assertEndsWith(finished.stderr, "Stopped by SIGTERM\n")
            self.assertLen(list(pathlib.Path(folder, "tenants").glob("*.npy")), 1)

    def test_what_cannot_be_served_is_one_error(self):
        with tempfile.TemporaryDirectory() as folder:
            for flags, said in (
                (["--pretrained=omniglot"], "Error: Expected one of ['ant_direction'"),
                ([f"--logdir={folder}"], "Error: Expected the directory of a training"),
                ([f"--saved_model={folder}"], "Error: Expected the folder of a SavedModel"),
                ([f"--saved_model={folder}", "--host=192.0.2.1"], "Error: Expected an address to listen at"),
                ([f"--saved_model={folder}", f"--tokens={folder}/none"], "Error: [Errno 2] No such file"),
            ):
                finished = binary.run("serve", *flags, f"--tenants={folder}/tenants", "--port=0")
                self.assertEqual((finished.code, len(finished.errors)), (1, 1), finished.stderr)
                self.assertStartsWith(finished.errors[0], said)
            self.assertEmpty(list(pathlib.Path(folder).iterdir()))


if __name__ == "__main__":
    absltest.main()
