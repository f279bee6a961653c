"""What stands for an operation has its value, and is made of others."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.export import builtin_operations
from maml_tf.export.builtin_operations import Unsupported, rewrite

RANDOM = np.random.default_rng(0)


def normal(*shape):
    # Zeros and equal values too: there the derivatives are conventions.
    return np.round(RANDOM.normal(size=shape), 1).astype(np.float32)


def value_and_gradients(function):
    def computed(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = function(*arguments)
        return outputs, tape.gradient(outputs, arguments, output_gradients=tf.cos(outputs * 3))

    return computed


IMAGES, LABELS, LOGITS = normal(2, 7, 8, 3), np.array([2, 0, 1, 3]), normal(4, 4)
CONVOLUTIONS = [
    (size, strides, padding, sides)
    for size in (2, 3)
    for strides in (1, 2, 3)
    for padding in ("SAME", "VALID")
    for sides in ((7, 8), (9, 5))
]
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "tanh", "sigmoid", "swish", "exponential",
    "hard_sigmoid", "mish", "log_softmax", "softmax",
)  # fmt: skip


class RewriteTest(parameterized.TestCase):
    def same(self, function, *arguments, atol=2e-6):
        """Compares a function's outputs with those of its operations anew, and returns the types of the latter."""
        arguments = [tf.constant(value) for value in arguments]
        tf.config.run_functions_eagerly(True)
        self.addCleanup(tf.config.run_functions_eagerly, False)
        specs = [tf.TensorSpec(value.shape, value.dtype) for value in arguments]
        traced = tf.function(function, autograph=False).get_concrete_function(*specs)
        anew = tf.function(lambda *given: rewrite(traced, given), autograph=False).get_concrete_function(*specs)
        expected, found = tf.nest.flatten(function(*arguments)), anew(*arguments)
        self.assertLen(found, len(expected))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, tf.cast(other, one.dtype), rtol=2e-5, atol=atol)
        types = {operation.type for operation in anew.graph.get_operations()}
        replaced = set(builtin_operations._replacements) - {"Equal", "NotEqual", "Relu", "Relu6"}
        self.assertEmpty(types & replaced)
        return types

    @parameterized.parameters(*ACTIVATIONS)
    def test_activation(self, name):
        self.same(value_and_gradients(keras.activations.get(name)), normal(5, 40))

    @parameterized.parameters(*CONVOLUTIONS)
    def test_convolution(self, size, strides, padding, sides):
        def convolve(x, kernel):
            return tf.nn.bias_add(tf.nn.conv2d(x, kernel, strides, padding), tf.ones([4]))

        self.same(value_and_gradients(convolve), normal(2, *sides, 3), normal(size, size, 3, 4), atol=1e-4)

    @parameterized.product(pool=(tf.nn.max_pool2d, tf.nn.avg_pool2d), size=(2, [2, 3]))
    def test_pooling(self, pool, size):
        self.same(value_and_gradients(lambda x: pool(x, size, size, "VALID")), IMAGES)

    @parameterized.parameters(
        (lambda logits: tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits), LOGITS),
        (lambda logits: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(LOGITS[::-1]), logits), LOGITS),
        (lambda logits: tf.nn.sigmoid_cross_entropy_with_logits(tf.ones([4, 4]), logits), LOGITS),
        (lambda x: tf.sqrt(x) + tf.math.rsqrt(x) + tf.math.reciprocal(x), np.abs(normal(5)) + 1),
        (lambda x: tf.math.log1p(x) + tf.math.expm1(x), np.abs(normal(5))),
        (lambda x: tf.math.divide_no_nan(x, tf.round(x)), normal(20)),
        # Broadcast operands, whose gradients are sums over axes that shapes tell.
        (lambda x: x * tf.reduce_mean(x, axis=0) + tf.reduce_max(x, axis=1, keepdims=True), normal(4, 5)),
    )
    def test_function(self, function, argument):
        self.same(value_and_gradients(function), argument)

    def test_numbers_that_are_none(self):
        x = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
        self.same(lambda x: tf.stack([tf.math.is_nan(x), tf.math.is_finite(x)]), x)
        self.same(lambda x: tf.equal(tf.cast(x, tf.int8), tf.ones([2], tf.int8)), np.array([1.0, 2.0], np.float32))

    def test_what_shapes_and_constants_tell_is_no_operation(self):
        types = self.same(lambda x: tf.reshape(x, tf.concat([[tf.size(x)], tf.shape(x)[:0]], axis=0)), normal(3, 4))
        self.assertContainsSubset(types, {"Placeholder", "Const", "Reshape", "Identity", "NoOp"})

    def test_double_precision_becomes_single(self):
        variable = tf.Variable(normal(3, 2).astype(np.float64))
        types = self.same(lambda x: tf.cast(tf.cast(x, tf.float64) @ variable, tf.float64), normal(4, 3))
        self.assertNotIn("ReadVariableOp", types)

    @parameterized.parameters(
        (lambda x: tf.while_loop(lambda i: i < 3.0, lambda i: i + 1, [x[0, 0, 0, 0]]), "control flow"),
        (value_and_gradients(lambda x: tf.nn.max_pool2d(x, 3, 2, "VALID")), "windows that overlap"),
        (lambda x: tf.cast(x, tf.bfloat16), "values of bfloat16"),
        (lambda x: tf.math.erfc(x), "error function"),
    )
    def test_what_has_no_other_form_is_said(self, function, said):
        with self.assertRaisesRegex(Unsupported, said):
            self.same(function, IMAGES)


if __name__ == "__main__":
    absltest.main()
