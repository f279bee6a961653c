"""Trains and evaluates MAML and its baselines on sinusoid regression (Section 5.1 of the paper).

    maml-tf sinusoid
    maml-tf sinusoid --method=all --logdir=runs/sinusoid_all

Writes results.json, the figures, the trained networks and TensorBoard's events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maml_tf.commands import command
from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments.common import binary
from maml_tf.experiments.sinusoid.config import SinusoidConfig

_SETTINGS = list(settings(SinusoidConfig).values())


def configuration(values: Mapping[str, Any]) -> SinusoidConfig:
    """Makes the configuration of the flags' values."""
    return SinusoidConfig(**given(values, _SETTINGS))


def experiment(values: Mapping[str, Any]) -> str:
    """Trains and evaluates."""
    from maml_tf.experiments.sinusoid import evaluate

    rows = evaluate.run(configuration(values), values["logdir"], values["resume"])
    return f"{evaluate.table(rows)}\n\nWritten to {values['logdir']}"


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags."""
    binary.define_training_flags(flags, "runs/sinusoid", "Directory for checkpoints, results.json, figures and events.")
    define_flags(flags, _SETTINGS)
    return command.Experiment(_SETTINGS, configuration, experiment, workers=True)


def main() -> None:
    """Runs the command."""
    command.run_experiment(__doc__, define)
