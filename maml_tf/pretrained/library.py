"""The library of meta-learned weights: of each entry the weights and a card that says what it is."""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from maml_tf.configuration import from_dict, settings
from maml_tf.few_shot.config import LearnerConfig
from maml_tf.few_shot.learner import learner_with_weights
from maml_tf.meta_learner import MAML
from maml_tf.training import read_json

if TYPE_CHECKING:
    from maml_tf.experiments.trained_policy import TrainedPolicy

CARD_SUFFIX, WEIGHTS_SUFFIX = ".json", ".weights.h5"


def package_folder() -> pathlib.Path:
    """Returns the folder of the entries that come with the package.

    Returns:
        Its path; it need not exist.
    """
    return pathlib.Path(str(importlib.resources.files("maml_tf.pretrained"))) / "weights"


def weights_path(name: str, folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Says where an entry's weights are.

    Args:
        name: Of the entry.
        folder: Where the entries are, by default in the package.

    Returns:
        The path of the file, which need not exist.
    """
    return _folder(folder) / f"{name}{WEIGHTS_SUFFIX}"


def available(folder: str | os.PathLike[str] | None = None) -> list[str]:
    """Lists the entries.

    Args:
        folder: Where they are, by default in the package.

    Returns:
        Their names, sorted.
    """
    return sorted(path.name.removesuffix(CARD_SUFFIX) for path in _folder(folder).glob(f"*{CARD_SUFFIX}"))


def card(name: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Reads what an entry is.

    Args:
        name: One of `available()`.
        folder: Where the entries are, by default in the package.

    Returns:
        Its configuration, training, results with their protocols, and the licence of the data that it learned from.

    Raises:
        ValueError: If there is no such entry.
    """
    if name not in available(folder):
        raise ValueError(f"Expected one of {available(folder)}. Received: {name!r}")
    return read_json(_folder(folder) / f"{name}{CARD_SUFFIX}")


def load(
    name: str, folder: str | os.PathLike[str] | None = None, *, batch_statistics: str | None = None
) -> MAML | keras.Model:
    """Loads an entry, ready to adapt: nothing is downloaded.

    A learner of images takes as many inner steps as the results on the card were measured with. Images are those of
    `maml_tf.tasks`: float32 in [0, 1], Omniglot's [28, 28, 1] with ink 1, mini-ImageNet's [84, 84, 3].

    Args:
        name: One of `available()`.
        folder: Where the entries are, by default in the package.
        batch_statistics: By what the networks of images normalize what they predict: "transductive", by all of the
            examples of the call together; "support", by what they last saw in training mode, so that what an example
            is predicted to be does not depend on the others. None for those of its training: the first in the package.

    Returns:
        The learner, not compiled: `learner.adapt(support_x, support_y)` returns the network adapted to a task. Of
        reinforcement learning the policy before adaptation, a `maml_tf.rl.policy.GaussianPolicy`.

    Raises:
        ValueError: If there is no such entry, or it does not have such batch statistics.
        ImportError: If it is a policy, and the extra `rl` is not installed.
    """
    content = card(name, folder)
    if "environment" in content["config"]:
        if batch_statistics is not None:
            raise ValueError(
                f"Expected no batch_statistics of a policy, {name!r}. Received: batch_statistics={batch_statistics!r}"
            )
        return _trained_policy(content, weights_path(name, folder)).load()
    fields = settings(LearnerConfig)
    trained = from_dict(LearnerConfig, {name: value for name, value in content["config"].items() if name in fields})
    changed = {} if batch_statistics is None else {"batch_statistics": batch_statistics}
    config = dataclasses.replace(trained, **changed)
    learner = learner_with_weights(weights_path(name, folder), trained, config)
    learner.inner_steps = config.evaluation_steps
    return learner


def trained_policy(name: str, folder: str | os.PathLike[str] | None = None) -> TrainedPolicy:
    """Finds an entry of reinforcement learning, to be evaluated again.

    Args:
        name: One of `available()`, a policy.
        folder: Where the entries are, by default in the package.

    Returns:
        The policy: its method, its training's configuration and its file, for
        `maml_tf.experiments.meta_rl.evaluate_again`.

    Raises:
        ValueError: If there is no such entry, or it learned from images.
        ImportError: If the extra `rl` is not installed.
    """
    content = card(name, folder)
    if "environment" not in content["config"]:
        raise ValueError(f"Expected an entry of reinforcement learning. Received: {name!r}, of images: bin/evaluate.py")
    return _trained_policy(content, weights_path(name, folder))


def _trained_policy(card_of_policy: Mapping[str, Any], weights: pathlib.Path) -> TrainedPolicy:
    # Imported here because they need the extra rl.
    from maml_tf.experiments.meta_rl_config import MetaRLConfig
    from maml_tf.experiments.trained_policy import TrainedPolicy

    config = from_dict(MetaRLConfig, card_of_policy["config"])
    return TrainedPolicy(card_of_policy["training"]["method"], config, weights)


def _folder(folder: str | os.PathLike[str] | None) -> pathlib.Path:
    return package_folder() if folder is None else pathlib.Path(folder).expanduser()
