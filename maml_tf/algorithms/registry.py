"""The algorithms by name."""

from maml_tf.registry import Registry

#: Each file of this folder registers its own; a user's file does so by `algorithms.register(name, algorithm)`.
algorithms: Registry = Registry("algorithm")
