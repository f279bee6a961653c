"""Exports a training's weights, or weights that come with the package, as a model that adapts without maml_tf.

    python bin/export.py --pretrained=omniglot_5way_1shot --output=served/1
    python bin/export.py --logdir=runs/omniglot --output=served/1

A SavedModel is served by TensorFlow; docs/deployment.md says how. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments.common import binary

FORMATS = ["saved_model"]

binary.define_trained_flags(flags)
flags.DEFINE_string("output", None, "Directory that is written.")
flags.DEFINE_enum("format", "saved_model", FORMATS, "Format of the exported model.")


def experiment(values: Mapping[str, Any]) -> str:
    """Exports."""
    from maml_tf.experiments import trained
    from maml_tf.export import save

    path = save(trained.of_flags(values), values["output"])
    return f"Written to {path}"


if __name__ == "__main__":
    flags.mark_flags_as_mutual_exclusive(["logdir", "pretrained"], required=True)
    flags.mark_flags_as_required(["output"])
    binary.run(app, flags, experiment)
