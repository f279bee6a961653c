"""The baselines of few-shot classification: a classifier fine-tuned, its features compared, random weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from maml_tf.baselines import classifier, feature_model, nearest_neighbour, tune_step_size
from maml_tf.core.task_values import Evaluation
from maml_tf.evaluation import accuracy
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.image_data import turned_classes
from maml_tf.few_shot.learner import ADAPTED, build_evaluator, task_loss
from maml_tf.learner import MAML
from maml_tf.tasks.datasets import SplitClasses

STEP_SIZES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def build_classifier(learner: MAML, data: SplitClasses, config: ClassificationConfig) -> keras.Model:
    """Builds the classifier of all training classes that shares the learner's network, but for the output layer.

    Args:
        learner: Of the configuration.
        data: The classes.
        config: The experiment's configuration.

    Returns:
        A model from images to logits of the classes, as `training_images` numbers them.
    """
    return classifier(learner.model, turned_classes(config) * len(data.pool("train")))


def evaluate_baselines(
    learner: MAML, config: ClassificationConfig, validation: Sequence[Any], episodes: Iterable[Any]
) -> tuple[dict[str, Evaluation], dict[str, Any]]:
    """Measures fine-tuning, with a step size tuned on validation tasks, and nearest neighbours on the features.

    Args:
        learner: With the weights to measure.
        config: The experiment's configuration.
        validation: Meta-batches of validation tasks.
        episodes: Meta-batches of test tasks.

    Returns:
        An evaluation for each row's method, and what the protocol says beside the configuration's.
    """
    network, adapted = learner.model, ADAPTED[config.adapted]
    # By accuracy, which the tables report: on Omniglot the loss chooses some that are right 3 to 6 % less often.
    [(step_size, errors)] = tune_step_size(
        network, task_loss(), [validation], config.evaluation_steps, STEP_SIZES,
        adapted=adapted, error=_error_rate,
    )  # fmt: skip
    tried = ", ".join(f"{1 - error:.3g} with {size:g}" for size, error in zip(STEP_SIZES, errors, strict=True))
    logging.info("step size %g; mean accuracies on validation tasks: %s", step_size, tried)
    tuned = MAML(network, task_loss(), step_size, first_order=True, adapted=adapted)
    evaluations = {config.label: build_evaluator(tuned, config)(episodes, config.evaluation_steps)}
    suffix = "" if config.method == "pretrained" else f"_{config.method}"
    evaluations[f"nearest_neighbour{suffix}"] = nearest_neighbour(feature_model(network), episodes)
    return evaluations, {"loss_scale": "mean", "inner_learning_rate_on_the_mean": step_size}


def _error_rate(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return 1.0 - accuracy(targets, logits)
