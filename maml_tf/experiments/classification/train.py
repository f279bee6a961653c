"""Trains a few-shot learner, or a baseline's classifier, and keeps the weights that do best in validation."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from maml_tf import distribute
from maml_tf.baselines import classifier
from maml_tf.experiments.classification.config import SUMMARIES, TRAINING, VALIDATION, ClassificationConfig
from maml_tf.experiments.classification.figures import EpisodeImage
from maml_tf.experiments.classification.files import (
    check_weights,
    evaluation_episodes,
    labelled_classes,
    open_data,
    training_episodes,
    training_images,
    write_config,
    write_weights,
)
from maml_tf.experiments.common.workers import open_training
from maml_tf.few_shot.learner import build_evaluator, build_learner, task_loss
from maml_tf.learner import MetaLearner
from maml_tf.methods import label
from maml_tf.plotting import figure_to_image, save, training_curves
from maml_tf.results import TRAINING_RECORD, WEIGHTS
from maml_tf.tasks.dataset import datasets
from maml_tf.training import (
    AdaptationValidation,
    AtomicCheckpoint,
    BestWeights,
    Iterations,
    LearnerSummaries,
    Progress,
    Summaries,
    WallTime,
    load_weights,
    row_tag,
    tag_of,
)


def train(config: ClassificationConfig, logdir: str | os.PathLike[str], resume: bool = False) -> dict[str, Any]:
    """Trains on the training classes and keeps the weights that do best on the validation classes.

    The test classes are not looked at: `evaluate` does that.

    Args:
        config: The experiment's configuration; it is stored in the directory.
        logdir: Directory for the checkpoints, the best weights and TensorBoard's events.
        resume: Whether to go on from the checkpoints in it.

    Returns:
        What training.json holds: the iteration of the best weights, their validation accuracy, wall-clock times and
        every validation; nothing where there is nothing to train.

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If the data are broken, too few for the tasks, or the directory is another run's.
    """
    with open_training(logdir, ["checkpoints"], resume, config) as directory:
        check_weights(directory, config, resume)
        return _train(config, directory, resume)


def _train(config: ClassificationConfig, directory: pathlib.Path, resume: bool) -> dict[str, Any]:
    keras.utils.set_random_seed(config.seed)
    learner = build_learner(config)
    if config.method == "random":
        write_config(directory, config)
        write_weights(directory, learner)
        return {}
    if not config.meta_learns:
        distribute.require_one_worker(f"the baseline {config.method!r}")
    data = open_data(config)
    validation_tasks = list(evaluation_episodes(data, config, "validation", VALIDATION, config.validation_tasks))
    trained = learner if config.meta_learns else classifier(learner.model, labelled_classes(data))
    compile_model(trained, config)
    iterations = Iterations(config.iterations, config.iterations_per_epoch)
    monitor = f"val_accuracy_step_{config.evaluation_steps}"
    best = BestWeights(learner, monitor, iterations, mode="max")
    checkpoint = AtomicCheckpoint(
        directory / "checkpoints", iterations, config.identity(),
        model=trained, optimizer=trained.optimizer, best=best.state,
    )  # fmt: skip
    first = checkpoint.restore() if resume else 0
    uncompiled = build_learner(config)  # Files of weights hold no optimizer's state.
    if config.initial_weights and not first:
        load_weights(uncompiled, config.initial_weights)
        learner.set_weights(uncompiled.get_weights())
    write_config(directory, config)
    best_file = _BestFile(best, uncompiled, directory)
    best_file.restore()
    validation = AdaptationValidation(
        build_evaluator(learner, loss=True),
        validation_tasks,
        config.evaluation_steps,
        every_epochs=config.validate_every // config.iterations_per_epoch,
        shown_steps=tuple(range(config.evaluation_steps + 1)),
    )
    steps = config.evaluation_steps
    summaries = Summaries(
        directory, iterations,
        card={
            "experiment": "few-shot classification",
            "data": f"{datasets[config.dataset].title}, {config.ways}-way {config.shots}-shot",
            "method": label(config.label),
        },
        hparams={"method": config.label, **config.results_identity()},
        first=("method", "ways", "shots", "seed", "iterations"),
        metrics=[*(row_tag("accuracy", step) for step in sorted({0, 1, steps})), tag_of(monitor), "training/loss"],
    )  # fmt: skip
    record = TrainingRecord(directory, best, metric="accuracy", steps=config.evaluation_steps, resume=resume)
    callbacks = [
        validation,
        best,
        best_file,
        record,
        checkpoint,
        Progress(iterations, metrics=("loss", "accuracy", monitor)),
        summaries,
    ]
    if config.meta_learns:
        meta_batch = next(iter(training_episodes(data, config, SUMMARIES)))
        image = EpisodeImage(learner, validation_tasks[0], steps)
        callbacks.append(LearnerSummaries(summaries, learner, meta_batch, every=config.validate_every, image=image))
    if config.meta_learns:
        tasks = distribute.shared(lambda k, n: training_episodes(data, config, TRAINING, first, share=(k, n)))
    else:
        tasks = training_images(data, config, TRAINING, first)
    iterations.fit(trained, tasks, callbacks)
    if best.iteration is None:
        raise ValueError(
            f"Expected a training that reaches its first validation without diverging. Received: none in "
            f"{iterations.done} iterations ({str(directory)!r})"
        )
    best.write(directory)
    logging.info("best weights: iteration %d, validation accuracy %.4f", best.iteration, best.value)
    validations = record.content["validation"]
    curves = training_curves([one["iteration"] for one in validations], [one["accuracy"] for one in validations])
    save(curves, directory / "training.png")
    with summaries.writer.as_default(step=iterations.done):
        tf.summary.image("validation accuracy", figure_to_image(curves))
    summaries.writer.close()
    return record.content


def compile_model(model: keras.Model, config: ClassificationConfig) -> None:
    """Compiles a learner, or a baseline's classifier, for training.

    Args:
        model: The model.
        config: The experiment's configuration.
    """
    # A learner has its loss already, and chooses XLA by itself.
    chosen = isinstance(model, MetaLearner) and not config.in_task_order
    loss = {} if isinstance(model, MetaLearner) else {"loss": task_loss()}
    rate = config.meta_learning_rate
    if config.meta_learning_rate_decay == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, config.iterations)
    model.compile(
        keras.optimizers.Adam(rate, clipvalue=config.mean_gradient_clip),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        # Workers cannot meet inside the loop of a call.
        steps_per_execution=config.steps_per_call if distribute.this_worker().count == 1 else 1,
        **({} if chosen else {"jit_compile": False}),
        **loss,
    )
    model.optimizer.build(model.trainable_variables)


class TrainingRecord(WallTime):
    """Keeps training.json up to date; a resumed training adds its part.

    Args:
        directory: Of the training.
        best: What chooses the best weights.
        metric: Name of the metric that is recorded after every inner step.
        steps: Number of inner steps.
        **options: Of `WallTime`.
    """

    file = TRAINING_RECORD

    def __init__(self, directory: pathlib.Path, best: BestWeights, *, metric: str, steps: int, **options: Any):
        super().__init__(directory, best.iterations, **options)
        self.best = best
        self.names = [f"val_{metric}_step_{step}" for step in range(steps + 1)]
        done = self.iterations.done
        self._validations = [one for one in self.stored.get("validation", []) if one["iteration"] <= done]

    @property
    def content(self) -> dict[str, Any]:
        return {
            "best_iteration": self.best.iteration,
            "best_validation_accuracy": self.best.value,
            **super().content,
            "validation": self._validations,
        }

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and self.names[-1] in logs:
            accuracy = [round(float(logs[name]), 6) for name in self.names]
            self._validations.append({"iteration": self.iterations.done, "accuracy": accuracy})
            self.write()
        super().on_epoch_end(epoch, logs)


class _BestFile(keras.callbacks.Callback):
    """Writes the best weights, through a learner that is not compiled, whenever there are new ones."""

    def __init__(self, best: BestWeights, learner: MetaLearner, directory: pathlib.Path):
        super().__init__()
        self.best = best
        self.learner = learner
        self.directory = directory

    def restore(self) -> None:
        """Writes them if the file holds none, or others than a checkpoint that was restored."""
        if self.best.iteration is None:
            return
        # Not always: to write the same weights again changes the file, by which results know them.
        reason = "whose are others"
        try:
            load_weights(self.learner, self.directory / WEIGHTS)
            pairs = zip(self.learner.weights, self.best.state.weights, strict=True)
            if all(np.array_equal(variable, kept) for variable, kept in pairs):
                return
        except (FileNotFoundError, ValueError) as error:
            reason = str(error)
        logging.warning("the best weights are written again from the checkpoint: %s", reason)
        self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.best.iteration == self.best.iterations.done:
            self._write()

    def _write(self) -> None:
        for variable, kept in zip(self.learner.weights, self.best.state.weights, strict=True):
            variable.assign(kept)
        write_weights(self.directory, self.learner)
