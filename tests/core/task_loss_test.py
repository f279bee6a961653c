"""Tests of maml_tf.core.task_loss."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.task_loss import as_task_loss

_TARGETS = np.array([[1.0], [2.0], [4.0]])
_OUTPUTS = np.array([[0.0], [2.5], [1.0]])
_LABELS = np.array([2, 0])
_LOGITS = np.array([[1.0, -1.0, 0.5], [0.3, 0.2, -2.0]])


class AsTaskLossTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("name", "mse"),
        ("long_name", "mean_squared_error"),
        ("object", keras.losses.MeanSquaredError()),
        ("function", keras.losses.mean_squared_error),
        ("own_function", lambda y_true, y_pred: tf.reduce_mean((y_true - y_pred) ** 2)),
    )
    def test_mean_squared_error(self, loss):
        value = as_task_loss(loss)(tf.constant(_TARGETS), tf.constant(_OUTPUTS))
        self.assertEqual(value.dtype, tf.float64)
        np.testing.assert_allclose(value, np.mean((_TARGETS - _OUTPUTS) ** 2), rtol=1e-15)

    def test_cross_entropy(self):
        loss = as_task_loss(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        log_softmax = _LOGITS - np.log(np.sum(np.exp(_LOGITS), axis=1, keepdims=True))
        expected = -np.mean(log_softmax[range(2), _LABELS])
        for labels in (_LABELS, _LABELS[:, np.newaxis], _LABELS.astype(np.uint8)):
            np.testing.assert_allclose(loss(tf.constant(labels), tf.constant(_LOGITS)), expected, rtol=1e-12)

    def test_agrees_with_keras(self):
        loss = keras.losses.Huber(delta=0.7)
        y, p = tf.constant(_TARGETS, tf.float32), tf.constant(_OUTPUTS, tf.float32)
        np.testing.assert_allclose(as_task_loss(loss)(y, p), loss(y, p), rtol=1e-6)

    def test_sum_reduction(self):
        loss = as_task_loss(keras.losses.MeanSquaredError(reduction="sum"))
        expected = np.sum((_TARGETS - _OUTPUTS) ** 2)
        np.testing.assert_allclose(loss(tf.constant(_TARGETS), tf.constant(_OUTPUTS)), expected, rtol=1e-15)

    def test_half_precision_outputs_are_reduced_in_float32(self):
        value = as_task_loss("mse")(tf.zeros((300, 1)), tf.fill((300, 1), tf.constant(1.25, tf.bfloat16)))
        self.assertEqual(value.dtype, tf.float32)
        self.assertEqual(float(value), 1.5625)

    @parameterized.named_parameters(
        ("list", ["mse", "mae"], lambda pair: list(pair)),
        ("dictionary", {"a": "mse", "b": "mae"}, lambda pair: dict(zip("ab", pair, strict=True))),
    )
    def test_several_outputs_are_added(self, loss, nest):
        targets, outputs = nest((_TARGETS, _TARGETS)), nest((_OUTPUTS, _OUTPUTS))
        expected = np.mean((_TARGETS - _OUTPUTS) ** 2) + np.mean(np.abs(_TARGETS - _OUTPUTS))
        tensors = tf.nest.map_structure(tf.constant, (targets, outputs))
        np.testing.assert_allclose(as_task_loss(loss)(*tensors), expected, rtol=1e-15)

    @parameterized.parameters(
        (["mse", "mse"], 1), ({"a": "mse"}, {"b": 1.0}), ({"a": "mse"}, [1.0]), (["mse"], [1.0, 2.0])
    )
    def test_losses_must_fit_the_outputs(self, loss, outputs):
        outputs = tf.nest.map_structure(tf.constant, outputs)
        with self.assertRaisesRegex(ValueError, "Expected one loss for each of the model's outputs. Received: losses"):
            as_task_loss(loss)(outputs, outputs)

    def test_no_loss(self):
        with self.assertRaisesRegex(ValueError, "Expected a loss: .* Received: None"):
            as_task_loss(None)

    def test_unknown_loss(self):
        with self.assertRaisesRegex(ValueError, "mean_cubed_error"):
            as_task_loss("mean_cubed_error")


if __name__ == "__main__":
    absltest.main()
