"""Meta-learned weights that come with the package: `maml_tf.pretrained.load("omniglot_5way_1shot")`."""

from maml_tf.pretrained.library import available, card, load, trained_policy
from maml_tf.pretrained.publishing import publish, unpack

__all__ = ["available", "card", "load", "publish", "trained_policy", "unpack"]
