"""A learner that version 0.1.0 saved loads in a new process after `import maml_tf` alone, and predicts the same."""

import json
import subprocess
import sys
import unittest

import keras
import numpy as np
from absl.testing import absltest

from tests.support.source_tree import PROJECT

_LOAD = """
import importlib.util, json, sys
import maml_tf, keras
learner = keras.saving.load_model("testdata/version_0_1_0/learner.keras")
spec = importlib.util.spec_from_file_location("maker", "testdata/make_version_0_1_0.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)
inputs, _ = maker.draw_episodes()
sys.stdout.write(json.dumps({
    "type": type(learner) is maml_tf.MAML,
    "compiled": learner.compiled,
    "iterations": int(learner.optimizer.iterations),
    "predictions": learner.predict(inputs, verbose=0)[:, 0].tolist(),
}))
"""


def _version(text):
    return [int(part) for part in text.split(".")[:2]]


class LoadTest(absltest.TestCase):
    @unittest.skipIf(_version(keras.__version__) < _version("3.15"), "Keras 3.15 wrote the file; older ones refuse it")
    def test_predictions_are_those_of_the_version_that_saved_it(self):
        done = subprocess.run([sys.executable, "-c", _LOAD], cwd=PROJECT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertTrue(found["type"] and found["compiled"])
        self.assertEqual(found["iterations"], 2)
        expected = [[0.10482621192932129, -2.537649393081665], [1.506858468055725, -0.6191954612731934]]
        np.testing.assert_allclose(found["predictions"], expected, rtol=1e-5)


if __name__ == "__main__":
    absltest.main()
