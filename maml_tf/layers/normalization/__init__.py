"""Normalization layers whose second derivatives are exact."""

from maml_tf.layers.normalization.batch import BatchNormalization
from maml_tf.layers.normalization.group import GroupNormalization
from maml_tf.layers.normalization.layer import LayerNormalization
from maml_tf.layers.normalization.relu import NormalizedReLU

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization", "NormalizedReLU"]
