"""ResNet-12, the larger network of few-shot image classification."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from maml_tf.checks import choice, whole_number
from maml_tf.layers import DropBlock
from maml_tf.models.parts import (
    BATCH_STATISTICS,
    Initializer,
    batch_normalization,
    check_drop_rate,
    check_norm_steps,
    check_sizes,
    fresh,
    make_head,
    make_input,
    residual_convolution,
)

# Filters of the four blocks, relative to the first: by default 64, 160, 320 and 640.
_WIDTHS = (1, 2.5, 5, 10)
_SLOPE = 0.1
_BLOCK_SIZE = 5


def resnet12(
    ways: int = 5,
    *,
    input_shape: Sequence[int] = (84, 84, 3),
    filters: int = 64,
    drop_rate: float = 0.0,
    head_initializer: Initializer = "glorot_uniform",
    batch_statistics: str = "always",
    norm_steps: int | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "resnet12",
) -> keras.Model:
    """Builds ResNet-12: four residual blocks of three 3x3 convolutions, and the mean over the last map.

    Each block is `pool(leaky_relu(norm(conv(a(norm(conv(a(norm(conv(x)))))))) + norm(conv_1x1(x))))` with
    `a = leaky_relu` of slope 0.1 and 2x2 maximum pooling. The normalization has exact second derivatives and a scale.

    Args:
        ways: Number of classes.
        input_shape: Height, width and channels of an image, at least 16 x 16.
        filters: Filters of the first block; the others have 2.5, 5 and 10 times as many.
        drop_rate: Fraction of the feature maps to drop in training, also in inner steps: by dropout after the first
            two blocks, by DropBlock with squares of side 5 after the last two.
        head_initializer: Initializer of the output layer's kernel.
        batch_statistics: "always", "training" or "support", see `maml_tf.models.conv_net`.
        norm_steps: Number of inner steps for which batch normalization has its own values, see
            `maml_tf.models.conv_net`; None uses one batch normalization for all steps.
        dtype: Data type or policy of the layers; None for Keras' default policy. Logits have the weights' data type.
        name: The model's name.

    Returns:
        A built model from [batch, height, width, channels] to logits [batch, ways]; layers block1_conv1, block1_norm1,
        block1_activation1, ..., block1_shortcut, ..., mean, head.

    Raises:
        ValueError: If an argument is out of range.

    Source: Oreshkin, Rodriguez and Lacoste, TADAM, 2018; with the filters, slope and drop of Lee, Maji, Ravichandran
    and Soatto, Meta-Learning with Differentiable Convex Optimization, 2019.

    Example:
    >>> from maml_tf.models import resnet12
    >>> resnet12().count_params()
    12427525
    """
    ways, filters = whole_number("ways", ways, minimum=1), whole_number("filters", filters, minimum=1)
    height, width, _ = input_shape = check_sizes("input_shape", input_shape, rank=3)
    if min(height, width) < 16:
        raise ValueError(
            f"Expected images of at least 16 x 16 pixels for four poolings. Received: input_shape={input_shape}"
        )
    check_drop_rate(drop_rate)
    choice("batch_statistics", batch_statistics, BATCH_STATISTICS)
    check_norm_steps(norm_steps, "batch")
    policy = keras.dtype_policies.get(dtype)

    def convolution(x, size, width, name):
        x = residual_convolution(x, size, width, policy, name)
        norm = batch_normalization(batch_statistics, norm_steps, scale=True, dtype=policy, name=f"{name}_norm")
        return norm(x)

    def activation(x, name):
        return keras.layers.LeakyReLU(_SLOPE, dtype=policy, name=name)(x)

    inputs = x = make_input(input_shape, policy)
    for number_, share in enumerate(_WIDTHS, start=1):
        block, width = f"block{number_}", int(share * filters)
        shortcut = convolution(x, 1, width, f"{block}_shortcut")
        for layer in (1, 2, 3):
            x = convolution(x, 3, width, f"{block}_conv{layer}")
            if layer < 3:
                x = activation(x, f"{block}_activation{layer}")
        x = keras.layers.Add(dtype=policy, name=f"{block}_add")([x, shortcut])
        x = activation(x, f"{block}_activation3")
        x = keras.layers.MaxPooling2D(2, dtype=policy, name=f"{block}_pool")(x)
        if drop_rate:
            drop = (
                keras.layers.Dropout(drop_rate, dtype=policy, name=f"{block}_drop")
                if number_ < 3
                else DropBlock(drop_rate, _BLOCK_SIZE, dtype=policy, name=f"{block}_drop")
            )
            x = drop(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=policy, name="mean")(x)
    return keras.Model(inputs, make_head(x, ways, fresh(head_initializer), policy), name=name)
