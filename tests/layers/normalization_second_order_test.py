"""Second derivatives through the normalization layers against central differences of first ones."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.layers import BatchNormalization, GroupNormalization, LayerNormalization
from maml_tf.layers.closed_form import normalize

TRAINING, INFERENCE = {"training": True}, {"training": False}
MASK = {"training": True, "mask": np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]], bool)}
# Layer, its options, how it is called, input shape, and whether Keras' own layer gets it wrong.
CASES = (
    ("batch_2d", BatchNormalization, {}, TRAINING, (5, 3), True),
    ("batch_3d_unscaled", BatchNormalization, {"scale": False}, TRAINING, (4, 3, 2), True),
    ("batch_4d_uncentered", BatchNormalization, {"center": False}, TRAINING, (2, 3, 3, 2), True),
    ("batch_axis_1", BatchNormalization, {"axis": 1, "epsilon": 1e-5}, TRAINING, (4, 3, 2, 2), True),
    ("batch_masked", BatchNormalization, {}, MASK, (4, 3, 2), False),
    ("batch_inference", BatchNormalization, {}, INFERENCE, (5, 3), False),
    ("layer_last", LayerNormalization, {}, {}, (3, 2, 5), True),
    ("layer_two_axes", LayerNormalization, {"axis": [1, 2]}, {}, (3, 2, 5), True),
    ("layer_unscaled", LayerNormalization, {"scale": False}, {}, (3, 5), True),
    ("layer_uncentered", LayerNormalization, {"center": False}, {}, (3, 5), True),
    ("group_last", GroupNormalization, {"groups": 2}, {}, (2, 3, 6), True),
    ("group_axis_1", GroupNormalization, {"groups": 2, "axis": 1}, {}, (2, 6, 3), True),
    ("group_each_unscaled", GroupNormalization, {"groups": -1, "scale": False}, {}, (2, 5, 3), True),
    ("group_uncentered", GroupNormalization, {"groups": 1, "center": False}, {}, (2, 3, 4), True),
)
ALWAYS = tuple(
    (f"always_{name}", layer, {**options, "batch_statistics": "always"}, {**call, "training": False}, shape)
    for name, layer, options, call, shape, wrong in CASES
    if layer is BatchNormalization and name != "batch_inference"
)


def relative_error(function, values, step=1e-4):
    """How far a Hessian-vector product is from the gradient's extrapolated central difference.

    Args:
        function: From a list of float64 tensors to a scalar.
        values: Where to differentiate.
        step: Of the coarser of the two differences.
    """
    random = np.random.default_rng(3)
    vectors = [tf.constant(random.normal(size=value.shape)) for value in values]

    def gradient(at):
        with tf.GradientTape() as tape:
            tape.watch(at)
            loss = function(at)
        return tape.gradient(loss, at)

    def difference(h):
        sides = ([v + sign * h * d for v, d in zip(values, vectors, strict=True)] for sign in (1, -1))
        return flat(gradient(next(sides))) / (2 * h) - flat(gradient(next(sides))) / (2 * h)

    with tf.GradientTape() as tape:
        tape.watch(values)
        products = [tf.reduce_sum(g * d) for g, d in zip(gradient(values), vectors, strict=True)]
        directional = tf.add_n(products)
    exact = flat(tape.gradient(directional, values))
    expected = (4 * difference(step / 2) - difference(step)) / 3
    return np.linalg.norm(exact - expected) / np.linalg.norm(expected)


def flat(tensors):
    return np.concatenate([np.ravel(tensor) for tensor in tensors])


def layer_error(layer, call, shape):
    """`relative_error` of a loss through the layer as a function of its inputs and weights."""
    random = np.random.default_rng(4)
    layer.build(shape)
    x, cotangent = (tf.constant(random.normal(size=shape)) for _ in range(2))
    weights = [tf.constant(random.uniform(0.5, 1.5, weight.shape)) for weight in layer.trainable_weights]

    def loss(values):
        outputs, _ = layer.stateless_call(values[1:], layer.non_trainable_variables, values[0], **call)
        return tf.reduce_sum(tf.tanh(outputs) * cotangent)

    return relative_error(loss, [x, *weights])


class SecondOrderTest(parameterized.TestCase):
    @parameterized.named_parameters(*(case[:-1] for case in CASES), *ALWAYS)
    def test_hessian_vector_products_are_exact(self, layer_class, options, call, shape):
        self.assertLess(layer_error(layer_class(dtype="float64", **options), call, shape), 1e-6)

    @parameterized.named_parameters(*(case[:-1] for case in CASES if case[-1]))
    def test_the_same_check_refuses_keras(self, layer_class, options, call, shape):
        stock = getattr(keras.layers, layer_class.__name__)
        self.assertGreater(layer_error(stock(dtype="float64", **options), call, shape), 1e-4)

    def test_averages_carry_the_derivative_of_the_batch_to_a_later_call(self):
        layer = BatchNormalization(momentum=0.5, dtype="float64")
        layer.build((5, 3))
        random = np.random.default_rng(5)
        x, later = (tf.constant(random.normal(size=(5, 3))) for _ in range(2))
        weights = [tf.constant(random.uniform(0.5, 1.5, 3)) for _ in range(2)]

        def loss(values):
            _, state = layer.stateless_call(values[1:], layer.non_trainable_variables, values[0], training=True)
            outputs, _ = layer.stateless_call(values[1:], state, later, training=False)
            return tf.reduce_sum(tf.tanh(outputs))

        self.assertLess(relative_error(loss, [x, *weights]), 1e-6)


# Whether XLA compiles them depends on their size.
SMALL, LARGE = (3, 7, 6, 4), (3, 27, 25, 2)
EPSILON = 0.1


class ClosedFormTest(parameterized.TestCase):
    """The closed forms against TensorFlow's derivatives of the two-pass formula, ReLU and pooling in float64."""

    @parameterized.product(shape=(SMALL, LARGE), relu=(False, True), pool=(False, True), dtype=(tf.float64, tf.float32))
    def test_value_and_three_derivatives(self, shape, relu, pool, dtype):
        random = np.random.default_rng(6)
        arrays = [random.normal(1.0, 2.0, shape), random.normal(size=shape[3])]
        arrays += [random.normal(size=array.shape) for array in (*arrays, arrays[0])]

        def closed_form(x, beta):
            return normalize(x, beta, EPSILON, relu=relu, pool=pool)

        ours, expected = derivatives(closed_form, arrays, dtype), derivatives(formula(relu, pool), arrays, tf.float64)
        tolerance = 1e-10 if dtype == tf.float64 else 1e-4
        for value, reference in zip(ours, expected, strict=True):
            error = np.linalg.norm(np.array(value, np.float64) - reference)
            self.assertLessEqual(error, tolerance * np.linalg.norm(reference))

    def test_sums_of_large_maps_keep_float32s_precision(self):
        x = np.random.default_rng(8).normal(1.0, 0.3, (8, 84, 84, 2)).astype(np.float32)
        exact = x.astype(np.float64)
        exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-3)
        np.testing.assert_allclose(normalize(tf.constant(x), tf.zeros([2]), 1e-3), exact, rtol=0, atol=3e-6)

    def test_the_first_of_equal_values_has_the_gradient(self):
        x = tf.ones([1, 4, 4, 1]) * tf.reshape(tf.constant([1.0, 1.0, 5.0, 5.0]), [1, 1, 4, 1])
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(normalize(x, tf.zeros([1]), EPSILON, pool=True)[..., :1, :])
        with tf.GradientTape() as reference_tape:
            reference_tape.watch(x)
            reference = tf.reduce_sum(formula(False, True)(x, tf.zeros([1]))[..., :1, :])
        np.testing.assert_allclose(tape.gradient(loss, x), reference_tape.gradient(reference, x), atol=1e-5)

    @parameterized.parameters((False,), (True,))
    def test_equals_itself_under_vectorized_map(self, pool):
        x = tf.constant(np.random.default_rng(7).normal(size=(3, 2, 32, 33, 2)), tf.float32)

        def product(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    loss = tf.reduce_sum(tf.sin(normalize(x, tf.zeros([2]), 1e-3, relu=pool, pool=pool)))
                size = tf.reduce_sum(tf.square(inner.gradient(loss, x)))
            return outer.gradient(size, x)

        @tf.function
        def vectorized(x):
            return tf.vectorized_map(product, x, fallback_to_while_loop=False)

        np.testing.assert_allclose(vectorized(x), tf.stack([product(one) for one in x]), rtol=1e-3, atol=1e-5)


def formula(relu, pool):
    def value(x, beta):
        centered = x - tf.reduce_mean(x, (0, 1, 2), keepdims=True)
        variance = tf.reduce_mean(centered**2, (0, 1, 2), keepdims=True)
        y = centered / tf.sqrt(variance + EPSILON) + beta
        y = tf.nn.relu(y) if relu else y
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pool else y

    return value


def derivatives(function, arrays, dtype):
    """Value, first, second and third derivative of a loss of the function, each along a direction."""
    x, beta, along_x, along_beta, cotangent = (tf.constant(array, dtype) for array in arrays)
    with tf.GradientTape() as outer:
        outer.watch([x, beta])
        with tf.GradientTape() as middle:
            middle.watch([x, beta])
            with tf.GradientTape() as inner:
                inner.watch([x, beta])
                outputs = function(x, beta)
                rows, columns = outputs.shape[1:3]
                loss = tf.reduce_sum(tf.tanh(outputs) * cotangent[:, :rows, :columns])
            first = inner.gradient(loss, [x, beta])
            along = tf.reduce_sum(first[0] * along_x) + tf.reduce_sum(first[1] * along_beta)
        second = middle.gradient(along, [x, beta])
        along = tf.reduce_sum(second[0] * along_x) + tf.reduce_sum(second[1] * along_beta)
    return [outputs, *first, *second, *outer.gradient(along, [x, beta])]


if __name__ == "__main__":
    absltest.main()
