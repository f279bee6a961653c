"""Tests of maml_tf.training.non_finite."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.training.in_graph import InGraphTraining
from maml_tf.training.non_finite import TerminateOnNonFinite


class TerminateOnNonFiniteTest(absltest.TestCase):
    def test_names_the_iterations_of_the_call_that_diverged(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse", jit_compile=True)

        def draw(index):
            x = tf.ones([2, 1])
            return x, tf.where(index == 24, np.nan, 1.0) * x

        training = InGraphTraining(model, draw, iterations_per_call=10)
        message = "diverged in one of the iterations 20 to 29.* Received: loss=nan"
        with self.assertRaisesRegex(ValueError, message):
            training.fit_iterations(90, callbacks=[TerminateOnNonFinite(10)])

    def test_infinite_is_not_finite(self):
        with self.assertRaisesRegex(ValueError, "iterations 0 to 4.* Received: loss=inf"):
            TerminateOnNonFinite(5).on_epoch_end(0, {"loss": float("inf")})

    def test_metrics_of_each_class(self):
        terminate = TerminateOnNonFinite(5)
        terminate.on_epoch_end(0, {"f1": np.array([0.5, 1.0])})
        with self.assertRaisesRegex(ValueError, r"Received: f1=\[0.5 nan\]"):
            terminate.on_epoch_end(0, {"f1": np.array([0.5, np.nan])})

    def test_validation_may_diverge(self):
        TerminateOnNonFinite(5).on_epoch_end(0, {"loss": 1.0, "val_loss": float("nan")})


if __name__ == "__main__":
    absltest.main()
