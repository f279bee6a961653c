"""What a classification training reads and leaves: images of its data set, its configuration and its best weights."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from maml_tf.baselines import labelled_batches
from maml_tf.configuration import differences, from_dict, to_dict
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.few_shot.learner import build_learner, learner_with_weights
from maml_tf.learner import MAML
from maml_tf.results import CONFIG, WEIGHTS
from maml_tf.tasks.dataset import SplitClasses, datasets
from maml_tf.training import read_json, save_atomically, writable_directory, write_atomically

# Tasks measured by one call: of mini-ImageNet 600 took 31 s in fours, 26 s in twenties (see docs/speed.md).
_TASKS_AT_ONCE = 20


def open_data(config: ClassificationConfig) -> SplitClasses:
    """Opens a configuration's data set.

    Args:
        config: The experiment's configuration.

    Returns:
        The classes, in the parts "train", "validation" and "test".

    Raises:
        FileNotFoundError: If the data are not there.
        OSError: If a download fails.
        ValueError: If the data are broken, or no folder is named of data that cannot be downloaded.
    """
    spec = datasets[config.dataset]
    logging.info("reading %s from %s", spec.title, config.data_dir or "its official address")
    return spec.open(data_dir=config.data_dir, cache_dir=config.cache_dir, split=config.split)


def training_episodes(
    data: SplitClasses, config: ClassificationConfig, purpose: int, first: int = 0, share: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Draws the endless stream of training episodes.

    Args:
        data: From `open_data`.
        config: The experiment's configuration.
        purpose: Which stream, of those in `maml_tf.experiments.classification.config`.
        first: Index of the first meta-batch: a resumed training passes the iterations done.
        share: k and n, for the k-th of n shares of each meta-batch alone.

    Returns:
        Meta-batches `((support_x, support_y, query_x), query_y)`.

    Raises:
        ValueError: If there are too few classes or images for a task.
    """
    return data.pool("train").episodes(
        config.stream(purpose), config.task_ways, config.task_shots, config.queries,
        meta_batch_size=config.meta_batch_size, first=first, share=share,
    )  # fmt: skip


def training_images(data: SplitClasses, config: ClassificationConfig, purpose: int, first: int = 0) -> tf.data.Dataset:
    """Draws the endless stream of labelled training images, on which the baselines' classifier is trained.

    Args:
        data: From `open_data`.
        config: The experiment's configuration.
        purpose: Which stream, of those in `maml_tf.experiments.classification.config`.
        first: Index of the first batch: a resumed training passes the iterations done.

    Returns:
        Batches of images and labels; where tasks turn their classes, as Omniglot's do, each turn is a class of its own.
    """
    pool = data.pool("train")
    return labelled_batches(pool, config.stream(purpose), config.batch_size, rotations=pool.rotations, first=first)


def labelled_classes(data: SplitClasses) -> int:
    """Returns the number of classes of `training_images`: a class that tasks turn makes one of each turn."""
    pool = data.pool("train")
    return (4 if pool.rotations else 1) * len(pool)


def evaluation_episodes(
    data: SplitClasses, config: ClassificationConfig, part: str, purpose: int, tasks: int
) -> tf.data.Dataset:
    """Draws the episodes of a validation or test.

    Args:
        data: From `open_data`.
        config: The experiment's configuration.
        part: "validation" or "test".
        purpose: Which stream, of those in `maml_tf.experiments.classification.config`.
        tasks: How many.

    Returns:
        Meta-batches `((support_x, support_y, query_x), query_y)`.

    Raises:
        ValueError: If there are too few classes or images for a task.
    """
    return data.pool(part).episodes(
        config.stream(purpose), config.task_ways, config.task_shots, config.evaluation_queries,
        meta_batch_size=min(_TASKS_AT_ONCE, tasks), tasks=tasks,
    )  # fmt: skip


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
