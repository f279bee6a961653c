"""Writes version_0_1_0/learner.keras: a small trained learner with all of the package's layers, and prints predictions.

Runs with version 0.1.0 of maml_tf alone (commit 7edc691): later versions must load what that one wrote.
"""

import pathlib

import keras
import numpy as np

import maml_tf
from maml_tf import layers

FOLDER = pathlib.Path(__file__).parent / "version_0_1_0"


def draw_episodes():
    """Draws two tasks `((support_x, support_y, query_x), query_y)` of six 4x4 images of two classes."""
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 4, 1)).astype("f")
    y = np.tile(np.arange(6) % 2, (2, 1))
    return (x, y, x), y


def main():
    """Trains, saves and prints."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same")(layers.ContextVector(1)(inputs))
    x = layers.GroupNormalization(1)(layers.NormalizedReLU(pool=True)(x))
    x = keras.layers.Flatten()(layers.BatchNormalization(momentum=0.5)(x))
    x = keras.layers.Dropout(0.5, seed=1)(layers.LayerNormalization()(x))
    learner = maml_tf.MAML(
        keras.Model(inputs, keras.layers.Dense(2)(x)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        maml_tf.Chain([maml_tf.ClipByValue(10.0), maml_tf.LearnedStepSizes(0.1, "layer")]),
        inner_steps=2,
        adapted=maml_tf.matching("."),
    )
    learner.compile(keras.optimizers.Adam(1e-2))
    data = draw_episodes()
    learner.fit(*data, batch_size=2, epochs=2, verbose=0)
    learner.save(FOLDER / "learner.keras")
    # Keras does not save how far a layer's random seeds have advanced.
    learner = keras.saving.load_model(FOLDER / "learner.keras")
    print(learner.predict(data[0], verbose=0)[:, 0].tolist())


if __name__ == "__main__":
    main()
