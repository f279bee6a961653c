"""Meta-learned weights that come with the package: `maml_tf.pretrained.load("omniglot_5way_1shot")`."""

from maml_tf.pretrained.library import available, card, load, weights_path
from maml_tf.pretrained.publishing import publish, unpack

__all__ = ["available", "card", "load", "publish", "unpack", "weights_path"]
