"""What the binaries of few-shot classification have in common: flags, and what they do with them.

TensorFlow is imported when a training or an evaluation begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maml_tf.configuration import Setting, define_flags, given, settings
from maml_tf.experiments.classification.config import ClassificationConfig, make_config, preset_fields, presets
from maml_tf.experiments.common import binary
from maml_tf.tasks.dataset import datasets


def define_classification_flags(flags: Any, dataset: str) -> list[Setting]:
    """Defines the flags of a data set's binary: mode, preset, those of every training, and the configuration's.

    Args:
        flags: The module `absl.flags` of the binary that defines them, or what else has its functions.
        dataset: Name of a registered data set.

    Returns:
        The settings that `experiment` picks from the flags' values.
    """
    flags.disclaim_key_flags()  # To --help they are the binary's own.
    left_out = {"dataset"} if datasets[dataset].splits else {"dataset", "split"}
    chosen = [field for name, field in settings(ClassificationConfig).items() if name not in left_out]
    first, *_ = presets(dataset)
    flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "Whether to train, or to evaluate what was trained.")
    flags.DEFINE_enum(
        "preset", None, presets(dataset), f"Settings of a training that the other flags change. By default {first}."
    )
    binary.define_training_flags(
        flags,
        f"runs/{dataset}",
        "Directory for checkpoints, weights, events and figures, and after --mode=evaluate results.json.",
    )
    define_flags(flags, chosen, "By default the preset's.", preset_fields(dataset))
    return chosen


def configuration(
    values: Mapping[str, Any], dataset: str, chosen: Sequence[Setting], **changes: Any
) -> ClassificationConfig:
    """Makes the configuration of a training.

    Args:
        values: The flags' values.
        dataset: Name of a registered data set.
        chosen: What `define_classification_flags` returned.
        **changes: Fields that no flag gives.
    """
    return make_config(dataset, values["preset"], **{**changes, **given(values, chosen)})


def experiment(values: Mapping[str, Any], dataset: str, chosen: Sequence[Setting]) -> str:
    """Trains, or evaluates what was trained.

    Args:
        values: The flags' values.
        dataset: Name of a registered data set.
        chosen: What `define_classification_flags` returned.

    Returns:
        What is said at the end.
    """
    from maml_tf.experiments.classification.evaluate import evaluate
    from maml_tf.experiments.classification.files import load_config
    from maml_tf.experiments.classification.train import train

    logdir = values["logdir"]
    if values["mode"] == "train":
        stored = _intervals(logdir) if values["resume"] else {}
        train(configuration(values, dataset, chosen, **stored), logdir, values["resume"])
        return f"Written to {logdir}. On the test classes: --mode=evaluate --logdir={logdir}"
    if values["preset"]:
        raise ValueError(f"Expected no --preset: the training's settings count. Received: {values['preset']!r}")
    if (trained := load_config(logdir).dataset) != dataset:
        raise ValueError(f"Expected a training on {dataset}. Received: {logdir!r}, one on {trained}")
    return binary.report(evaluate(logdir, given(values, chosen)), logdir, percent=True)


def _intervals(logdir: str) -> dict[str, int]:
    """Reads the intervals of the training to resume: by default they follow the iterations, which may have changed."""
    from maml_tf.experiments.classification.files import load_config

    try:
        trained = load_config(logdir)
    except FileNotFoundError:
        return {}
    return {name: getattr(trained, name) for name in ("iterations_per_epoch", "validate_every")}
