"""Trains and evaluates few-shot classification of mini-ImageNet's classes (Section 5.2 of the paper, Table 1).

A training writes checkpoints and the weights that did best on the validation classes; --mode=evaluate measures
these on the test classes, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maml_tf.commands import command, few_shot


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags."""
    return few_shot.define_on("mini_imagenet", flags)


def main() -> None:
    """Runs the command."""
    command.run_experiment(__doc__, define)
