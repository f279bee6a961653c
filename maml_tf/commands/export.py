"""Exports what was trained as a model that adapts without maml_tf.

    maml-tf export --pretrained=omniglot_5way_1shot --output=served/1
    maml-tf export --logdir=runs/omniglot --output=served/1
    maml-tf export --pretrained=omniglot_5way_1shot --format=litert --output=omniglot.tflite

A SavedModel is served by TensorFlow, a file for LiteRT's interpreter adapts on devices, a preset is for hubs of models:
docs/guides/export.md says how. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command
from maml_tf.experiments.common import binary

FORMATS, WEIGHTS = ["saved_model", "litert", "preset"], ["float32", "float16", "int8"]


def experiment(values: Mapping[str, Any]) -> str:
    """Exports."""
    from maml_tf import pretrained
    from maml_tf.experiments import trained
    from maml_tf.export import save, save_litert

    examples = values["support_examples"]
    if values["format"] != "litert":
        if examples is not None or values["weights"] != "float32":
            raise ValueError(
                "Expected --support_examples and --weights with --format=litert alone. "
                f"Received: --format={values['format']}"
            )
        learner = trained.of_flags(values)
        if values["format"] == "saved_model":
            path = save(learner, values["output"])
        else:
            card = pretrained.card(values["pretrained"]) if values["pretrained"] else None
            path = pretrained.save_to_preset(learner, values["output"], card=card)
    else:
        examples = examples or trained.support_examples(values)
        learner = trained.of_flags(values)
        path = save_litert(learner, values["output"], support_examples=examples, weights=values["weights"])
    return f"Written to {path}"


def main() -> None:
    """Runs the command."""
    binary.define_trained_flags(flags)
    flags.DEFINE_string("output", None, "Directory of the SavedModel or preset, or file for LiteRT, that is written.")
    flags.DEFINE_enum("format", "saved_model", FORMATS, "Format of the exported model.")
    flags.DEFINE_integer(
        "support_examples",
        None,
        "Number of examples of a support set, for LiteRT; by default ways times shots; a policy has no default.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "weights",
        "float32",
        WEIGHTS,
        "Number format of a LiteRT file's weights; int8 is for weights that do not adapt.",
    )
    flags.mark_flags_as_mutual_exclusive(["logdir", "pretrained"], required=True)
    flags.mark_flags_as_required(["output"])
    command.run(__doc__, experiment)
