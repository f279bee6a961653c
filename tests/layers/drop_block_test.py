"""DropBlock: squares are dropped, as often as asked for, and the rest is scaled."""

import keras
import numpy as np
import pytest

from maml_tf.layers import DropBlock


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_what_is_dropped_is_squares(side):
    layer = DropBlock(0.2, block_size=side, seed=1)
    dropped = layer(np.ones((40, 9, 8, 3), "float32"), training=True).numpy()

    zeros = dropped == 0
    # A position is dropped if and only if it lies in a whole square of zeros.
    squares = np.lib.stride_tricks.sliding_window_view(zeros, (side, side), axis=(1, 2)).all((-1, -2))
    covered = np.zeros_like(zeros)
    for row in range(side):
        for column in range(side):
            covered[:, row : row + squares.shape[1], column : column + squares.shape[2]] |= squares
    np.testing.assert_array_equal(covered, zeros)
    # Squares that overlap drop less than the rate.
    assert 0.12 < zeros.mean() < 0.21
    assert len(np.unique(dropped)) == 2
    np.testing.assert_allclose(dropped.mean(), 1, rtol=1e-5)


def test_it_drops_in_training_alone_and_anew_each_time():
    layer, inputs = DropBlock(0.3, seed=1), np.ones((4, 8, 8, 2), "float32")
    np.testing.assert_array_equal(layer(inputs), inputs)
    assert not np.array_equal(layer(inputs, training=True), layer(inputs, training=True))
    np.testing.assert_array_equal(DropBlock(0.0)(inputs, training=True), inputs)


def test_a_block_on_a_smaller_map_is_the_map():
    dropped = DropBlock(0.5, block_size=7, seed=1)(np.ones((64, 2, 3, 1), "float32"), training=True).numpy()
    assert 0.2 < (dropped == 0).mean() < 0.7


def test_it_is_saved_with_its_settings():
    layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(DropBlock(0.25, 3, seed=7)))
    assert (layer.rate, layer.block_size, layer.seed) == (0.25, 3, 7)


@pytest.mark.parametrize("wrong", [{"rate": 1.0}, {"rate": -0.1}, {"rate": 0.1, "block_size": 0}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Received: (rate|block_size)="):
        DropBlock(**wrong)
