"""Tests of maml_tf.exact: models of stock layers are converted whole, and compute what they did."""

import contextlib
import warnings

import keras
import numpy as np
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import layers
from maml_tf.core.clone import default_policy
from maml_tf.core.keras_interface import computing_layers
from maml_tf.diagnostics.unsupported_layers import unsupported_layers
from tests.support.finite_differences import directional_difference, dot, unit_direction
from tests.support.keras_warnings import ignore_array_copy

_NORMALIZATIONS = {
    "batch": lambda: keras.layers.BatchNormalization(name="norm"),
    "layer": lambda: keras.layers.LayerNormalization(name="norm"),
    "group": lambda: keras.layers.GroupNormalization(2, name="norm"),
}


@keras.saving.register_keras_serializable(package="exact_test")
class Block(keras.layers.Layer):
    """Makes its layers itself, and tells nothing of them."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.parts = [keras.layers.Dense(units, "tanh"), keras.layers.BatchNormalization()]
        self.last = keras.layers.LayerNormalization()

    def build(self, input_shape):
        for layer in (*self.parts, self.last):
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, x, training=False):
        hidden = self.parts[0](x)
        return hidden + self.last(self.parts[1](hidden, training=training))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="exact_test")
class Network(keras.Model):
    """Is built by its first call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block, self.out = Block(), keras.layers.Dense(1)

    def call(self, x, training=False):
        return self.out(self.block(x, training=training))


def sequential(*model_layers):
    tail = keras.layers.Activation("tanh"), keras.layers.Dense(1)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), *model_layers, *tail])


