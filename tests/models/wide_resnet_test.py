"""WRN-28-10: its parts; residual_gradients_test.py has its meta-gradient."""

import keras
import numpy as np
import pytest

from maml_tf.models import wide_resnet


def test_it_is_the_published_network():
    model = wide_resnet(10, input_shape=(32, 32, 3))

    assert model.count_params() == 36_479_194  # As the authors' program counts.
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 28
    assert len([name for name in convolutions if "shortcut" not in name]) == 1 + 3 * 4 * 2
    assert [name for name in convolutions if "shortcut" in name] == [f"group{n}_block1_shortcut" for n in (1, 2, 3)]
    assert [model.get_layer(f"group{n}_block4_add").output.shape[1:] for n in (1, 2, 3)] == [
        (32, 32, 160),
        (16, 16, 320),
        (8, 8, 640),
    ]


def test_a_block_is_two_convolutions_after_their_activations():
    model = wide_resnet(2, input_shape=(6, 6, 2), depth=10, widening=2, filters=2, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 2))
    weights = {weight.path: weight.numpy() for weight in model.weights}

    def convolved(maps, name):
        kernel, padded = weights[f"{name}/kernel"], np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(padded[:, i : i + 6, j : j + 6] @ kernel[i, j] for i in range(3) for j in range(3))

    def activated(maps):
        return np.maximum((maps - maps.mean((0, 1, 2))) / np.sqrt(maps.var((0, 1, 2)) + 1e-3), 0)

    before = activated(convolved(x, "conv"))
    inner = convolved(activated(convolved(before, "group1_block1_conv1")), "group1_block1_conv2")
    expected = inner + before @ weights["group1_block1_shortcut/kernel"][0, 0]
    received = keras.Model(model.input, model.get_layer("group1_block1_add").output)(x)
    np.testing.assert_allclose(received, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 27}, "4 more than a multiple of 6. Received: depth=27"),
        ({"widening": 0}, "Received: widening=0"),
        ({"filters": 0}, "Received: filters=0"),
        ({"input_shape": (84, 84)}, "tuple of 3 sizes"),
        ({"drop_rate": 1.0}, "Received: drop_rate=1.0"),
        ({"batch_statistics": "never"}, "Received: batch_statistics='never'"),
        ({"norm_steps": 0}, "Received: norm_steps=0"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wide_resnet(**wrong)
