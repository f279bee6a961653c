"""Meta-learned weights: the package's own, `maml_tf.pretrained.load("omniglot_5way_1shot")`, and presets of hubs."""

from maml_tf.pretrained.library import available, card, domain_of, load, weights_path
from maml_tf.pretrained.presets import from_preset, model_card, save_to_preset, upload_preset
from maml_tf.pretrained.publishing import publish, unpack

__all__ = [
    "available",
    "card",
    "domain_of",
    "from_preset",
    "load",
    "model_card",
    "publish",
    "save_to_preset",
    "unpack",
    "upload_preset",
    "weights_path",
]
