"""The paper's networks as plain Keras models."""

from maml_tf.models.conv import conv_net, mini_imagenet_conv, omniglot_conv
from maml_tf.models.mlp import mlp, omniglot_dense
from maml_tf.models.recurrent import gru_regressor

__all__ = ["conv_net", "gru_regressor", "mini_imagenet_conv", "mlp", "omniglot_conv", "omniglot_dense"]
