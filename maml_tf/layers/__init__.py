"""Keras layers that meta-learning needs."""

from maml_tf.layers.context import ContextVector
from maml_tf.layers.counterparts import UpSampling2D, softsign
from maml_tf.layers.drop_block import DropBlock
from maml_tf.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    NormalizedReLU,
    PerStepBatchNormalization,
)

__all__ = [
    "BatchNormalization",
    "ContextVector",
    "DropBlock",
    "GroupNormalization",
    "LayerNormalization",
    "NormalizedReLU",
    "PerStepBatchNormalization",
    "UpSampling2D",
    "softsign",
]
