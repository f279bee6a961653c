"""How many threads or worker processes simulate, where the caller has not said."""

from __future__ import annotations

import os

_VARIABLE = "MAML_TF_SIMULATION_THREADS"


def default_threads() -> int:
    """Returns the number that the environment variable MAML_TF_SIMULATION_THREADS has; 0 without it.

    Raises:
        ValueError: If it is not a whole number, or is negative.
    """
    text = os.environ.get(_VARIABLE, "").strip() or "0"
    if not text.isdecimal():
        raise ValueError(
            f"Expected the environment variable {_VARIABLE} to be a whole number of at least 0. Received: {text!r}"
        )
    return int(text)
