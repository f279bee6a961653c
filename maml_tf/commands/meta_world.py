"""Trains and evaluates MAML with TRPO, or another method, on Meta-World's ML1 and ML10, which do not tell their goals.

`python3 bin/bootstrap.py meta_world` runs it in an environment of its own, because Meta-World needs MuJoCo 3.3.0.
Prints returns and success rates after each number of gradient steps on test goals that no training has seen, and
writes results.json, the figures, videos, the policies and TensorBoard's events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maml_tf.commands import command
from maml_tf.commands.meta_rl import define_in
from maml_tf.rl.environments.meta_world import NAMES


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags."""
    flags.DEFINE_enum("benchmark", NAMES[0], NAMES, "ML1 with one kind of task, or ML10 with ten.")
    return define_in(lambda values: values["benchmark"], NAMES, flags)


def main() -> None:
    """Runs the command."""
    command.run_experiment(__doc__, define)
