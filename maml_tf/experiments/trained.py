"""What a training left or the package brings, as a learner or a policy that adapts: for exports and servers."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from maml_tf import pretrained
from maml_tf.configuration import from_dict, to_dict
from maml_tf.experiments.classification.files import load_config, load_learner
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from maml_tf.few_shot.regression import build_learner
from maml_tf.learner import MetaLearner
from maml_tf.methods import methods
from maml_tf.results import CONFIG, NETWORK, RESULTS
from maml_tf.training import read_json

if TYPE_CHECKING:
    from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy
    from maml_tf.rl.adaptation import PolicyAdaptation


def of_entry(name: str, batch_statistics: str | None = None) -> MetaLearner | PolicyAdaptation:
    """Loads an entry of `maml_tf.pretrained`.

    Args:
        name: One of `pretrained.available()`.
        batch_statistics: See `pretrained.load`.

    Returns:
        A learner or, of reinforcement learning, the policy with the way in which it was measured.

    Raises:
        ValueError: If there is no such entry, or it does not have such batch statistics.
        ImportError: If it is a policy, and the extra `rl` is not installed.

    Example:
    >>> from maml_tf.experiments import trained
    >>> trained.of_entry("omniglot_5way_1shot_dense").inner_steps
    3
    """
    content = pretrained.card(name)
    learner = pretrained.load(name, batch_statistics=batch_statistics)
    if pretrained.domain_of(content["config"]) != "meta_rl":
        return learner
    # Imported here because it needs the extra rl.
    from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy

    return _policy(TrainedPolicy.of_entry(name), content["results"][0]["rows"])


def of_training(
    logdir: str | os.PathLike[str], method: str | None = None, batch_statistics: str | None = None
) -> MetaLearner | PolicyAdaptation:
    """Loads what a training left.

    Args:
        logdir: Its directory: of images, of the sinusoid experiment or of reinforcement learning.
        method: Of the latter two, the method whose network or policy is meant; by default maml.
        batch_statistics: Of images, statistics of batch normalization other than the training's.

    Returns:
        A learner with as many inner steps as its evaluation takes, or a policy with the way in which it was measured.

    Raises:
        FileNotFoundError: If the directory holds no training, or not what it is to leave.
        ValueError: If an argument does not go with the training.
    """
    logdir = pathlib.Path(logdir).expanduser()
    if (logdir / CONFIG).is_file():
        if method is not None:
            raise ValueError(f"Expected no method of a training on images. Received: method={method!r}")
        config = load_config(logdir, {} if batch_statistics is None else {"batch_statistics": batch_statistics})
        learner = load_learner(logdir, config)
        learner.inner_steps = config.evaluation_steps
        return learner
    if not (logdir / RESULTS).is_file():
        raise FileNotFoundError(
            f"Expected the directory of a training, with {CONFIG} or {RESULTS}. Received: {str(logdir)!r}"
        )
    if batch_statistics is not None:
        raise ValueError(f"Expected no batch_statistics but of images. Received: batch_statistics={batch_statistics!r}")
    content, method = read_json(logdir / RESULTS), method or "maml"
    if content.get("experiment") == "sinusoid":
        return _sinusoid_learner(logdir, content["config"], method)
    from maml_tf.experiments.meta_rl.evaluate import TrainedPolicy

    trained = TrainedPolicy.of_training(logdir, method)
    return _policy(trained, [row for row in content["rows"] if row["method"] == method])


def of_flags(values: Mapping[str, Any]) -> MetaLearner | PolicyAdaptation:
    """Loads what the flags of `maml_tf.experiments.common.binary.define_trained_flags` name."""
    method, statistics = values["method"], values["batch_statistics"]
    if not values["pretrained"]:
        return of_training(values["logdir"], method, statistics)
    if method is not None:
        raise ValueError(f"Expected no --method of published weights. Received: --method={method}")
    return of_entry(values["pretrained"], statistics)


def support_examples(values: Mapping[str, Any]) -> int:
    """Returns the size of the support sets, ways times shots, that the training of `of_flags` is measured with.

    Raises:
        FileNotFoundError: If there is no such training.
        ValueError: If it is not of images, or there is no such entry.
    """
    if values["pretrained"]:
        config = pretrained.card(values["pretrained"])["config"]
    else:
        path = pathlib.Path(values["logdir"]).expanduser() / CONFIG
        config = to_dict(load_config(path.parent)) if path.exists() else {}
    if "ways" not in config:
        raise ValueError("Expected --support_examples of what is not learned from images. Received: none")
    return config["ways"] * config["shots"]


def _sinusoid_learner(logdir: pathlib.Path, values: Mapping[str, Any], method: str) -> MetaLearner:
    network = logdir / method / NETWORK
    if not network.is_file():
        raise FileNotFoundError(f"Expected a method that was trained. Received: method={method!r}, no {str(network)!r}")
    if methods[method].builder("sinusoid") is not None:
        raise ValueError(f"Expected a method that meta-learns. Received: method={method!r}, a baseline")
    config = dataclasses.replace(from_dict(SinusoidConfig, values), **methods[method].settings["sinusoid"])
    learner = build_learner(method, config, keras.models.load_model(network), config.inner_learning_rate)
    learner.inner_steps = config.evaluation_steps
    return learner


def _policy(trained: TrainedPolicy, rows: Sequence[Mapping[str, Any]]) -> PolicyAdaptation:
    from maml_tf.experiments.meta_rl.methods import build_adaptation
    from maml_tf.rl.policy import PurePolicy

    step_sizes = (rows[0].get("step_sizes") if rows else None) or trained.config.step_sizes(None)
    return build_adaptation(trained.method, trained.config, PurePolicy(trained.load()), step_sizes)
