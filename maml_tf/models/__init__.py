"""The paper's networks, and ResNet-12, as plain Keras models."""

from maml_tf.models.conv import conv_net, mini_imagenet_conv, omniglot_conv
from maml_tf.models.mlp import mlp, omniglot_dense
from maml_tf.models.recurrent import gru_regressor
from maml_tf.models.resnet import resnet12

__all__ = ["conv_net", "gru_regressor", "mini_imagenet_conv", "mlp", "omniglot_conv", "omniglot_dense", "resnet12"]
