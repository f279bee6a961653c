"""The algorithms by name."""

from typing import Any

from maml_tf.methods import methods
from maml_tf.registry import Registry

#: Each file of this folder registers its algorithm; a user's file calls `algorithms.register(name, algorithm)`.
algorithms: Registry = Registry("algorithm")


def of_method(name: str, first_order: bool = False, **options: Any) -> Any:
    """Returns the algorithm that trains the learner of a method of `maml_tf.methods`.

    Args:
        name: The method's name.
        first_order: Whether the algorithm must be first order.
        **options: Arguments of the algorithm's constructor, such as a configuration's fields. An option that the
            algorithm does not have must be 0. MAML also takes the options of MAML++.

    Raises:
        ValueError: If the algorithm cannot be first order, or does not have an option that is not 0.
    """
    algorithm = algorithms[methods[name].algorithm]
    options = {key: value for key, value in options.items() if value}
    if methods[name].algorithm == "maml" and options:
        algorithm = type(algorithms["maml_plus_plus"])(0, 0)
    if first_order and not algorithm.first_order:
        options["first_order"] = True
    if unknown := sorted(set(options) - set(algorithm.get_config())):
        raise ValueError(
            f"Expected options of {name!r} among {sorted(algorithm.get_config())}. Received: {', '.join(unknown)}"
        )
    return algorithm.from_config({**algorithm.get_config(), **options}) if options else algorithm
