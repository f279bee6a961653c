"""Measures what a training kept on the test classes: MAML, or a baseline beside nearest neighbours."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from maml_tf import results
from maml_tf.baselines import feature_model, nearest_neighbour, tune_step_size
from maml_tf.core.task_values import Evaluation
from maml_tf.evaluation import accuracy
from maml_tf.experiments.classification.config import TEST, VALIDATION, ClassificationConfig
from maml_tf.experiments.classification.files import evaluation_episodes, load_config, load_learner, open_data
from maml_tf.few_shot.learner import ADAPTED, build_evaluator, task_loss
from maml_tf.learner import MAML
from maml_tf.plotting import learning_curves, save
from maml_tf.results import TRAINING_RECORD, WEIGHTS, Row, file_digest
from maml_tf.training import read_json, writable_directory, write_rows

STEP_SIZES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def evaluate(
    logdir: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> list[Row]:
    """Measures a training's best weights on the test classes, after every number of inner steps.

    Args:
        logdir: Directory that `train` wrote.
        overrides: Fields of the configuration to change, of those that an evaluation may.
        output: Directory for results.json and accuracy.png, by default the same one.

    Returns:
        The rows of results.json: metric "accuracy" after 0 to `evaluation_steps` steps.

    Raises:
        FileNotFoundError: If the directory holds no training, or the data are not there.
        ValueError: If a field cannot be changed, or the data are broken or too few for the tasks.
    """
    began = time.monotonic()
    trained = pathlib.Path(logdir).expanduser()
    config = load_config(trained, overrides)
    learner, digest = load_learner(trained, config), file_digest(trained / WEIGHTS)
    directory = writable_directory(output or trained)
    data = open_data(config)
    episodes = evaluation_episodes(data, config, "test", TEST, config.test_tasks)
    logging.info("evaluating on %d tasks of test classes", config.test_tasks)
    if config.meta_learns:
        evaluations, protocol = {config.label: build_evaluator(learner)(episodes, config.evaluation_steps)}, {}
    else:
        validation = evaluation_episodes(data, config, "validation", VALIDATION, config.validation_tasks)
        evaluations, protocol = evaluate_baselines(learner, config, list(validation), episodes)
    rows = [
        Row.of(method, config.shots, summary, ways=config.ways)
        for method, evaluation in evaluations.items()
        for summary in evaluation.summaries()
    ]
    record = trained / TRAINING_RECORD
    training = read_json(record) if record.exists() else None
    best_iteration = training and training.get("best_iteration")
    results.write_results(
        directory / results.RESULTS,
        experiment=config.dataset,
        config=config,
        rows=rows,
        seconds=round(time.monotonic() - began, 1),
        protocol={**config.protocol(), **protocol},
        training=training,
        weights_sha256=digest,
    )
    write_rows(directory, [row for row in rows if row.method == config.label], best_iteration or 0)
    figure = learning_curves(rows, metric="accuracy", log_scale=False, percent=True)
    save(figure, directory / "accuracy.png")
    return rows


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
    evaluations = {config.label: build_evaluator(tuned)(episodes, config.evaluation_steps)}
    suffix = "" if config.method == "pretrained" else f"_{config.method}"
    evaluations[f"nearest_neighbour{suffix}"] = nearest_neighbour(feature_model(network), episodes)
    return evaluations, {"loss_scale": "mean", "inner_learning_rate_on_the_mean": step_size}


def _error_rate(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return 1.0 - accuracy(targets, logits)
