"""Trains and evaluates MAML with TRPO and its baselines on the half-cheetah (Section 5.3 of the paper, Figure 5).

--task=velocity runs at a velocity between 0 and 2 that each task sets, --task=direction forwards or backwards. Prints
the returns after 0 to 4 gradient steps on the 40 tasks of the paper's figure, and writes results.json, the figures,
videos, the policies and TensorBoard's events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments.common import binary
from maml_tf.experiments.meta_rl.binary import define_meta_rl_flags, run

_SETTINGS = define_meta_rl_flags(flags, ("half_cheetah_velocity", "half_cheetah_direction"))
flags.DEFINE_enum("task", "velocity", ["velocity", "direction"], "What differs between tasks.")


def experiment(values: Mapping[str, Any]) -> str:
    """Trains and evaluates."""
    return run(values, f"half_cheetah_{values['task']}", _SETTINGS)


if __name__ == "__main__":
    binary.run(app, flags, experiment)
