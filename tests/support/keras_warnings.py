"""Warnings of Keras itself, which the project's code cannot avoid."""

import warnings


def ignore_array_copy() -> None:
    """Ignores, in the test that runs, that Keras reads variables in a way NumPy gives up."""
    warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
