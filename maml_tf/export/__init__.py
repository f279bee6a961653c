"""Meta-learned models outside of their training program: they adapt on servers with TensorFlow, and on devices."""

from maml_tf.export.litert import save_litert
from maml_tf.export.saved_model import save

__all__ = ["save", "save_litert"]
