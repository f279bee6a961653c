"""Tests of maml_tf.core.task_loss."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.core.task_loss import as_task_loss

_TARGETS = np.array([[1.0], [2.0], [4.0]])
_OUTPUTS = np.array([[0.0], [2.5], [1.0]])
_LABELS = np.array([2, 0])
_LOGITS = np.array([[1.0, -1.0, 0.5], [0.3, 0.2, -2.0]])


def mean_of_squares(y_true, y_pred):
    return tf.reduce_mean((y_true - y_pred) ** 2)


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

    def test_a_loss_of_ones_own_sees_targets_of_the_predictions_dtype(self):
        class Squares(keras.losses.Loss):
            def call(self, y_true, y_pred):
                return tf.reduce_mean((y_true - y_pred) ** 2, axis=-1)

        for dtype in (tf.float32, tf.int64):
            value = as_task_loss(Squares())(tf.constant(_TARGETS, dtype), tf.constant(_OUTPUTS, tf.float64))
            self.assertAlmostEqual(float(value), float(np.mean((_TARGETS - _OUTPUTS) ** 2)))

    def test_sum_reduction(self):
        loss = as_task_loss(keras.losses.MeanSquaredError(reduction="sum"))
        expected = np.sum((_TARGETS - _OUTPUTS) ** 2)
        np.testing.assert_allclose(loss(tf.constant(_TARGETS), tf.constant(_OUTPUTS)), expected, rtol=1e-15)

    @parameterized.parameters("mse", keras.losses.MeanSquaredError(), mean_of_squares)
    def test_half_precision_outputs_are_reduced_in_float32(self, loss):
        value = as_task_loss(loss)(tf.zeros((300, 1)), tf.fill((300, 1), tf.constant(1.25, tf.bfloat16)))
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

    @parameterized.parameters("mse", keras.losses.MeanSquaredError(), mean_of_squares)
    def test_one_loss_counts_for_each_of_several_outputs(self, loss):
        expected = np.mean((_TARGETS - _OUTPUTS) ** 2) + np.mean((_OUTPUTS - _TARGETS - 1.0) ** 2)
        for nest in (list, lambda pair: dict(zip("ab", pair, strict=True))):
            targets, outputs = nest([_TARGETS, _OUTPUTS]), nest([_OUTPUTS, _TARGETS + 1.0])
            tensors = tf.nest.map_structure(tf.constant, (targets, outputs))
            np.testing.assert_allclose(as_task_loss(loss)(*tensors), expected, rtol=1e-15)

    @parameterized.parameters(("mse",), ({"q": ["mse", "mse"], "v": "mse"},))
    def test_outputs_in_outputs_and_of_different_types(self, loss):
        targets = {"q": [_TARGETS, _TARGETS], "v": _OUTPUTS}
        outputs = {"q": [_OUTPUTS, _TARGETS], "v": _TARGETS.astype(np.float32) + 1}
        expected = np.mean((_TARGETS - _OUTPUTS) ** 2) + np.mean((_OUTPUTS - _TARGETS - 1.0) ** 2)
        tensors = tf.nest.map_structure(tf.constant, (targets, outputs))
        np.testing.assert_allclose(as_task_loss(loss)(*tensors), expected, rtol=1e-6)

    @parameterized.parameters(([3, 1], [3]), ([3], [3, 1]), ([2, 3], [2, 3, 1]), ([2, 3, 1], [2, 3]))
    def test_a_function_sees_targets_of_the_predictions_rank_and_dtype(self, targets, outputs):
        def squares(y_true, y_pred):
            self.assertEqual((y_true.shape, y_true.dtype), (y_pred.shape, y_pred.dtype))
            return (y_true - y_pred) ** 2

        y_true = np.arange(np.prod(targets), dtype=np.float64).reshape(targets)
        y_pred = np.ones(outputs, np.float32)
        expected = np.mean((y_true.reshape(outputs) - y_pred) ** 2)
        np.testing.assert_allclose(as_task_loss(squares)(tf.constant(y_true), tf.constant(y_pred)), expected)

    def test_a_function_sees_targets_of_several_numbers_as_they_are(self):
        """Such as a target and its weight."""

        def weighted(y_true, y_pred):
            return y_true[:, 1] * (y_true[:, 0] - y_pred) ** 2

        targets = tf.constant(np.concatenate([_TARGETS, [[1.0], [0.0], [2.0]]], axis=1))
        value = as_task_loss(weighted)(targets, tf.constant(_OUTPUTS[:, 0]))
        np.testing.assert_allclose(value, (1.0 + 2 * 9.0) / 3, rtol=1e-15)

    def test_a_function_sees_labels_as_they_are(self):
        def check(y_true, y_pred):
            self.assertEqual((y_true.shape, y_true.dtype), ((2,), tf.uint8))
            return tf.reduce_mean(y_pred)

        as_task_loss(check)(tf.constant(_LABELS, tf.uint8), tf.constant(_LOGITS))

    @parameterized.parameters("mse", keras.losses.MeanSquaredError(reduction="sum"), keras.losses.mean_squared_error)
    def test_what_a_mask_hides_does_not_count(self, loss):
        outputs = tf.constant(_OUTPUTS[np.newaxis])
        outputs._keras_mask = tf.constant([[True, False, True]])
        squares = ((_TARGETS - _OUTPUTS) ** 2)[[0, 2]]
        total = getattr(loss, "reduction", None) == "sum"
        value = as_task_loss(loss)(tf.constant(_TARGETS[np.newaxis]), outputs)
        np.testing.assert_allclose(value, np.sum(squares) if total else np.mean(squares), rtol=1e-15)

    def test_a_mask_hides_every_number_of_a_position(self):
        outputs = tf.constant(np.concatenate([_OUTPUTS, _OUTPUTS + 1.0], axis=1)[np.newaxis])
        outputs._keras_mask = tf.constant([[True, False, True]])
        value = as_task_loss(lambda y_true, y_pred: (y_true - y_pred) ** 2)(tf.constant(_TARGETS[np.newaxis]), outputs)
        squares = np.concatenate([_TARGETS - _OUTPUTS, _TARGETS - _OUTPUTS - 1.0], axis=1)[[0, 2]] ** 2
        np.testing.assert_allclose(value, np.mean(squares), rtol=1e-15)

    def test_a_mask_that_hides_everything(self):
        outputs = tf.constant(_OUTPUTS[np.newaxis])
        outputs._keras_mask = tf.zeros((1, 3), tf.bool)
        self.assertEqual(float(as_task_loss("mse")(tf.constant(_TARGETS[np.newaxis]), outputs)), 0.0)

    def test_a_function_that_reduces_by_itself_counts_what_a_mask_hides(self):
        outputs = tf.constant(_OUTPUTS[np.newaxis])
        outputs._keras_mask = tf.constant([[True, False, True]])
        value = as_task_loss(mean_of_squares)(tf.constant(_TARGETS[np.newaxis]), outputs)
        np.testing.assert_allclose(value, np.mean((_TARGETS - _OUTPUTS) ** 2), rtol=1e-15)

    @parameterized.parameters(False, True)
    def test_an_ignored_class_counts_as_with_keras(self, masked):
        loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1)
        labels, outputs = tf.constant([[2, -1, 0]]), tf.constant(np.stack([[*_LOGITS, _LOGITS[0]]]), tf.float32)
        if masked:
            outputs._keras_mask = tf.constant([[False, True, True]])
        np.testing.assert_allclose(as_task_loss(loss)(labels, outputs), loss(labels, outputs), rtol=1e-6)
        self.assertEqual(float(as_task_loss(loss)(tf.fill([1, 3], -1), outputs)), 0)

    def test_masked_predictions_count_as_with_keras(self):
        model = keras.Sequential([
            keras.Input((4,)), keras.layers.Embedding(5, 3, mask_zero=True),
            keras.layers.Dense(1),
        ])  # fmt: skip
        x, y = np.array([[1, 2, 0, 0], [3, 1, 2, 0]]), np.arange(8.0, dtype=np.float32).reshape(2, 4, 1)
        model.compile(loss="mse")
        expected = model.evaluate(x, y, verbose=0)
        np.testing.assert_allclose(as_task_loss("mse")(tf.constant(y), model(x)), expected, rtol=1e-5)
        loss, _ = maml_tf.MAML(model, "mse", 0.0, 1).meta_gradients(((x[None], y[None], x[None]), y[None]))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)

    @parameterized.parameters(
        (["mse", "mse"], 1),
        ({"a": "mse"}, {"b": 1.0}),
        ({"a": "mse"}, [1.0]),
        (["mse"], [1.0, 2.0]),
        ({"a": "mse", "b": "mse"}, {"a": 1.0}),
    )
    def test_losses_must_fit_the_outputs(self, loss, outputs):
        outputs = tf.nest.map_structure(tf.constant, outputs)
        with self.assertRaisesRegex(ValueError, "one loss for each of the model's outputs.* Received: .* for outputs"):
            as_task_loss(loss)(outputs, outputs)

    @parameterized.parameters(("mse",), (["mse", "mse"],))
    def test_targets_must_fit_the_outputs(self, loss):
        outputs = [tf.constant(_OUTPUTS)] * 2
        for targets in (outputs[:1], outputs * 2, tf.constant(_TARGETS), {"a": outputs[0], "b": outputs[0]}):
            with self.assertRaisesRegex(ValueError, "targets for each. Received: losses in a list of 2 for targets"):
                as_task_loss(loss)(targets, outputs)

    def test_no_loss(self):
        with self.assertRaisesRegex(ValueError, "Expected a loss: .* Received: None"):
            as_task_loss(None)

    def test_unknown_loss(self):
        with self.assertRaisesRegex(ValueError, "mean_cubed_error"):
            as_task_loss("mean_cubed_error")


if __name__ == "__main__":
    absltest.main()
