"""Keras layers that meta-learning needs."""

from maml_tf.layers.normalization import BatchNormalization, GroupNormalization, LayerNormalization, NormalizedReLU

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization", "NormalizedReLU"]
