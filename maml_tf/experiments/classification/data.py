"""Episodes and labelled images of a configuration's data set."""

from __future__ import annotations

import tensorflow as tf
from absl import logging

from maml_tf.baselines import labelled_batches
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.tasks.dataset import SplitClasses, datasets

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
    data: SplitClasses, config: ClassificationConfig, purpose: int, first: int = 0
) -> tf.data.Dataset:
    """Draws the endless stream of training episodes.

    Args:
        data: From `open_data`.
        config: The experiment's configuration.
        purpose: Which stream, of those in `maml_tf.experiments.classification.config`.
        first: Index of the first meta-batch: a resumed training passes the iterations done.

    Returns:
        Meta-batches `((support_x, support_y, query_x), query_y)`.

    Raises:
        ValueError: If there are too few classes or images for a task.
    """
    return data.pool("train").episodes(
        config.stream(purpose), config.ways, config.shots, config.queries,
        meta_batch_size=config.meta_batch_size, first=first,
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
        config.stream(purpose), config.ways, config.shots, config.evaluation_queries,
        meta_batch_size=min(_TASKS_AT_ONCE, tasks), tasks=tasks,
    )  # fmt: skip
