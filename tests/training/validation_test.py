"""Tests of maml_tf.training.validation."""

import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.task_values import Evaluation
from maml_tf.evaluation import Evaluator
from maml_tf.learner import MAML
from maml_tf.tasks.sinusoid import Sinusoids
from maml_tf.training.checkpointing import AtomicCheckpoint
from maml_tf.training.iterations import Iterations
from maml_tf.training.validation import AdaptationValidation, BestWeights

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
        values[1, 2] = np.nan
        logs = {}
        AdaptationValidation(lambda episodes, steps: Evaluation({"mse": values}, 500.0), [], 3).on_epoch_end(0, logs)
        self.assertFalse(np.isfinite(logs["val_mse"]))
        self.assertEqual(logs["val_mse_diverged_share"], 3 / values.shape[1])
        self.assertEqual(logs["val_mse_median_step_1"], np.median(np.where(np.isnan(values[1]), np.inf, values[1])))
        self.assertTrue(np.isfinite(logs["val_mse_median_step_1"]))

    def test_numbers_below_one_are_an_error(self):
        with self.assertRaisesRegex(ValueError, "steps=0"):
            AdaptationValidation(StubEvaluator(), [], 0)
        with self.assertRaisesRegex(ValueError, "every_epochs=0"):
            AdaptationValidation(StubEvaluator(), [], 1, every_epochs=0)

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


def built_model(value=0.0):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), keras.layers.BatchNormalization()])
    model.set_weights([np.full(weight.shape, value, "float32") for weight in model.weights])
    return model


class BestWeightsTest(parameterized.TestCase):
    @parameterized.parameters(("min", 3.0, 2), ("max", 9.0, 1))
    def test_keeps_the_weights_of_the_best_epoch(self, mode, best_value, best_epoch):
        model = built_model()
        iterations = Iterations(1000, 100)
        best = BestWeights(model, "val_loss", iterations, mode=mode)
        for epoch, value in enumerate([5.0, 9.0, 3.0, float("nan"), 4.0]):
            iterations.variable.assign_add(100)
            model.set_weights([np.full(weight.shape, epoch, "float32") for weight in model.weights])
            best.on_epoch_end(epoch, {"val_loss": value})
        self.assertEqual((best.value, best.iteration), (best_value, 100 * (best_epoch + 1)))
        best.apply()
        for weight in model.weights:
            np.testing.assert_array_equal(weight, np.full(weight.shape, best_epoch))

    def test_an_epoch_without_the_metric_is_passed_over(self):
        best = BestWeights(built_model(), "val_loss", Iterations(1000, 100))
        best.on_epoch_end(0, {"loss": 1.0})
        self.assertIsNone(best.iteration)

    def test_offer_says_whether_it_was_the_best(self):
        best = BestWeights(built_model(), "val_loss", Iterations(1000, 100))
        self.assertEqual([best.offer(value, 7) for value in (2.0, 3.0, 1.0, 1.0)], [True, False, True, False])

    def test_a_value_keeps_its_digits(self):
        best = BestWeights(built_model(), "val_loss", Iterations(1000, 100))
        self.assertEqual([best.offer(0.1, 0), best.offer(0.1, 100)], [True, False])
        self.assertEqual((best.value, best.iteration), (0.1, 0))

    def test_the_state_is_restored_from_a_checkpoint(self):
        best = BestWeights(built_model(6.0), "val_loss", Iterations(1000, 100))
        best.offer(0.5, 300)
        path = tf.train.Checkpoint(best=best.state).save(
            self.enter_context(tempfile.TemporaryDirectory()) + "/checkpoint"
        )
        other_model = built_model(1.0)
        other = BestWeights(other_model, "val_loss", Iterations(1000, 100))
        tf.train.Checkpoint(best=other.state).restore(path).assert_existing_objects_matched()
        self.assertEqual((other.value, other.iteration), (0.5, 300))
        self.assertFalse(other.offer(0.6, 400))
        other.apply()
        np.testing.assert_array_equal(other_model.weights[0], np.full((2, 1), 6.0))

    def test_to_apply_none_is_an_error_that_says_what_came(self):
        best = BestWeights(built_model(), "val_mse", Iterations(1000, 100))
        best.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
        with self.assertRaisesRegex(ValueError, r"val_mse .*\['loss', 'val_loss'\]"):
            best.apply()
        best.on_epoch_end(1, {"val_mse": float("nan")})
        with self.assertRaisesRegex(ValueError, "val_mse .*: nan"):
            best.apply()

    def test_a_training_without_a_best_ends_with_its_last_checkpoint(self):
        model = built_model()
        model.compile("sgd", loss="mse")
        model.optimizer.build(model.trainable_variables)
        iterations = Iterations(4, 2)
        best = BestWeights(model, "val_loss", iterations)
        directory = self.enter_context(tempfile.TemporaryDirectory())
        checkpoint = AtomicCheckpoint(directory, iterations, {}, model=model, best=best.state)

        def diverge(epoch, logs):
            logs["val_loss"] = float("nan")

        x = tf.data.Dataset.from_tensors((tf.ones([4, 2]), tf.ones([4, 1]))).repeat()
        validation = keras.callbacks.LambdaCallback(on_epoch_end=diverge)
        callbacks = [iterations, validation, best, checkpoint]
        model.fit(x, steps_per_epoch=2, epochs=2, verbose=0, shuffle=False, callbacks=callbacks)
        self.assertEndsWith(tf.train.latest_checkpoint(directory), "checkpoint-4")

    def test_bad_mode_and_unbuilt_model_are_refused(self):
        with self.assertRaisesRegex(ValueError, "Expected mode .* Received: mode='least'"):
            BestWeights(built_model(), "val_loss", Iterations(1000, 100), mode="least")
        with self.assertRaisesRegex(ValueError, "Expected a built model"):
            BestWeights(keras.Sequential([keras.layers.Dense(1)]), "val_loss", Iterations(1))


if __name__ == "__main__":
    absltest.main()
