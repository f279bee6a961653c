"""Trains and evaluates few-shot classification of mini-ImageNet's classes (Section 5.2 of the paper, Table 1).

A training writes checkpoints and the weights that did best on the validation classes; --mode=evaluate measures
these on the test classes, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments import binary, classification_binary

_DATASET = "mini_imagenet"
_OPTIONS = classification_binary.define_classification_flags(flags, _DATASET, left_out=["split"])


def experiment(values: Mapping[str, Any]) -> str:
    """Trains or evaluates."""
    return classification_binary.run(values, _DATASET, _OPTIONS)


def environment(values: Mapping[str, Any]) -> dict[str, str]:
    """oneDNN's convolutions win on maps of this size, and TensorFlow has them on by itself only with AVX-512."""
    return {"TF_ENABLE_ONEDNN_OPTS": "1"}


if __name__ == "__main__":
    binary.run(app, flags, experiment, environment)
