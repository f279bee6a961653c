"""Makes an entry of maml_tf.pretrained from a training that was evaluated: its best weights and a card.

    python bin/publish.py --logdir=runs/omniglot --name=omniglot_5way_1shot

The card holds the configuration, the results with their protocols, and the licence of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments.common import binary

flags.DEFINE_string("logdir", None, "Directory of the training: the --logdir of the binary that trained.")
flags.DEFINE_string("name", None, "Of the entry: lower-case letters, digits and underscores.")
flags.DEFINE_list(
    "results", [], "Further results.json of the same weights: those that bin/evaluate.py wrote to its --output."
)
flags.DEFINE_string(
    "method", "maml", "Whose weights, where the training is one of sinusoids or of reinforcement learning."
)
flags.DEFINE_string("output", None, "Where the entry is written, by default in the package.")


def experiment(values: Mapping[str, Any]) -> str:
    """Publishes."""
    from maml_tf.pretrained import publish

    path = publish(values["logdir"], values["name"], values["output"], values["results"], values["method"])
    return f"Written to {path}"


if __name__ == "__main__":
    flags.mark_flags_as_required(["logdir", "name"])
    binary.run(app, flags, experiment)
