"""Tests of maml_tf.diagnostics.unsupported_layers."""

import warnings

import keras
from absl.testing import absltest, parameterized

from maml_tf import layers
from maml_tf.diagnostics.unsupported_layers import unsupported_layers
from tests.conformance import registry

STOCK = (
    ("batch", keras.layers.BatchNormalization, {}),
    ("layer", keras.layers.LayerNormalization, {}),
    ("group", keras.layers.GroupNormalization, {"groups": 2}),
)


def found_in(*model_layers, shape=(4,)):
    return unsupported_layers(keras.Sequential([keras.Input(shape), *model_layers]))


class UnsupportedLayersTest(parameterized.TestCase):
    @parameterized.named_parameters(*STOCK)
    def test_stock_normalization(self, layer, options):
        (found,) = found_in(layer(name="norm", **options))
        self.assertEqual(found.layer, "norm")
        self.assertRegex(found.reason, f"treats the mean as a constant.*use maml_tf.layers.{layer.__name__}$")

    @parameterized.named_parameters(*STOCK)
    def test_subclass_of_stock_normalization(self, layer, options):
        bare = type("Bare", (layer,), {})
        (found,) = found_in(bare(name="norm", **options))
        self.assertEqual(found.layer, "norm")
        self.assertRegex(found.reason, f"use maml_tf.layers.{layer.__name__}$")

    @parameterized.named_parameters(*STOCK)
    def test_subclass_with_a_call_of_its_own(self, layer, options):
        own = type("Own", (layer,), {"call": lambda self, inputs: inputs})
        self.assertEmpty(found_in(own(**options)))

    @parameterized.parameters("bilinear", "bicubic", "lanczos3")
    def test_interpolation(self, interpolation):
        layer = keras.layers.UpSampling2D(interpolation=interpolation, name="up")
        (found,) = found_in(layer, shape=(4, 4, 1))
        self.assertEqual((found.layer, interpolation in found.reason), ("up", True))

    def test_resizing(self):
        (found,) = found_in(keras.layers.Resizing(2, 2, interpolation="nearest", name="resize"), shape=(4, 4, 1))
        self.assertEqual(found.layer, "resize")

    @parameterized.named_parameters(
        ("dense", lambda: keras.layers.Dense(2, "softsign", name="bad")),
        ("activation", lambda: keras.layers.Activation("softsign", name="bad")),
    )
    def test_softsign(self, make):
        (found,) = found_in(keras.layers.Dense(3), make())
        self.assertEqual(found.layer, "bad")
        self.assertRegex(found.reason, "^softsign .*maml_tf.layers.softsign")

    def test_a_frozen_layer_normalization_has_the_statistics_of_its_inputs_still(self):
        self.assertLen(found_in(keras.layers.LayerNormalization(trainable=False)), 1)

    def test_each_once(self):
        """A shared layer, and one that stands for the cell inside it."""
        shared = keras.layers.LayerNormalization(name="shared")
        models = [keras.Sequential([keras.Input((4,)), shared]) for _ in range(2)]
        self.assertEqual([layer.layer for layer in found_in(*models)], ["shared"])
        (found,) = found_in(keras.layers.GRU(2, activation="softsign", name="gru"), shape=(3, 2))
        self.assertEqual(found.layer, "gru")

    def test_recurrent_layers_on_a_gpu_alone(self):
        make = lambda: found_in(keras.layers.LSTM(2, name="lstm"), shape=(3, 2))  # noqa: E731
        self.assertEmpty(make())
        with absltest.mock.patch("tensorflow.config.list_logical_devices", return_value=["GPU:0"]):
            (found,) = make()
            self.assertRegex(found.reason, "use_cudnn=False")
            self.assertEmpty(found_in(keras.layers.GRU(2, use_cudnn=False), shape=(3, 2)))

    @parameterized.named_parameters(
        ("dense", lambda: keras.layers.Dense(2, "relu"), (4,)),
        ("nearest", lambda: keras.layers.UpSampling2D(), (4, 4, 1)),
        ("ours_upsampling", lambda: layers.UpSampling2D(interpolation="bilinear"), (4, 4, 1)),
        ("ours_softsign", lambda: keras.layers.Dense(2, layers.softsign), (4,)),
        ("frozen_subclass", lambda: type("Bare", (keras.layers.BatchNormalization,), {})(trainable=False), (4,)),
        ("frozen", lambda: keras.layers.BatchNormalization(trainable=False), (4,)),
        ("ours", lambda: layers.BatchNormalization(), (4,)),
        ("ours_layer", lambda: layers.LayerNormalization(), (4,)),
        ("ours_group", lambda: layers.GroupNormalization(groups=2), (4,)),
        # Keras has it since 3.9.
        *(
            [("rms", lambda: keras.layers.RMSNormalization(), (4,))]
            if hasattr(keras.layers, "RMSNormalization")
            else []
        ),
    )
    def test_sound_layers(self, make, shape):
        self.assertEmpty(found_in(make(), shape=shape))

    def test_a_layer_normalization_that_takes_another_variance(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.assertEmpty(found_in(keras.layers.LayerNormalization(rms_scaling=True)))

    @parameterized.named_parameters(*((entry.name, entry) for entry in registry.MODELS))
    def test_shipped_models(self, entry):
        self.assertEmpty(unsupported_layers(entry.build()))

    def test_nested_models_are_searched_in_order(self):
        inner = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization(name="first")])
        found = found_in(inner, keras.layers.BatchNormalization(name="second"))
        self.assertEqual([layer.layer for layer in found], ["first", "second"])


if __name__ == "__main__":
    absltest.main()
