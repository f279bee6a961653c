"""Measures a trained policy on the test tasks again.

The settings are those of the training: without further flags the returns that it reported come out again. With
--pretrained instead of --logdir they are those of a policy that comes with the package. Writes results.json, the
figures, and videos of two tasks before and after a gradient step.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command
from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments.common import binary
from maml_tf.experiments.meta_rl.binary import VIDEOS
from maml_tf.experiments.meta_rl.config import MetaRLConfig

_SETTINGS = [field for field in settings(MetaRLConfig).values() if field.for_evaluation]


def experiment(values: Mapping[str, Any]) -> str:
    """Evaluates."""
    from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy, evaluate_again

    logdir, name = values["logdir"], values["pretrained"]
    method = values["method"] or "maml"
    trained = TrainedPolicy.of_entry(name) if name else TrainedPolicy.of_training(logdir, method)
    config = trained.config.for_evaluation(given(values, _SETTINGS))
    output = values["output"] or (f"runs/{name}" if name else str(pathlib.Path(logdir, "evaluation")))
    rows = evaluate_again(dataclasses.replace(trained, config=config), output, values["videos"])
    return binary.report(rows, output)


def main() -> None:
    """Runs the command."""
    flags.DEFINE_string("logdir", None, "Directory of the training: the --logdir of the binary that trained.")
    flags.DEFINE_string("method", None, "Method whose policy is measured, by default maml.")
    flags.DEFINE_string(
        "pretrained", None, "Policy of the package instead of --logdir: a name of pretrained.available()."
    )
    flags.DEFINE_string(
        "output", None, "Directory for all that is written, by default evaluation in --logdir, or runs/<--pretrained>."
    )
    flags.DEFINE_enum("videos", "gif", VIDEOS, "Format of the videos of two tasks before and after a step.")
    binary.define_task_a_thread(flags)
    define_flags(flags, _SETTINGS, "By default the training's.")
    flags.mark_flags_as_mutual_exclusive(["logdir", "pretrained"], required=True)
    flags.mark_flags_as_mutual_exclusive(["method", "pretrained"])
    command.run(__doc__, experiment, chosen=_SETTINGS)
