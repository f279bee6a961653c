"""What the binaries of meta-reinforcement learning have in common: their flags, and what they do with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from maml_tf.configuration import Setting, define_flags, given, settings
from maml_tf.experiments.common import binary
from maml_tf.experiments.meta_rl.config import MetaRLConfig, preset, preset_fields

VIDEOS = ("gif", "mp4", "none")


def define_meta_rl_flags(flags: Any, environments: Collection[str], videos: str = "gif") -> list[Setting]:
    """Defines the flags of a training: videos, those of every training, and the configuration's.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
        environments: Names of those that the binary trains in. It chooses the one itself.
        videos: Default of the flag `videos`.

    Returns:
        The settings that `run` picks from the flags' values.
    """
    flags.disclaim_key_flags()  # To --help they are the binary's own.
    chosen = [field for name, field in settings(MetaRLConfig).items() if name != "environment"]
    binary.define_training_flags(
        flags, None, "Directory for all that is written. By default runs/ and the environment's name."
    )
    flags.DEFINE_enum("videos", videos, VIDEOS, "Format of the videos of two tasks before and after a gradient step.")
    define_flags(flags, chosen, "By default the environment's.", preset_fields(*environments))
    return chosen


def configuration(values: Mapping[str, Any], environment: str, chosen: Collection[Setting]) -> MetaRLConfig:
    """Makes the configuration of the settings in `chosen` among the flags' values."""
    return preset(environment, **given(values, chosen))


def run(values: Mapping[str, Any], environment: str, chosen: Collection[Setting]) -> str:
    """Trains and evaluates in an environment with the settings in `chosen` among the flags' values."""
    from maml_tf.experiments.meta_rl import evaluate as experiment  # With TensorFlow, once the flags are right.

    config = configuration(values, environment, chosen)
    logdir = values["logdir"] or f"runs/{config.environment}"
    return binary.report(experiment.run(config, config.methods, logdir, values["resume"], values["videos"]), logdir)
