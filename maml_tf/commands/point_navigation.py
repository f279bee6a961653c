"""Trains and evaluates MAML with TRPO and its baselines on 2D navigation (Section 5.3 of the paper, Figure 4).

Prints the returns after 0 to 4 gradient steps on the 40 goals of the paper's figure, and writes results.json, the
figures, the policies and TensorBoard's events. The paper's text has an inner step size of 0.1; the run that Figure 4
shows had 0.5 in training and for the first step, 0.25 after it: --inner_learning_rate=0.5. All that its code did
otherwise: --inner_learning_rate=0.5 --products=finite_differences --budget --goal=square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maml_tf.commands import command
from maml_tf.commands.meta_rl import define_in

_VARIANTS = {
    ("distance", "disc"): "point_navigation",
    ("squared", "disc"): "point_navigation_squared",
    ("distance", "square"): "point_navigation_square_goal",
}


def environment(values: Mapping[str, Any]) -> str:
    """Returns the environment that the flags mean."""
    variant = values["reward"], values["goal"]
    if variant not in _VARIANTS:
        raise ValueError(
            "Expected --reward=squared or --goal=square alone: the one is the paper's text, the other its code. "
            "Received: both"
        )
    return _VARIANTS[variant]


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags."""
    flags.DEFINE_enum(
        "reward", "distance", ["distance", "squared"],
        "Negative distance to the goal, as in the code that made Figure 4, or its square, as in the paper's text.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "goal", "disc", ["disc", "square"],
        "An episode ends within 0.01 of the goal, as in the paper's text, or where each coordinate is, as in its code.",
    )  # fmt: skip
    return define_in(environment, _VARIANTS.values(), flags, videos="none")


def main() -> None:
    """Runs the command."""
    command.run_experiment(__doc__, define)
