"""Tests of maml_tf.training.validation."""

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.core.task_values import Evaluation
from maml_tf.evaluation import Evaluator
from maml_tf.learner import MAML
from maml_tf.tasks.sinusoid import Sinusoids
from maml_tf.training.validation import AdaptationValidation

# [steps + 1, tasks]
VALUES = np.array([[100.0, 200.0], [4.0, 6.0], [1.0, 3.0], [9.0, 1.0]])


class StubEvaluator:
    """Returns the first rows of VALUES and keeps what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, episodes, steps):
        self.calls.append((episodes, steps))
        return Evaluation({"mse": VALUES[: steps + 1]})


class AdaptationValidationTest(parameterized.TestCase):
    def test_logs_gain_the_mean_over_the_steps_and_the_steps_asked_for(self):
        evaluator, logs = StubEvaluator(), {"loss": 7.0}
        AdaptationValidation(evaluator, ["tasks"], 3, shown_steps=(0, 1, 3, 10)).on_epoch_end(0, logs)
        # Of the steps 1 to 3, (5 + 2 + 5) / 3; the error before adaptation is not in it.
        self.assertEqual(
            logs,
            {"loss": 7.0, "val_mse": 4.0, "val_mse_step_0": 150.0, "val_mse_step_1": 5.0, "val_mse_step_3": 5.0},
        )
        self.assertEqual(evaluator.calls, [(["tasks"], 3)])

    def test_epochs_between_validations_are_left_alone(self):
        evaluator, seen = StubEvaluator(), []
        validation = AdaptationValidation(evaluator, [], 1, every_epochs=3)
        for epoch in range(7):
            logs = {}
            validation.on_epoch_end(epoch, logs)
            seen.append("val_mse" in logs)
        self.assertEqual(seen, [False, False, True, False, False, True, False])
        self.assertLen(evaluator.calls, 2)

    def test_diverged_tasks_show_and_are_counted(self):
        values = np.concatenate([VALUES, VALUES], axis=1)
        values[2, 0] = np.inf
        values[2:, 1] = 1e4
        logs = {}
        AdaptationValidation(lambda episodes, steps: Evaluation({"mse": values}, 500.0), [], 3).on_epoch_end(0, logs)
        self.assertEqual(logs["val_mse"], float("inf"))
        self.assertEqual(logs["val_mse_diverged"], 2)

    @parameterized.parameters({"steps": 0}, {"every_epochs": 0})
    def test_numbers_below_one_are_an_error(self, steps=1, every_epochs=1):
        with self.assertRaisesRegex(ValueError, f"Received: steps={steps}, every_epochs={every_epochs}"):
            AdaptationValidation(StubEvaluator(), [], steps, every_epochs=every_epochs)

    def test_in_fit_it_measures_the_weights_of_the_epoch(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
        learner = MAML(model, "mse", 0.01)
        learner.compile(keras.optimizers.Adam(0.1))
        episodes = [Sinusoids().draw(3, 0, tasks=6, shots=5, queries=5).episode.keras_data()]
        validation = AdaptationValidation(Evaluator(learner), episodes, 2)
        training = Sinusoids().dataset(4, tasks=4, shots=5, queries=5)
        history = learner.fit(training, epochs=2, steps_per_epoch=3, verbose=0, shuffle=False, callbacks=[validation])
        expected = Evaluator(learner)(episodes, 2).values["loss"]
        self.assertAlmostEqual(history.history["val_loss"][-1], expected[1:].mean(), places=5)
        self.assertAlmostEqual(history.history["val_loss_step_1"][-1], expected[1].mean(), places=5)
        self.assertNotAlmostEqual(*history.history["val_loss"], places=4)


if __name__ == "__main__":
    absltest.main()
