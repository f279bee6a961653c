"""Makes an entry of maml_tf.pretrained: a training's best weights and a card.

    maml-tf publish --logdir=runs/omniglot --name=omniglot_5way_1shot

The card holds the configuration, the results with their protocols, and the licence of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command


def experiment(values: Mapping[str, Any]) -> str:
    """Publishes."""
    from maml_tf.pretrained import publish

    path = publish(values["logdir"], values["name"], values["output"], values["results"], values["method"])
    return f"Written to {path}"


def main() -> None:
    """Runs the command."""
    flags.DEFINE_string("logdir", None, "Directory of the training: the --logdir of the binary that trained.")
    flags.DEFINE_string("name", None, "Name of the entry: lower-case letters, digits and underscores.")
    flags.DEFINE_list(
        "results", [], "Further results.json of the same weights: those that maml-tf evaluate wrote to its --output."
    )
    flags.DEFINE_string(
        "method", "maml", "Method whose weights are published, for a training of sinusoids or of policies."
    )
    flags.DEFINE_string("output", None, "Where the entry is written, by default in the package.")
    flags.mark_flags_as_required(["logdir", "name"])
    command.run(__doc__, experiment)
