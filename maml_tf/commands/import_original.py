"""Reads a TensorFlow 1 checkpoint of the original implementation.

    maml-tf import-original --checkpoint=model59999 --dataset=mini_imagenet --preset=5way_1shot_paper
    maml-tf evaluate --logdir=runs/original --data_dir=<data>

The preset says what network it is and how it adapts: those that end in _paper are the original's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command
from maml_tf.configuration import define_flags, given, settings
from maml_tf.experiments.classification.config import ClassificationConfig, make_config, preset_fields
from maml_tf.tasks import datasets

_SETTINGS = [field for name, field in settings(ClassificationConfig).items() if name != "dataset"]


def experiment(values: Mapping[str, Any]) -> str:
    """Imports."""
    from maml_tf.experiments.classification.files import write_untrained
    from maml_tf.experiments.classification.original_checkpoint import assign_original, read_original

    config = make_config(values["dataset"], values["preset"], **given(values, _SETTINGS))
    weights = read_original(values["checkpoint"])
    write_untrained(values["logdir"], config, lambda network: assign_original(network, weights))
    return f"Written to {values['logdir']}"


def main() -> None:
    """Runs the command."""
    flags.DEFINE_string("checkpoint", None, "Prefix of the checkpoint's files, such as logs/.../model59999.")
    flags.DEFINE_enum("dataset", "omniglot", ["omniglot", "mini_imagenet"], "What it was trained on.")
    flags.DEFINE_string("preset", "5way_1shot_paper", "Settings of the network and of its adaptation.")
    flags.DEFINE_string("logdir", "runs/original", "Directory for the weights and their settings.")
    papers = {
        f"{dataset} {name}": fields
        for dataset in ("omniglot", "mini_imagenet")
        for name, fields in datasets[dataset].presets.items()
        if name.endswith("_paper")
    }
    define_flags(
        flags, _SETTINGS, "By default the preset's.", preset_fields("omniglot") | preset_fields("mini_imagenet")
    )
    flags.mark_flag_as_required("checkpoint")
    command.run(__doc__, experiment, chosen=_SETTINGS, presets=papers)
