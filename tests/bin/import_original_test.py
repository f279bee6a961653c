"""Tests of bin/import_original.py, run as a process."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from maml_tf.experiments.classification.files import load_config, load_learner
from tests.support import binary, original


class ImportOriginalTest(absltest.TestCase):
    def test_what_it_writes_is_a_training_to_evaluate(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            values = original.variables("conv")
            original.save(values, folder / "model1999")
            arguments = (f"--checkpoint={folder / 'model1999'}", f"--logdir={folder / 'run'}", "--filters=4")
            finished = binary.run("import_original", *arguments)
            again = binary.run("import_original", *arguments)
            missing = binary.run("import_original", f"--checkpoint={folder / 'no'}", f"--logdir={folder / 'other'}")
            self.assertEqual(finished.code, 0, finished.stderr)
            config = load_config(folder / "run")
            weights = load_learner(folder / "run", config).get_weights()
        self.assertEqual((config.loss_scale, config.mean_step_size, config.filters), ("original", 2.0, 4))
        np.testing.assert_array_equal(weights[0], values["conv1"])
        np.testing.assert_array_equal(weights[-1], values["b5"])
        self.assertEqual(again.errors, [f"Error: Expected a directory without weights. Received: '{folder / 'run'}', "
                                        "which holds best.weights.h5"])  # fmt: skip
        self.assertIn("Error: Expected a TensorFlow checkpoint.", missing.errors[0])


if __name__ == "__main__":
    absltest.main()
