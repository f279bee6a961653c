"""Measures the weights that a classification training kept on the test classes, as its own evaluation does.

The settings are those stored beside the weights: without further flags the numbers of --mode=evaluate come out again.
With --pretrained instead of --checkpoint they are the numbers of weights that come with the package.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any


def _dataset_of_the_training(arguments: list[str]) -> str | None:
    """Reads the data set's name before flags are, or None where that fails: main says what is wrong."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.lstrip("-").partition("=")
        value = value if equals else following
        try:
            if name == "checkpoint":
                return json.loads((pathlib.Path(value).expanduser() / "config.json").read_text()).get("dataset")
            if name == "pretrained":
                package = pathlib.Path(importlib.util.find_spec("maml_tf").origin).parent
                return json.loads((package / f"pretrained/weights/{value}.json").read_text())["config"].get("dataset")
        except (OSError, ValueError):
            return None
    return None


# TensorFlow reads them when it is imported. For mini-ImageNet the convolutions are those of bin/mini_imagenet.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if _dataset_of_the_training(sys.argv[1:]) == "mini_imagenet":
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Until binary.run: a fifth of the time of the imports is the collector's.
gc.disable()

from absl import app, flags

from maml_tf import pretrained
from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments import binary, classification
from maml_tf.experiments.classification_config import ClassificationConfig

_SETTINGS = [
    field for name, field in settings(ClassificationConfig).items() if field.for_evaluation and name != "steps_per_call"
]

flags.DEFINE_string("checkpoint", None, "Directory of the training: the --logdir of the binary that trained.")
flags.DEFINE_string("pretrained", None, "Instead of it, weights of the package: a name of pretrained.available().")
flags.DEFINE_string(
    "output", None, "Directory for results.json and the figure, by default --checkpoint, or runs/<--pretrained>."
)
binary.define_task_a_thread(flags)
define_flags(flags, _SETTINGS, "By default the training's.")


def experiment(values: Mapping[str, Any]) -> str:
    """Evaluates."""
    checkpoint, name = values["checkpoint"], values["pretrained"]
    output = values["output"] or checkpoint or f"runs/{name}"
    if name:
        checkpoint = pretrained.unpack(name, output)
    rows = classification.evaluate(checkpoint, given(values, _SETTINGS), output)
    return binary.report(rows, output, percent=True)


if __name__ == "__main__":
    flags.mark_flags_as_mutual_exclusive(["checkpoint", "pretrained"], required=True)
    binary.run(app, flags, experiment)
