"""Meta-learned models outside of their training program: adapted where TensorFlow is served."""

from maml_tf.export.saved_model import save

__all__ = ["save"]
