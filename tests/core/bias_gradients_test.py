"""Tests of maml_tf.core.bias_gradients: graphs of second derivatives that TensorFlow's oneDNN pass would close."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf


def _residual(filters=8, blocks=6):
    """Blocks whose shortcut is a convolution with a bias, as those of keras.applications' ResNet50V2."""
    inputs = keras.Input((8, 8, filters))
    x = inputs
    for _ in range(blocks):
        x = keras.layers.ReLU()(x)
        inside = keras.layers.Conv2D(filters, 1, activation="relu")(x)
        x = keras.layers.Conv2D(filters, 1)(inside) + keras.layers.Conv2D(filters, 1)(x)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)))


def _plain():
    return keras.Sequential(
        [keras.Input((8, 8, 3)), *(keras.layers.Conv2D(4, 3, activation="relu", strides=2) for _ in range(2)),
         keras.layers.Flatten(), keras.layers.Dense(1)]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "adapted"), [(_residual, None), (_residual, "bias"), (_plain, "bias"), (_plain, "kernel")]
)
def test_a_graph_has_the_meta_gradient_of_eager_execution(model, adapted):
    model = model()
    chosen = {} if adapted is None else {"adapted": maml_tf.matching(adapted)}
    learner = maml_tf.MAML(model, "mse", 0.05, 2, **chosen)
    learner.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 3, 4, *model.input_shape[1:])).astype("float32")
    y = generator.normal(size=(2, 3, 4, 1)).astype("float32")
    episodes = (x[0], y[0], x[1]), y[1]
    start = learner.get_weights()

    learner.train_on_batch(*episodes)
    graph = learner.get_weights()
    learner.set_weights(start)
    tf.config.run_functions_eagerly(True)
    try:
        learner.train_on_batch(*episodes)
    finally:
        tf.config.run_functions_eagerly(False)

    for before, here, there in zip(start, graph, learner.get_weights(), strict=True):
        np.testing.assert_allclose(here - before, there - before, rtol=2e-3, atol=2e-6)
