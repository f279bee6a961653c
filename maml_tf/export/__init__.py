"""Meta-learned models outside of their training program: adapted where TensorFlow is served, and on devices."""

from maml_tf.export.litert import save_litert
from maml_tf.export.saved_model import save

__all__ = ["save", "save_litert"]
