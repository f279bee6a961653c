"""The algorithms by name."""

from typing import Any

from maml_tf.methods import methods
from maml_tf.registry import Registry

#: Each file of this folder registers its own; a user's file does so by `algorithms.register(name, algorithm)`.
algorithms: Registry = Registry("algorithm")


def of_method(name: str, first_order: bool = False) -> Any:
    """Returns the algorithm with which the learner of a method of `maml_tf.methods` trains.

    Args:
        name: The method's name.
        first_order: Whether MAML is to be first order.
    """
    algorithm = methods[name].algorithm
    return algorithms["maml_first_order" if first_order and algorithm == "maml" else algorithm]
