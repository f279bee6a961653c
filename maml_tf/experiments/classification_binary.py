"""What bin/omniglot.py and bin/mini_imagenet.py have in common: their flags, and what they do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maml_tf.configuration import Setting, define_flags, given, settings
from maml_tf.experiments import binary
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.classification_presets import make_config, preset_fields, presets

_PRESET = "5way_1shot"


def define_classification_flags(flags: Any, dataset: str, left_out: Sequence[str] = ()) -> list[Setting]:
    """Defines the flags of a data set's binary: mode, preset, those of every training, and the configuration's.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
        dataset: "omniglot" or "mini_imagenet".
        left_out: Fields of the configuration that mean nothing for it.

    Returns:
        The settings that `run` picks from the flags' values.
    """
    flags.disclaim_key_flags()  # To --help they are the binary's own.
    chosen = [field for name, field in settings(ClassificationConfig).items() if name not in ("dataset", *left_out)]
    flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "Whether to train, or to evaluate what was trained.")
    flags.DEFINE_enum(
        "preset", None, presets(dataset), f"Settings of a training that the other flags change. By default {_PRESET}."
    )
    binary.define_training_flags(
        flags,
        f"runs/{dataset}",
        "Directory for checkpoints, weights, events and figures, and after --mode=evaluate results.json.",
    )
    define_flags(flags, chosen, "By default the preset's.", preset_fields(dataset))
    return chosen


def run(values: Mapping[str, Any], dataset: str, chosen: Sequence[Setting]) -> str:
    """Trains, or evaluates what was trained.

    Args:
        values: Of the flags.
        dataset: "omniglot" or "mini_imagenet".
        chosen: What `define_classification_flags` returned.

    Returns:
        The text for stdout.

    Raises:
        FileNotFoundError: If the data, or the training to evaluate, are not there.
        ValueError: If the flags, the directory or the data do not fit.
    """
    from maml_tf.experiments import classification
    from maml_tf.experiments.classification_files import load_config

    changes, logdir = given(values, chosen), values["logdir"]
    if values["mode"] == "train":
        classification.train(make_config(dataset, values["preset"] or _PRESET, **changes), logdir, values["resume"])
        return f"Written to {logdir}. On the test classes: --mode=evaluate --logdir={logdir}"
    if values["preset"]:
        raise ValueError(f"Expected no --preset: the training's settings count. Received: {values['preset']!r}")
    if (trained := load_config(logdir).dataset) != dataset:
        raise ValueError(f"Expected a training on {dataset}. Received: {logdir!r}, one on {trained}")
    return binary.report(classification.evaluate(logdir, changes), logdir, percent=True)
