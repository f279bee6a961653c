"""Tests of maml_tf.training.best_weights."""

import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.training.best_weights import BestWeights


def built_model(value=0.0):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), keras.layers.BatchNormalization()])
    model.set_weights([np.full(weight.shape, value, "float32") for weight in model.weights])
    return model


class BestWeightsTest(parameterized.TestCase):
    @parameterized.parameters(("min", 3.0, 2), ("max", 9.0, 1))
    def test_keeps_the_weights_of_the_best_epoch(self, mode, best_value, best_epoch):
        model = built_model()
        best = BestWeights(model, "val_loss", 100, mode=mode)
        for epoch, value in enumerate([5.0, 9.0, 3.0, float("nan"), 4.0]):
            model.set_weights([np.full(weight.shape, epoch, "float32") for weight in model.weights])
            best.on_epoch_end(epoch, {"val_loss": value})
        self.assertEqual((best.value, best.iteration), (best_value, 100 * (best_epoch + 1)))
        best.apply()
        for weight in model.weights:
            np.testing.assert_array_equal(weight, np.full(weight.shape, best_epoch))

    def test_an_epoch_without_the_metric_is_passed_over(self):
        best = BestWeights(built_model(), "val_loss", 100)
        best.on_epoch_end(0, {"loss": 1.0})
        self.assertIsNone(best.iteration)

    def test_offer_says_whether_it_was_the_best(self):
        best = BestWeights(built_model(), "val_loss", 100)
        self.assertEqual([best.offer(value, 7) for value in (2.0, 3.0, 1.0, 1.0)], [True, False, True, False])

    def test_a_value_keeps_its_digits(self):
        best = BestWeights(built_model(), "val_loss", 100)
        self.assertEqual([best.offer(0.1, 0), best.offer(0.1, 100)], [True, False])
        self.assertEqual((best.value, best.iteration), (0.1, 0))

    def test_the_state_is_restored_from_a_checkpoint(self):
        best = BestWeights(built_model(6.0), "val_loss", 100)
        best.offer(0.5, 300)
        path = tf.train.Checkpoint(best=best.state).save(
            self.enter_context(tempfile.TemporaryDirectory()) + "/checkpoint"
        )
        other_model = built_model(1.0)
        other = BestWeights(other_model, "val_loss", 100)
        tf.train.Checkpoint(best=other.state).restore(path).assert_existing_objects_matched()
        self.assertEqual((other.value, other.iteration), (0.5, 300))
        self.assertFalse(other.offer(0.6, 400))
        other.apply()
        np.testing.assert_array_equal(other_model.weights[0], np.full((2, 1), 6.0))

    def test_apply_before_any_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Expected a finite val_loss of an earlier epoch"):
            BestWeights(built_model(), "val_loss", 100).apply()

    def test_a_metric_that_never_came_is_an_error(self):
        model = built_model()
        model.compile("sgd", loss="mse")
        x = np.ones((4, 2), "float32")
        with self.assertRaisesRegex(ValueError, r"Expected the metric 'val_mse' in the logs. Received: \['loss'\]"):
            model.fit(x, x[:, :1], verbose=0, callbacks=[BestWeights(model, "val_mse", 1)])

    def test_a_metric_that_came_once_or_was_no_number_is_no_error(self):
        seen = BestWeights(built_model(), "val_loss", 100)
        seen.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
        seen.on_train_end({"loss": 1.0})
        BestWeights(built_model(), "val_loss", 100).on_train_end({"val_loss": float("nan")})

    def test_bad_mode_and_unbuilt_model_are_refused(self):
        with self.assertRaisesRegex(ValueError, "Expected mode .* Received: mode='least'"):
            BestWeights(built_model(), "val_loss", 1, mode="least")
        with self.assertRaisesRegex(ValueError, "Expected a built model"):
            BestWeights(keras.Sequential([keras.layers.Dense(1)]), "val_loss", 1)


if __name__ == "__main__":
    absltest.main()
