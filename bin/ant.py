"""Trains and evaluates MAML with TRPO and its baselines on the ant (Section 5.3 of the paper, Figure 5).

--task=velocity walks at a velocity between 0 and 3 that each task sets, --task=direction forwards or backwards. Prints
the returns after 0 to 4 gradient steps on the 40 tasks of the paper's figure, and writes results.json, the figures,
videos, the policies and TensorBoard's events. An ant that falls ends its rollout early; --budget counts rollouts in
steps, nearly as the original does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments import binary
from maml_tf.experiments.meta_rl_config import METHODS, MetaRLConfig, preset, preset_fields

_SETTINGS = [field for name, field in settings(MetaRLConfig).items() if name != "environment"]

binary.define_training_flags(flags, None, "Directory for all that is written; by default runs/ant_<task>.")
flags.DEFINE_list("method", ["maml"], f"Methods to train and evaluate: all, or of {', '.join(METHODS)}.")
flags.DEFINE_enum("task", "velocity", ["velocity", "direction"], "What differs between tasks.")
flags.DEFINE_enum("videos", "gif", ["gif", "mp4", "none"], "Format of the videos of two tasks before and after a step.")
define_flags(flags, _SETTINGS, "By default the paper's.", preset_fields("ant_velocity", "ant_direction"))


def experiment(values: Mapping[str, Any]) -> str:
    """Trains and evaluates."""
    from maml_tf.experiments import meta_rl

    config = preset(f"ant_{values['task']}", **given(values, _SETTINGS))
    logdir = values["logdir"] or f"runs/{config.environment}"
    rows = meta_rl.run(config, values["method"], logdir, values["resume"], values["videos"])
    return binary.report(rows, logdir)


if __name__ == "__main__":
    binary.run(app, flags, experiment)
