"""Wide residual networks, the largest backbones of few-shot image classification."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from maml_tf.checks import choice, whole_number
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


def wide_resnet(
    ways: int = 5,
    *,
    input_shape: Sequence[int] = (84, 84, 3),
    depth: int = 28,
    widening: int = 10,
    filters: int = 16,
    drop_rate: float = 0.0,
    head_initializer: Initializer = "glorot_uniform",
    batch_statistics: str = "always",
    norm_steps: int | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "wide_resnet",
) -> keras.Model:
    """Builds WRN-28-10: three groups of pre-activated residual blocks, and the mean over the last map.

    A block is `conv(drop(relu(norm(conv(a))))) + x` with `a = relu(norm(x))` and 3x3 convolutions. The first block of a
    group, which is wider than what it gets, has `conv_1x1(a)` in place of `x`; those of the second and third group have
    stride 2. The normalization has exact second derivatives and a scale.

    Args:
        ways: Number of classes.
        input_shape: Height, width and channels of an image.
        depth: Number of convolutions, the shortcuts' among them: 4 more than a multiple of 6.
        widening: The groups have `widening` times 1, 2 and 4 times `filters`.
        filters: Filters of the convolution before the first group.
        drop_rate: Fraction of the numbers that each block drops between its convolutions in training, also in inner
            steps.
        head_initializer: Initializer of the output layer's kernel.
        batch_statistics: "always", "training" or "support", see `maml_tf.models.conv_net`.
        norm_steps: Number of inner steps for which batch normalization has its own values, see
            `maml_tf.models.conv_net`; None uses one batch normalization for all steps.
        dtype: Data type or policy of the layers; None for Keras' default policy. Logits have the weights' data type.
        name: The model's name.

    Returns:
        A built model from [batch, height, width, channels] to logits [batch, ways]; layers conv, group1_block1_norm1,
        group1_block1_conv1, ..., group1_block1_shortcut, ..., norm, mean, head.

    Raises:
        ValueError: If an argument is out of range.

    Source: Zagoruyko and Komodakis, Wide Residual Networks, 2016.

    Example:
    >>> from maml_tf.models import wide_resnet
    >>> wide_resnet(10, input_shape=(32, 32, 3)).count_params()
    36479194
    """
    ways, filters = whole_number("ways", ways, minimum=1), whole_number("filters", filters, minimum=1)
    input_shape, widening = check_sizes("input_shape", input_shape, rank=3), whole_number("widening", widening, 1)
    blocks, rest = divmod(whole_number("depth", depth, minimum=10) - 4, 6)
    if rest:
        raise ValueError(f"Expected a depth of 4 more than a multiple of 6. Received: depth={depth}")
    check_drop_rate(drop_rate)
    choice("batch_statistics", batch_statistics, BATCH_STATISTICS)
    check_norm_steps(norm_steps, "batch")
    policy = keras.dtype_policies.get(dtype)

    def activated(x, name):
        norm = batch_normalization(batch_statistics, norm_steps, scale=True, dtype=policy, name=name)
        return keras.layers.ReLU(dtype=policy, name=f"{name}_activation")(norm(x))

    inputs = make_input(input_shape, policy)
    x = residual_convolution(inputs, 3, filters, policy, "conv")
    for group in (1, 2, 3):
        width = filters * widening * 2 ** (group - 1)
        for number_ in range(1, blocks + 1):
            block, stride = f"group{group}_block{number_}", 2 if group > 1 and number_ == 1 else 1
            before = activated(x, f"{block}_norm1")
            if number_ == 1:
                x = residual_convolution(before, 1, width, policy, f"{block}_shortcut", stride)
            inner = residual_convolution(before, 3, width, policy, f"{block}_conv1", stride)
            inner = activated(inner, f"{block}_norm2")
            if drop_rate:
                inner = keras.layers.Dropout(drop_rate, dtype=policy, name=f"{block}_drop")(inner)
            inner = residual_convolution(inner, 3, width, policy, f"{block}_conv2")
            x = keras.layers.Add(dtype=policy, name=f"{block}_add")([x, inner])
    x = keras.layers.GlobalAveragePooling2D(dtype=policy, name="mean")(activated(x, "norm"))
    return keras.Model(inputs, make_head(x, ways, fresh(head_initializer), policy), name=name)
