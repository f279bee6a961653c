"""What a classification training leaves in its directory: its configuration and its best weights."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from maml_tf.configuration import differences, from_dict, to_dict
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.few_shot.learner import build_learner, learner_with_weights
from maml_tf.learner import MAML
from maml_tf.results import CONFIG, WEIGHTS
from maml_tf.training import read_json, save_atomically, writable_directory, write_atomically


def check_weights(directory: pathlib.Path, config: ClassificationConfig, resume: bool) -> None:
    """Makes sure that a training does not write over the weights of another.

    Args:
        directory: Of the training.
        config: Its configuration.
        resume: Whether it goes on from what the directory holds.

    Raises:
        ValueError: If the directory holds weights, and `resume` is False or they are another configuration's.
    """
    if not (directory / WEIGHTS).exists():
        return
    if not resume:
        raise ValueError(
            "Expected a directory without weights, or to resume the training that made them (--resume). "
            f"Received: {str(directory)!r}, which holds {WEIGHTS}"
        )
    if differing := differences(load_config(directory).identity(), config.identity()):
        raise ValueError(
            "Expected the config with which the weights were made, or another directory. "
            f"Received: a config that differs in {differing} ({str(directory)!r})"
        )


def write_config(directory: pathlib.Path, config: ClassificationConfig) -> None:
    """Writes the configuration, for `load_config`.

    Args:
        directory: Of the training.
        config: The configuration.
    """
    write_atomically(directory / CONFIG, json.dumps(to_dict(config), indent=1) + "\n")


def write_weights(directory: pathlib.Path, learner: MAML) -> None:
    """Writes a learner's weights, whole or not at all, for `load_learner`.

    Args:
        directory: Of the training.
        learner: Not compiled: an optimizer's state would be written too.
    """
    save_atomically(directory / WEIGHTS, learner.save_weights)


def write_untrained(
    logdir: str | os.PathLike[str], config: ClassificationConfig, set_weights: Callable[[keras.Model], None]
) -> None:
    """Writes what a training would, with weights that come from elsewhere.

    Args:
        logdir: The directory; it is created if need be.
        config: The configuration.
        set_weights: Sets the weights of a network that the configuration describes.

    Raises:
        ValueError: If the directory cannot be written to, or already holds weights.
    """
    directory = writable_directory(logdir)
    if (directory / WEIGHTS).exists():
        raise ValueError(f"Expected a directory without weights. Received: {str(logdir)!r}, which holds {WEIGHTS}")
    learner = build_learner(config)
    set_weights(learner.model)
    write_config(directory, config)
    write_weights(directory, learner)


def load_config(logdir: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> ClassificationConfig:
    """Reads the configuration that a training stored.

    Args:
        logdir: Directory that `train` wrote.
        overrides: Fields to change, of those that an evaluation may.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: If the directory holds no training.
        ValueError: If a field cannot be changed.
    """
    path = pathlib.Path(logdir).expanduser() / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"Expected the directory of a training, with {CONFIG}. Received: {str(logdir)!r}")
    return from_dict(ClassificationConfig, read_json(path)).for_evaluation(overrides or {})


def load_learner(logdir: str | os.PathLike[str], config: ClassificationConfig) -> MAML:
    """Builds a configuration's learner with the best weights of a training.

    Args:
        logdir: Directory that `train` wrote.
        config: The configuration.

    Returns:
        The learner.

    Raises:
        FileNotFoundError: If no validation has been reached.
        ValueError: If the weights are another configuration's, or moving averages are wanted that were not kept.
    """
    path = pathlib.Path(logdir).expanduser() / WEIGHTS
    if not path.exists():
        raise FileNotFoundError(f"Expected a training that reached its first validation. Received: no {path}")
    return learner_with_weights(path, load_config(logdir), config)
