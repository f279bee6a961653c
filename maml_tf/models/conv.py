"""Convolutional networks for few-shot image classification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from maml_tf.checks import choice, flag, whole_number
from maml_tf.layers import NormalizedReLU
from maml_tf.models.parts import (
    BATCH_STATISTICS,
    NORMALIZATIONS,
    Initializer,
    check_norm_steps,
    check_sizes,
    fresh,
    make_head,
    make_input,
    normalized_activation,
)

_DOWNSAMPLING = ("stride", "pool")
_READOUTS = ("mean", "flatten")


def conv_net(
    input_shape: Sequence[int],
    ways: int = 5,
    *,
    filters: int = 64,
    blocks: int = 4,
    downsampling: str = "stride",
    readout: str = "mean",
    activation: str | Callable[[Any], Any] = "relu",
    kernel_initializer: Initializer = "glorot_uniform",
    head_initializer: Initializer = "glorot_uniform",
    normalization: str | None = "batch",
    batch_statistics: str = "always",
    norm_steps: int | None = None,
    use_bias: bool = False,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "conv_net",
) -> keras.Model:
    """Builds blocks of 3x3 convolution, normalization and activation, followed by a linear layer.

    Args:
        input_shape: Height, width and channels of an image.
        ways: Number of classes.
        filters: Number of filters of every convolution.
        blocks: Number of blocks; each halves height and width.
        downsampling: "stride" for convolutions with stride 2 (halves are rounded up), "pool" for 2x2 maximum
            pooling after the activation (halves are rounded down).
        readout: "mean" over the last feature map's positions, or "flatten".
        activation: Activation of every block.
        kernel_initializer: Initializer of the convolutions' kernels.
        head_initializer: Initializer of the output layer's kernel. It matters most for the first inner step, whose
            gradient reaches the convolutions through this kernel.
        normalization: Between convolution and activation: None, "batch" (no gamma) or "layer".
        batch_statistics: "always" as in the paper's code (evaluation is transductive), "training" for moving averages
            in inference, see `maml_tf.layers.BatchNormalization`, or "support" for the statistics of the last batch
            in training, which in adaptation is the support set.
        norm_steps: Number of inner steps for which batch normalization has its own scale, offset and averages, see
            `maml_tf.layers.PerStepBatchNormalization`; None uses one batch normalization for all steps.
        use_bias: Whether convolutions have biases. Batch normalization cancels a bias: its gradient is exactly zero,
            and it only costs time. Use biases with `normalization=None`, or to have the variables of the authors' code.
        dtype: Data type or policy of the layers; None for Keras' default policy. Logits have the weights' data type.
        name: The model's name.

    Returns:
        A built model from [batch, height, width, channels] to logits [batch, ways]; layers conv1, norm1,
        activation1, (pool1,) conv2, ..., mean or flatten, head. In the paper's blocks norm1, ... are
        `maml_tf.layers.NormalizedReLU`, which activates and pools too.

    Raises:
        ValueError: If an argument is out of range or the image is too small for the number of blocks.

    Example:
    >>> from maml_tf.models import conv_net
    >>> conv_net((16, 16, 3), ways=2, filters=8, blocks=2).output_shape
    (None, 2)

    Source: Section 5.2, after Vinyals et al., Matching Networks, 2016.
    """
    input_shape = check_sizes("input_shape", input_shape, rank=3)
    ways, filters = whole_number("ways", ways, minimum=1), whole_number("filters", filters, minimum=1)
    blocks, use_bias = whole_number("blocks", blocks, minimum=1), flag("use_bias", use_bias)
    choice("downsampling", downsampling, _DOWNSAMPLING)
    choice("readout", readout, _READOUTS)
    choice("normalization", normalization, NORMALIZATIONS)
    choice("batch_statistics", batch_statistics, BATCH_STATISTICS)
    check_norm_steps(norm_steps, normalization)
    pool = downsampling == "pool"
    if pool and min(input_shape[:2]) < 2**blocks:
        raise ValueError(
            f"Expected images of at least {2**blocks} x {2**blocks} for {blocks} blocks with pooling. "
            f"Received: input_shape={input_shape}"
        )
    policy = keras.dtype_policies.get(dtype)
    inputs = x = make_input(input_shape, policy)
    for number in range(1, blocks + 1):
        convolution = keras.layers.Conv2D(
            filters,
            3,
            strides=1 if pool else 2,
            padding="same",
            use_bias=use_bias,
            kernel_initializer=fresh(kernel_initializer),
            dtype=policy,
            name=f"conv{number}",
        )
        plain = normalization == "batch" and batch_statistics == "always" and norm_steps is None
        if activation == "relu" and plain:
            x = NormalizedReLU(pool, dtype=policy, name=f"norm{number}")(convolution(x))
            continue
        x = normalized_activation(
            convolution(x),
            number,
            activation=activation,
            normalization=normalization,
            batch_statistics=batch_statistics,
            norm_steps=norm_steps,
            dtype=policy,
        )
        if pool:
            x = keras.layers.MaxPooling2D(2, padding="valid", dtype=policy, name=f"pool{number}")(x)
    read = keras.layers.GlobalAveragePooling2D if readout == "mean" else keras.layers.Flatten
    x = read(dtype=policy, name=readout)(x)
    return keras.Model(inputs, make_head(x, ways, fresh(head_initializer), policy), name=name)


def omniglot_conv(ways: int = 5, **options: Any) -> keras.Model:
    """Builds the paper's Omniglot network: 4 strided convolutions of 64 filters, mean over the last map.

    Args:
        ways: Number of classes.
        **options: Arguments of `conv_net`. The authors' code has `head_initializer=RandomNormal(stddev=1.0)`.

    Returns:
        A built model from [batch, 28, 28, 1] to logits [batch, ways].

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> from maml_tf.models import omniglot_conv
    >>> [layer.name for layer in omniglot_conv().layers][1:4]
    ['conv1', 'norm1', 'conv2']

    Source: Section 5.2 and Appendix A.1.
    """
    return conv_net(**{"input_shape": (28, 28, 1), "ways": ways, "name": "omniglot_conv", **options})


def mini_imagenet_conv(ways: int = 5, **options: Any) -> keras.Model:
    """Builds the paper's mini-ImageNet network: 4 convolutions of 32 filters with pooling, 5x5x32 features.

    Args:
        ways: Number of classes.
        **options: Arguments of `conv_net`.

    Returns:
        A built model from [batch, 84, 84, 3] to logits [batch, ways].

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> from maml_tf.models import mini_imagenet_conv
    >>> mini_imagenet_conv().get_layer("flatten").output.shape
    (None, 800)

    Source: Section 5.2 and Appendix A.1, after Ravi and Larochelle, 2017.
    """
    defaults = {"filters": 32, "downsampling": "pool", "readout": "flatten", "name": "mini_imagenet_conv"}
    return conv_net(**{"input_shape": (84, 84, 3), "ways": ways, **defaults, **options})
