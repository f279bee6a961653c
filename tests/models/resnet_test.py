"""ResNet-12: its parts; residual_gradients_test.py has its meta-gradient."""

import keras
import numpy as np
import pytest

from maml_tf.models import resnet12


def test_it_is_the_usual_network():
    model = resnet12(20)

    widths = (64, 160, 320, 640)
    inputs = (3, *widths[:-1])
    expected = sum(9 * (i * w + 2 * w * w) + i * w + 4 * 2 * w for i, w in zip(inputs, widths, strict=True))
    assert model.count_params() == expected + 640 * 20 + 20
    assert [model.get_layer(f"block{n}_pool").output.shape[1:] for n in (1, 2, 3, 4)] == [
        (side, side, width) for side, width in zip((42, 21, 10, 5), widths, strict=True)
    ]
    assert model.get_layer("mean").output.shape == (None, 640)


def test_a_block_is_three_convolutions_and_a_shortcut():
    model = resnet12(2, input_shape=(16, 16, 2), filters=2, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 2))
    weights = {weight.path: weight.numpy() for weight in model.weights}

    def normalized(maps, name):
        assert (weights[f"{name}_norm/gamma"] == 1).all() and (weights[f"{name}_norm/beta"] == 0).all()
        return (maps - maps.mean((0, 1, 2))) / np.sqrt(maps.var((0, 1, 2)) + 1e-3)

    def convolved(maps, name):
        kernel, padded = weights[f"{name}/kernel"], np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(padded[:, i : i + 16, j : j + 16] @ kernel[i, j] for i in range(3) for j in range(3))

    def leaky(maps):
        return np.where(maps > 0, maps, 0.1 * maps)

    maps = leaky(normalized(convolved(x, "block1_conv1"), "block1_conv1"))
    maps = leaky(normalized(convolved(maps, "block1_conv2"), "block1_conv2"))
    maps = normalized(convolved(maps, "block1_conv3"), "block1_conv3")
    maps = leaky(maps + normalized(x @ weights["block1_shortcut/kernel"][0, 0], "block1_shortcut"))
    expected = maps.reshape(3, 8, 2, 8, 2, 2).max((2, 4))
    received = keras.Model(model.input, model.get_layer("block1_pool").output)(x)
    np.testing.assert_allclose(received, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_shape": (15, 84, 3)}, "at least 16 x 16 pixels"),
        ({"input_shape": (84, 84)}, "tuple of 3 sizes"),
        ({"filters": 0}, "Received: filters=0"),
        ({"drop_rate": 1.0}, "Received: drop_rate=1.0"),
        ({"batch_statistics": "never"}, "Received: batch_statistics='never'"),
        ({"norm_steps": 0}, "Received: norm_steps=0"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        resnet12(**wrong)
