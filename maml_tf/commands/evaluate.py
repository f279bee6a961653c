"""Measures the weights of a classification training on the test classes again.

The settings are those stored beside the weights: without further flags the numbers of --mode=evaluate come out again.
With --pretrained instead of --logdir they are the numbers of weights that come with the package.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

import maml_tf
from maml_tf.commands import command
from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.common import binary
from maml_tf.tasks import datasets

_SETTINGS = [field for field in settings(ClassificationConfig).values() if field.for_evaluation]


def environment(values: Mapping[str, Any]) -> Mapping[str, str]:
    """Reads what TensorFlow needs to be told for the training's data set; `experiment` says what is wrong."""
    if values["pretrained"]:
        path = pathlib.Path(maml_tf.__file__).parent / "pretrained" / "weights" / f"{values['pretrained']}.json"
    else:
        path = pathlib.Path(values["logdir"]).expanduser() / "config.json"
    try:
        content = json.loads(path.read_text())
        return datasets[content.get("config", content)["dataset"]].environment
    except (AttributeError, KeyError, OSError, ValueError):
        return {}


def experiment(values: Mapping[str, Any]) -> str:
    """Evaluates."""
    from maml_tf import pretrained
    from maml_tf.experiments.classification.evaluate import evaluate

    logdir, name = values["logdir"], values["pretrained"]
    output = values["output"] or logdir or f"runs/{name}"
    if name:
        logdir = pretrained.unpack(name, output)
    rows = evaluate(logdir, given(values, _SETTINGS), output)
    return binary.report(rows, output, percent=True)


def main() -> None:
    """Runs the command."""
    flags.DEFINE_string("logdir", None, "Directory of the training: the --logdir of the binary that trained.")
    flags.DEFINE_string(
        "pretrained", None, "Weights of the package instead of --logdir: a name of pretrained.available()."
    )
    flags.DEFINE_string(
        "output", None, "Directory for results.json and the figure, by default --logdir, or runs/<--pretrained>."
    )
    binary.define_task_a_thread(flags)
    define_flags(flags, _SETTINGS, "By default the training's.")
    flags.mark_flags_as_mutual_exclusive(["logdir", "pretrained"], required=True)
    command.run(__doc__, experiment, environment, chosen=_SETTINGS)
