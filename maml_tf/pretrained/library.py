"""The library of meta-learned weights: each entry has weights and a card with configuration, results and licence."""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from maml_tf.configuration import Config, from_dict, settings
from maml_tf.few_shot import regression
from maml_tf.few_shot.config import LearnerConfig, RegressionConfig
from maml_tf.few_shot.learner import learner_with_weights
from maml_tf.learner import MAML
from maml_tf.training import read_json

CARD_SUFFIX, WEIGHTS_SUFFIX = ".json", ".weights.h5"


def package_folder() -> pathlib.Path:
    """Returns the folder of the package's entries, which may not exist."""
    return pathlib.Path(str(importlib.resources.files("maml_tf.pretrained"))) / "weights"


def weights_path(name: str, folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns the path of an entry's weights, which may not exist."""
    return _folder(folder) / f"{name}{WEIGHTS_SUFFIX}"


def available(folder: str | os.PathLike[str] | None = None) -> list[str]:
    """Lists the names of the entries in a folder, by default the package's, in alphabetical order."""
    return sorted(path.name.removesuffix(CARD_SUFFIX) for path in _folder(folder).glob(f"*{CARD_SUFFIX}"))


def card(name: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Reads an entry's card: configuration, training, results with their protocols, licence of the training data.

    Args:
        name: One of `available()`.
        folder: Folder of the entries, by default the package's.

    Raises:
        ValueError: If there is no such entry.
    """
    if name not in available(folder):
        raise ValueError(f"Expected one of {available(folder)}. Received: {name!r}")
    return read_json(_folder(folder) / f"{name}{CARD_SUFFIX}")


def load(
    name: str, folder: str | os.PathLike[str] | None = None, *, batch_statistics: str | None = None
) -> MAML | keras.Model:
    """Loads an entry, ready to adapt. Nothing is downloaded.

    Images must be as `maml_tf.tasks` makes them: float32 in [0, 1]; Omniglot's [28, 28, 1] with ink 1, mini-ImageNet's
    [84, 84, 3]. Points of sinusoids are x and y, each [points, 1].

    Args:
        name: One of `available()`.
        folder: Folder of the entries, by default the package's.
        batch_statistics: Statistics of batch normalization in a prediction. "transductive": those of all examples of
            the call. "support": those of the last batch in training mode, so that the prediction of an example does not
            depend on the others. None uses those of the training: "transductive" for all entries of the package.

    Returns:
        For images and sinusoids, the learner, not compiled, with as many inner steps as in the results on the card:
        `learner.adapt(support_x, support_y)` returns the network adapted to a task. For reinforcement learning, the
        policy before adaptation, a `maml_tf.rl.policy.GaussianPolicy`.

    Raises:
        ValueError: If there is no such entry, or it does not support these batch statistics.
        ImportError: If the entry is a policy, and the extra `rl` is not installed.
    """
    content = card(name, folder)
    domain = domain_of(content["config"])
    if domain != "classification" and batch_statistics is not None:
        raise ValueError(
            f"Expected batch_statistics only for images. Received: {name!r}, batch_statistics={batch_statistics!r}"
        )
    if domain == "sinusoid":
        config = _own_fields(RegressionConfig, content["config"])
        step_size = content["results"][0]["rows"][0]["step_size"]
        return regression.load_learner(weights_path(name, folder), content["training"]["method"], config, step_size)
    if domain == "meta_rl":
        # Imported here because they need the extra rl.
        from maml_tf.rl.config import PolicyConfig
        from maml_tf.rl.methods import load_policy

        config = _own_fields(PolicyConfig, content["config"])
        return load_policy(content["training"]["method"], config, weights_path(name, folder))
    trained = _own_fields(LearnerConfig, content["config"])
    changed = {} if batch_statistics is None else {"batch_statistics": batch_statistics}
    config = dataclasses.replace(trained, **changed)
    learner = learner_with_weights(weights_path(name, folder), trained, config)
    learner.inner_steps = config.evaluation_steps
    return learner


def domain_of(config: Mapping[str, Any]) -> str:
    """Returns the domain of `maml_tf.methods` that a training's configuration is of.

    Args:
        config: The configuration, as on an entry's card.

    Returns:
        "classification", "meta_rl" or "sinusoid".
    """
    return "meta_rl" if "environment" in config else "classification" if "dataset" in config else "sinusoid"


def _own_fields(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    return from_dict(config_class, {name: value for name, value in values.items() if name in settings(config_class)})


def _folder(folder: str | os.PathLike[str] | None) -> pathlib.Path:
    return package_folder() if folder is None else pathlib.Path(folder).expanduser()