def residual(norm):
    """Behind a dense layer alone, the wrong term of a layer or group normalization would cancel out."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4)(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.ops.tanh(hidden + norm(hidden))))


def shared():
    inputs, dense, norm = keras.Input((4,)), keras.layers.Dense(4, "tanh"), keras.layers.BatchNormalization()
    return keras.Model(inputs, keras.layers.Dense(1)(norm(dense(norm(dense(inputs))))))


def nested():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, "tanh"), keras.layers.LayerNormalization()])
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GroupNormalization(2)(inner(inputs))))


def wrapped():
    inputs = keras.Input((4,))
    steps = keras.layers.Reshape((2, 2))(inputs)
    steps = keras.layers.TimeDistributed(keras.layers.LayerNormalization())(keras.layers.Dense(3)(steps))
    steps = keras.layers.Bidirectional(keras.layers.LSTM(2))(steps)
    return keras.Model(inputs, keras.layers.Dense(1)(steps))


def transformer():
    inputs = keras.Input((4,))
    tokens = keras.layers.Dense(4)(keras.layers.Reshape((4, 1))(inputs))
    attended = keras.layers.MultiHeadAttention(2, 2)(tokens, tokens)
    hidden = keras.layers.LayerNormalization()(attended + tokens)
    hidden = keras.layers.LayerNormalization()(hidden + keras.layers.Dense(4, "gelu")(hidden))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(hidden)))


def upsampled():
    inputs = keras.Input((4,))
    images = keras.layers.Reshape((2, 2, 1))(keras.layers.Dense(4, "softsign")(inputs))
    for interpolation, data_format in (("bilinear", "channels_last"), ("bicubic", "channels_first")):
        images = keras.layers.UpSampling2D((2, 1), data_format, interpolation)(keras.ops.sin(images))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(images)))


def recurrent():
    inputs = keras.Input((4,))
    steps = keras.layers.Reshape((2, 2))(inputs)
    steps = keras.layers.GRU(2, activation="softsign", recurrent_activation="softsign")(steps)
    return keras.Model(inputs, keras.layers.Dense(1)(steps))


def subclassed():
    model = Network()
    model(np.zeros((2, 4), "float32"))
    return model


_MODELS = {
    **{name: lambda make=make: residual(make()) for name, make in _NORMALIZATIONS.items()},
    "shared": shared,
    "nested": nested,
    "wrapped": wrapped,
    "transformer": transformer,
    "inside_own_layer": lambda: sequential(Block()),
    "wrapped_own_layer": lambda: sequential(
        keras.layers.Reshape((2, 2)), keras.layers.TimeDistributed(Block(2)), keras.layers.Flatten()
    ),
    "subclassed": subclassed,
    "upsampled": upsampled,
    "recurrent": recurrent,
}


def drawn(build, policy="float32"):
    """Builds a model with weights and statistics none of which is zero."""
    with default_policy(policy):
        model = build()
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(variable + 0.3 * generator.random(variable.shape))
    return model


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def episodes():
    """Two tasks, in float64."""
    return (draw(2, 4, 4), draw(2, 4, 1, seed=2), draw(2, 3, 4, seed=3)), draw(2, 3, 1, seed=4)


def relative_error(model):
    """The meta-gradient through two inner steps against a central difference."""
    learner = maml_tf.MAML(model, "mse", 0.1, inner_steps=2, task_map="unrolled")
    _, gradients = learner.meta_gradients(episodes())
    direction = unit_direction(learner, seed=5)
    return abs(dot(gradients, direction) / directional_difference(learner, episodes(), direction) - 1)


@contextlib.contextmanager
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignore_array_copy()
        yield


class ExactTest(parameterized.TestCase):
    @parameterized.named_parameters(_MODELS.items())
    def test_meta_gradients_are_exact(self, build):
        self.assertLess(relative_error(maml_tf.exact(drawn(build, "float64"))), 1e-6)

    @parameterized.named_parameters(_NORMALIZATIONS.items())
    def test_those_of_the_stock_model_are_not(self, make):
        with self.assertWarnsRegex(UserWarning, r"norm: .*maml_tf\.exact\(model\)"):
            self.assertGreater(relative_error(drawn(lambda: residual(make()), "float64")), 1e-5)

    @parameterized.product(build=list(_MODELS.values()), policy=("float32", "mixed_bfloat16"))
    def test_all_else_stays(self, build, policy):
        model = drawn(build, policy)
        given = [variable.numpy() for variable in model.variables]
        copy = maml_tf.exact(model)
        self.assertIs(type(copy), type(model))
        self.assertEmpty(unsupported_layers(copy))
        self.assertNotEmpty(unsupported_layers(model))
        described = [
            [
                [(layer.name, layer.trainable, layer.dtype_policy.name) for layer in computing_layers(each)],
                [(variable.path, variable.name, variable.trainable, variable.dtype) for variable in each.variables],
            ]
            for each in (model, copy)
        ]
        self.assertEqual(*described)
        for value, target in zip(given, copy.variables, strict=True):
            np.testing.assert_array_equal(target.numpy(), value)
        x = draw(3, 4).astype("float32")
        tolerance = 1e-6 if policy == "float32" else 5e-2
        for training in (False, True):
            np.testing.assert_allclose(
                *(keras.ops.cast(each(x, training=training), "float32") for each in (copy, model)),
                atol=tolerance,
                rtol=tolerance,
            )
        self.assertEqual(copy.trainable_variables[0].path, model.trainable_variables[0].path)
        self.assertEmpty({id(variable) for variable in copy.variables} & {id(variable) for variable in model.variables})

    @parameterized.parameters(lambda: sequential(Block()), transformer)
    def test_check_second_order_finds_nothing(self, build):
        self.assertEmpty(maml_tf.check_second_order(maml_tf.exact(drawn(build)), draw(6, 4).astype("float32")))

    def test_frozen_layers_stay_frozen(self):
        model = drawn(lambda: sequential(Block(), keras.layers.BatchNormalization()))
        block = model.layers[1]
        block.parts[1].trainable = False
        model.layers[2].trainable = False
        copy = maml_tf.exact(model)
        self.assertEqual(
            [layer.trainable for layer in computing_layers(copy)],
            [layer.trainable for layer in computing_layers(model)],
        )
        self.assertIsInstance(copy.layers[2], layers.BatchNormalization)
        x = draw(3, 4).astype("float32")
        np.testing.assert_allclose(copy(x, training=True), model(x, training=True), atol=1e-6)

    def test_a_learner_keeps_layers_inside_layers_exact(self):
        """Where the layer that holds them rebuilds them from its constructor."""
        with warnings_are_errors():
            learner = maml_tf.MAML(maml_tf.exact(drawn(lambda: sequential(Block()))), "mse", 0.1)
            data = keras.tree.map_structure(lambda part: part.astype("float32"), episodes())
            adapted = learner.adapt(data[0][0][0], data[0][1][0])
            self.assertEmpty(unsupported_layers(adapted))
            path = f"{self.create_tempdir().full_path}/learner.keras"
            learner.save(path)
            loaded = keras.saving.load_model(path)
        self.assertEmpty(unsupported_layers(loaded.model))
        for value, expected in zip(loaded.meta_gradients(data)[1], learner.meta_gradients(data)[1], strict=True):
            np.testing.assert_array_equal(value.numpy(), expected.numpy())

    def test_recurrent_layers_leave_cudnn(self):
        """Which no configuration tells of."""
        inputs = keras.Input((3, 2))
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Bidirectional(keras.layers.LSTM(2))(inputs)))
        path = f"{self.create_tempdir().full_path}/learner.keras"
        with absltest.mock.patch("tensorflow.config.list_logical_devices", return_value=["GPU:0"]):
            self.assertNotEmpty(unsupported_layers(model))
            converted = maml_tf.exact(model)
        with warnings_are_errors():
            maml_tf.MAML(converted, "mse").save(path)
            loaded = keras.saving.load_model(path)
        with absltest.mock.patch("tensorflow.config.list_logical_devices", return_value=["GPU:0"]):
            self.assertEmpty(unsupported_layers(converted))
            self.assertEmpty(unsupported_layers(loaded.model))

    def test_a_loaded_model_is_converted_again(self):
        ignore_array_copy()
        path = f"{self.create_tempdir().full_path}/model.keras"
        model = maml_tf.exact(drawn(lambda: sequential(Block(), keras.layers.LayerNormalization())))
        model.save(path)
        loaded = keras.saving.load_model(path)
        self.assertLen(unsupported_layers(loaded), 2)
        converted = maml_tf.exact(loaded)
        self.assertEmpty(unsupported_layers(converted))
        x = draw(3, 4).astype("float32")
        np.testing.assert_array_equal(converted(x).numpy(), model(x).numpy())

    def test_what_cannot_be_exact_is_named_in_one_error(self):
        bare = type("Bare", (keras.layers.LayerNormalization,), {})
        model = sequential(
            keras.layers.LayerNormalization(name="fine"),
            keras.layers.BatchNormalization(synchronized=True, name="together"),
            bare(name="bare"),
        )
        with self.assertRaisesRegex(ValueError, "together: .*synchronized=True; bare: ") as caught:
            maml_tf.exact(model)
        self.assertNotIn("fine", str(caught.exception))

    def test_a_layer_that_cannot_be_rebuilt_is_named(self):
        class Own(keras.layers.Layer):
            def __init__(self, function):
                super().__init__(name="own")
                self.norm, self.function = keras.layers.LayerNormalization(), function

            def build(self, input_shape):
                self.norm.build(input_shape)

            def call(self, x):
                return self.function(self.norm(x))

        with self.assertRaisesRegex(TypeError, "'own' of type Own"):
            maml_tf.exact(sequential(Own(keras.ops.tanh)))

    @parameterized.parameters((None, TypeError, "None"), (keras.Sequential(name="empty"), ValueError, "'empty'"))
    def test_a_built_model_is_needed(self, model, error, named):
        with self.assertRaisesRegex(error, named):
            maml_tf.exact(model)


if __name__ == "__main__":
    absltest.main()
