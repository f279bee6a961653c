"""The paper's networks, ResNet-12 and wide residual networks, as plain Keras models."""

from maml_tf.models.conv import conv_net, mini_imagenet_conv, omniglot_conv
from maml_tf.models.mlp import mlp, omniglot_dense
from maml_tf.models.recurrent import gru_regressor
from maml_tf.models.resnet import resnet12
from maml_tf.models.wide_resnet import wide_resnet

__all__ = [
    "conv_net",
    "gru_regressor",
    "mini_imagenet_conv",
    "mlp",
    "omniglot_conv",
    "omniglot_dense",
    "resnet12",
    "wide_resnet",
]
