"""Trains and evaluates few-shot classification of Omniglot characters (Section 5.2 of the paper, Tables 1 and 3).

A training writes checkpoints and the weights that did best on the validation characters; --mode=evaluate measures
these on the test characters, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments import binary, classification_binary

_DATASET = "omniglot"
_OPTIONS = classification_binary.define_classification_flags(flags, _DATASET)


def experiment(values: Mapping[str, Any]) -> str:
    """Trains or evaluates."""
    return classification_binary.run(values, _DATASET, _OPTIONS)


if __name__ == "__main__":
    binary.run(app, flags, experiment)
