"""Trains and evaluates MAML with TRPO and its baselines on the ant (Section 5.3 of the paper, Figure 5).

--task=velocity walks at a velocity between 0 and 3 that each task sets, --task=direction forwards or backwards. Prints
the returns after 0 to 4 gradient steps on the 40 tasks of the paper's figure, and writes results.json, the figures,
videos, the policies and TensorBoard's events. An ant that falls ends its rollout early; --budget counts rollouts in
steps, nearly as the original does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maml_tf.commands import command
from maml_tf.commands.meta_rl import define_in


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags."""
    flags.DEFINE_enum("task", "velocity", ["velocity", "direction"], "What differs between tasks.")
    return define_in(lambda values: f"ant_{values['task']}", ("ant_velocity", "ant_direction"), flags)


def main() -> None:
    """Runs the command."""
    command.run_experiment(__doc__, define)
