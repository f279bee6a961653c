"""Tests of the record that a training keeps."""

import json
import pathlib

import keras
from absl.testing import absltest

from maml_tf.experiments.classification.train import TrainingRecord
from maml_tf.training import BestWeights, Iterations


class TrainingRecordTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        self.iterations = Iterations(100, 10)
        self.best = BestWeights(model, "val_accuracy_step_1", self.iterations, mode="max")

    def train(self, values, *, first=0, ended=True, resume=True):
        """Runs epochs of 10 iterations and 3 s each, with a validation where there is a value."""
        self.now = 0
        self.iterations.variable.assign(first)
        record = TrainingRecord(
            self.folder, self.best, metric="accuracy", steps=1, resume=resume, clock=lambda: self.now
        )
        record.on_train_begin()
        for epoch, value in enumerate(values, start=first // 10):
            self.now += 3
            self.iterations.variable.assign_add(10)
            logs = {} if value is None else {"val_accuracy_step_0": 0.2, "val_accuracy_step_1": value}
            self.best.on_epoch_end(epoch, logs)
            record.on_epoch_end(epoch, logs)
        if ended:
            record.on_train_end()
        return json.loads((self.folder / "training.json").read_text())

    def test_validations_and_the_best_are_recorded(self):
        content = self.train([None, 0.5, None, 0.4])
        self.assertEqual(
            content,
            {
                "best_iteration": 20, "best_validation_accuracy": 0.5, "seconds": 12.0,
                "parts": [{"iterations": [0, 40], "seconds": 12}],
                "validation": [{"iteration": 20, "accuracy": [0.2, 0.5]}, {"iteration": 40, "accuracy": [0.2, 0.4]}],
            },
        )  # fmt: skip

    def test_a_resumed_training_forgets_what_it_does_again(self):
        self.train([0.3, 0.4, 0.5, 0.6], ended=False)
        content = self.train([0.7, 0.8], first=20)
        self.assertEqual([one["iteration"] for one in content["validation"]], [10, 20, 30, 40])
        self.assertEqual([one["accuracy"][1] for one in content["validation"]], [0.3, 0.4, 0.7, 0.8])
        self.assertEqual([part["iterations"] for part in content["parts"]], [[0, 20], [20, 40]])
        self.assertEqual(content["seconds"], 12 + 6)

    def test_a_training_from_the_start_forgets_all(self):
        self.train([0.3])
        self.assertLen(self.train([0.4], resume=False)["parts"], 1)


if __name__ == "__main__":
    absltest.main()
