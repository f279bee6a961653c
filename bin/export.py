"""Exports weights that come with the package, as a model that adapts to tasks without maml_tf.

    python bin/export.py --pretrained=omniglot_5way_1shot --output=served/1

A SavedModel is served by TensorFlow; docs/deployment.md says how. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments.common import binary

FORMATS = ["saved_model"]

flags.DEFINE_string("pretrained", None, "Weights of the package: a name of pretrained.available().")
flags.DEFINE_string("output", None, "Directory that is written.")
flags.DEFINE_enum("format", "saved_model", FORMATS, "Format of the exported model.")
flags.DEFINE_string(
    "batch_statistics",
    None,
    "Statistics of batch normalization in a prediction: transductive, of all examples of the call, or support, of the "
    "task's support set; by default the training's.",
)


def experiment(values: Mapping[str, Any]) -> str:
    """Exports."""
    from maml_tf.export import save

    path = save(adapting(values["pretrained"], values["batch_statistics"]), values["output"])
    return f"Written to {path}"


def adapting(name: str, batch_statistics: str | None) -> Any:
    """Loads an entry's learner or, of reinforcement learning, its policy with the way in which it was measured."""
    from maml_tf import pretrained

    content = pretrained.card(name)
    learner = pretrained.load(name, batch_statistics=batch_statistics)
    if "environment" not in content["config"]:
        return learner
    from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
    from maml_tf.experiments.meta_rl.methods import build_adaptation
    from maml_tf.rl.policy import PurePolicy

    trained = TrainedPolicy.of_entry(name)
    step_sizes = content["results"][0]["rows"][0].get("step_sizes") or trained.config.step_sizes(None)
    return build_adaptation(trained.method, trained.config, PurePolicy(learner), step_sizes)


if __name__ == "__main__":
    flags.mark_flags_as_required(["pretrained", "output"])
    binary.run(app, flags, experiment)
