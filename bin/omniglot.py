"""Trains and evaluates few-shot classification of Omniglot characters (Section 5.2 of the paper, Tables 1 and 3).

A training writes checkpoints and the weights that did best on the validation characters; --mode=evaluate measures
these on the test characters, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Until binary.run: a fifth of the time of the imports is the collector's.
gc.disable()

from absl import app, flags

from maml_tf.experiments import binary, classification, options
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.classification_presets import make_config, presets

_DATASET = "omniglot"
_OPTIONS = [option for option in options.options(ClassificationConfig) if option.name != "dataset"]

flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "Whether to train, or to evaluate what was trained.")
flags.DEFINE_enum("preset", "5way_1shot", presets(_DATASET), "Settings that the other flags change.")
binary.define_training_flags(
    flags, f"runs/{_DATASET}", "Directory for checkpoints, results.json, the figure and events."
)
options.define_flags(flags, _OPTIONS, "By default the preset's.")


def experiment(values: Mapping[str, Any]) -> str:
    """Trains or evaluates."""
    given, logdir = options.given(values, _OPTIONS), values["logdir"]
    if values["mode"] == "evaluate":
        return binary.report(classification.evaluate(logdir, given), logdir, percent=True)
    classification.train(make_config(_DATASET, values["preset"], **given), logdir, values["resume"])
    return f"Written to {logdir}"


if __name__ == "__main__":
    binary.run(app, flags, experiment)
