"""Trains and evaluates MAML with TRPO and its baselines on 2D navigation (Section 5.3 of the paper, Figure 4).

Prints the returns after 0 to 4 gradient steps on the 40 goals of the paper's figure, and writes results.json, the
figures, the policies and TensorBoard's events. The paper's text has an inner step size of 0.1; the run that Figure 4
shows had 0.5 in training and for the first step, 0.25 after it: --inner_learning_rate=0.5. All that its code did
otherwise: --inner_learning_rate=0.5 --products=finite_differences --budget --goal=square.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments import binary
from maml_tf.experiments.meta_rl_config import METHODS, NAVIGATION, MetaRLConfig, preset, preset_fields

_SETTINGS = [field for name, field in settings(MetaRLConfig).items() if name != "environment"]

binary.define_training_flags(flags, "runs/point_navigation", "Directory for all that is written.")
flags.DEFINE_list("method", ["maml"], f"Methods to train and evaluate: all, or of {', '.join(METHODS)}.")
flags.DEFINE_enum(
    "reward", "distance", ["distance", "squared"],
    "Negative distance to the goal, as in the code that made Figure 4, or its square, as in the paper's text.",
)  # fmt: skip
flags.DEFINE_enum(
    "goal", "disc", ["disc", "square"],
    "An episode ends within 0.01 of the goal, as in the paper's text, or where each coordinate is, as in its code.",
)  # fmt: skip
define_flags(flags, _SETTINGS, "By default the paper's.", preset_fields("point_navigation"))


def experiment(values: Mapping[str, Any]) -> str:
    """Trains and evaluates."""
    from maml_tf.experiments import meta_rl

    variant = {name: values[name] for name in ("reward", "goal")}
    if variant not in NAVIGATION.values():
        raise ValueError(
            "Expected --reward=squared or --goal=square alone: the one is the paper's text, the other its code. "
            "Received: both"
        )
    [environment] = [name for name, of_name in NAVIGATION.items() if of_name == variant]
    config = preset(environment, **given(values, _SETTINGS))
    rows = meta_rl.run(config, values["method"], values["logdir"], values["resume"])
    return binary.report(rows, values["logdir"])


if __name__ == "__main__":
    binary.run(app, flags, experiment)
