"""Trains and evaluates few-shot classification of mini-ImageNet's classes (Section 5.2 of the paper, Table 1).

A training writes checkpoints and the weights that did best on the validation classes; --mode=evaluate measures
these on the test classes, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

# TensorFlow reads them when it is imported. oneDNN's convolutions win on maps of this size on every processor;
# TensorFlow turns them on by itself only where there is AVX-512.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Until binary.run: a fifth of the time of the imports is the collector's.
gc.disable()

from absl import app, flags

from maml_tf.experiments import binary, classification_binary

_DATASET = "mini_imagenet"
_OPTIONS = classification_binary.define_classification_flags(flags, _DATASET, left_out=["split"])


def experiment(values: Mapping[str, Any]) -> str:
    """Trains or evaluates."""
    return classification_binary.run(values, _DATASET, _OPTIONS)


if __name__ == "__main__":
    binary.run(app, flags, experiment)
