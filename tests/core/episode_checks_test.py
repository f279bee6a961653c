"""Tests of maml_tf.core.episode_checks."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.core.episode_checks import check_data, check_inputs, check_support


def ones(*shape):
    return np.ones(shape)


class CheckDataTest(parameterized.TestCase):
    def test_becomes_tensors_of_the_same_dtypes(self):
        support_y = np.ones((2, 3), np.uint8)
        data = check_data(((ones(2, 3, 1), support_y, ones(2, 5, 1).astype(np.float32)), ones(2, 5)))
        flat = tf.nest.flatten(data)
        self.assertTrue(all(tf.is_tensor(leaf) for leaf in flat))
        self.assertEqual([leaf.dtype for leaf in flat], [tf.float64, tf.uint8, tf.float32, tf.float64])

    def test_nests(self):
        x = {"a": ones(2, 3, 1), "b": [ones(2, 3)]}
        inputs, _ = check_data(((x, ones(2, 3), x), [ones(2, 3), ones(2, 3, 4)]))
        self.assertEqual(inputs[0]["b"][0].shape, (2, 3))

    @parameterized.named_parameters(
        ("array", ones(2, 3), r"Expected data of the form \(\(support_x.*Received: shape \[2, 3\]"),
        ("flat", (ones(2, 3),) * 4, r"Expected data of the form.*Received: \(shape"),
        ("pair", ((ones(2, 3),) * 2, ones(2, 3)), r"Expected inputs \(support_x, support_y, query_x\). Received:"),
        (
            "support",
            ((ones(2, 3, 1), ones(2, 4), ones(2, 3, 1)), ones(2, 3)),
            r"as many support targets as support inputs.*support_x shape \[2, 3, 1\], support_y shape \[2, 4\]",
        ),
        (
            "query",
            ((ones(2, 3, 1), ones(2, 3), ones(2, 5, 1)), ones(2, 3)),
            r"as many query targets as query inputs.*query_x shape \[2, 5, 1\], query_y shape \[2, 3\]",
        ),
        (
            "empty_support",
            ((ones(2, 0, 1), ones(2, 0), ones(2, 5, 1)), ones(2, 5)),
            r"as many support targets as support inputs, at least 1.*shape \[2, 0, 1\]",
        ),
        (
            "empty_query",
            ((ones(2, 3, 1), ones(2, 3), ones(2, 0, 1)), ones(2, 0)),
            r"as many query targets as query inputs, at least 1.*shape \[2, 0, 1\]",
        ),
        (
            "tasks",
            ((ones(2, 3, 1), ones(2, 3), ones(4, 3, 1)), ones(4, 3)),
            r"support and query of the same number of tasks.*shape \[2, 3, 1\], query_x shape \[4, 3, 1\]",
        ),
        (
            "tasks_of_targets",
            ((ones(2, 3, 1), ones(4, 3), ones(2, 3, 1)), ones(2, 3)),
            r"support inputs and targets of the same number of tasks",
        ),
        (
            "no_tasks",
            ((ones(0, 3, 1), ones(0, 3), ones(0, 3, 1)), ones(0, 3)),
            r"the same number of tasks, at least 1",
        ),
        (
            "no_task_axis",
            ((ones(3), ones(3), ones(3)), ones(3)),
            r"Expected support arrays with axes \[tasks, examples, ...\]",
        ),
    )
    def test_refuses(self, data, message):
        with self.assertRaisesRegex(ValueError, message):
            check_data(data)

    def test_unknown_sizes_pass(self):
        spec = tf.TensorSpec([None, None, 1])

        @tf.function(input_signature=[spec, spec])
        def checked(x, y):
            return check_data(((x, y, x), y))[1]

        self.assertEqual(checked(tf.ones((2, 3, 1)), tf.ones((2, 3, 1))).shape, (2, 3, 1))

    def test_unknown_ranks(self):
        @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec([None, 3, 1])], autograph=False)
        def checked(x, y):
            return check_data(((x, y, x), y))

        with self.assertRaisesRegex(ValueError, "tf.ensure_shape"):
            checked(tf.ones((2, 3, 1)), tf.ones((2, 3, 1)))

    def test_inputs_alone(self):
        self.assertLen(check_inputs([ones(2, 3, 1), ones(2, 3), ones(2, 9, 1)]), 3)
        with self.assertRaisesRegex(ValueError, "Expected inputs .*Received: {x: shape"):
            check_inputs({"x": ones(2)})


class CheckSupportTest(parameterized.TestCase):
    def test_has_no_task_axis(self):
        x, y = check_support(ones(3, 1), ones(3))
        self.assertEqual((x.shape, y.shape), ((3, 1), (3,)))

    @parameterized.parameters(((0, 1), (0,)), ((3, 1), (2,)))
    def test_refuses(self, x_shape, y_shape):
        with self.assertRaisesRegex(ValueError, "Expected as many support targets as support inputs, at least 1"):
            check_support(ones(*x_shape), ones(*y_shape))

    def test_scalars(self):
        with self.assertRaisesRegex(ValueError, r"axes \[examples, ...\]. Received: support_x shape \[\]"):
            check_support(1.0, 1.0)


if __name__ == "__main__":
    absltest.main()
