"""Few-shot image classification: Section 5.2, Tables 1 and 3. Training, and the test that follows it."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

from maml_tf import results
from maml_tf.experiments.classification_baselines import build_classifier, evaluate_baselines
from maml_tf.experiments.classification_config import SUMMARIES, TEST, TRAINING, VALIDATION, ClassificationConfig
from maml_tf.experiments.classification_files import (
    check_weights,
    load_config,
    load_learner,
    weights_digest,
    write_config,
    write_weights,
)
from maml_tf.experiments.classification_record import TrainingRecord
from maml_tf.experiments.classification_summaries import ClassificationSummaries
from maml_tf.experiments.image_data import evaluation_episodes, open_data, training_episodes, training_images
from maml_tf.experiments.logdir import open_logdir
from maml_tf.few_shot.learner import build_evaluator, build_learner, task_loss
from maml_tf.learner import MAML, MetaLearner
from maml_tf.plotting import learning_curves, save, training_curves
from maml_tf.results import TRAINING_RECORD, WEIGHTS, Row
from maml_tf.training import (
    AdaptationValidation,
    AtomicCheckpoint,
    BestWeights,
    DataWait,
    Progress,
    TerminateOnNonFinite,
    load_weights,
    read_json,
    writable_directory,
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
    with open_logdir(logdir, ["checkpoints"], resume) as directory:
        check_weights(directory, config, resume)
        return _train(config, directory, resume)


def _train(config: ClassificationConfig, directory: pathlib.Path, resume: bool) -> dict[str, Any]:
    keras.utils.set_random_seed(config.seed)
    learner = build_learner(config)
    if config.method == "random":
        write_config(directory, config)
        write_weights(directory, learner)
        return {}
    data = open_data(config)
    validation_tasks = list(evaluation_episodes(data, config, "validation", VALIDATION, config.validation_tasks))
    trained = learner if config.method == "maml" else build_classifier(learner, data, config)
    compile_model(trained, config)
    per_epoch = config.iterations_per_epoch
    monitor = f"val_accuracy_step_{config.evaluation_steps}"
    best = BestWeights(learner, monitor, per_epoch, mode="max")
    checkpoint = AtomicCheckpoint(
        directory / "checkpoints", per_epoch, config.identity(),
        model=trained, optimizer=trained.optimizer, best=best.state,
    )  # fmt: skip
    first = checkpoint.restore(config.iterations) if resume else 0
    uncompiled = build_learner(config)  # Files of weights hold no optimizer's state.
    if config.initial_weights and not first:
        load_weights(uncompiled, config.initial_weights)
        learner.set_weights(uncompiled.get_weights())
    write_config(directory, config)
    best_file = _BestFile(best, uncompiled, per_epoch, directory)
    best_file.restore()
    validation = AdaptationValidation(
        build_evaluator(learner, config),
        validation_tasks,
        config.evaluation_steps,
        every_epochs=config.validate_every // per_epoch,
        shown_steps=tuple(range(config.evaluation_steps + 1)),
    )
    record = TrainingRecord(
        directory, best, metric="accuracy", steps=config.evaluation_steps, iterations_per_epoch=per_epoch, first=first
    )
    wait = DataWait()
    summaries = []
    if config.method == "maml":
        meta_batch = next(iter(training_episodes(data, config, SUMMARIES)))
        summaries.append(
            ClassificationSummaries(
                learner, meta_batch, validation_tasks[0], directory,
                steps=config.evaluation_steps, iterations_per_epoch=per_epoch,
                every_epochs=config.validate_every // per_epoch,
            )
        )  # fmt: skip
    if first < config.iterations:
        draw = training_episodes if config.method == "maml" else training_images
        trained.fit(
            wait.watch(draw(data, config, TRAINING, first)),
            epochs=config.iterations // per_epoch,
            initial_epoch=first // per_epoch,
            steps_per_epoch=per_epoch,
            verbose=0,
            shuffle=False,
            callbacks=[
                TerminateOnNonFinite(per_epoch),
                wait,
                validation,
                best,
                best_file,
                record,
                checkpoint,
                Progress(config.iterations, per_epoch, metrics=("loss", "accuracy", "data_wait", monitor)),
                keras.callbacks.TensorBoard(str(directory), write_graph=False, write_steps_per_second=True),
                *summaries,
            ],
        )
    logging.info("best weights: iteration %d, validation accuracy %.4f", best.iteration, best.value)
    validations = record.content["validation"]
    curves = training_curves([one["iteration"] for one in validations], [one["accuracy"] for one in validations])
    save(curves, directory / "training.png")
    return record.content


def evaluate(
    logdir: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> list[Row]:
    """Measures a training's best weights on the test classes, after every number of inner steps.

    Args:
        logdir: Directory that `train` wrote.
        overrides: Fields of the configuration to change, of
            those that an evaluation may change.
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
    learner, digest = load_learner(trained, config), weights_digest(trained)
    directory = writable_directory(output or trained)
    data = open_data(config)
    episodes = evaluation_episodes(data, config, "test", TEST, config.test_tasks)
    logging.info("evaluating on %d tasks of test classes", config.test_tasks)
    if config.method == "maml":
        evaluations, protocol = {config.label: build_evaluator(learner, config)(episodes, config.evaluation_steps)}, {}
    else:
        validation = evaluation_episodes(data, config, "validation", VALIDATION, config.validation_tasks)
        evaluations, protocol = evaluate_baselines(learner, config, list(validation), episodes)
    rows = [
        Row.of(method, config.shots, summary, ways=config.ways)
        for method, evaluation in evaluations.items()
        for summary in evaluation.summaries()
    ]
    record = trained / TRAINING_RECORD
    results.write_results(
        directory / results.RESULTS,
        experiment=config.dataset,
        config=config,
        rows=rows,
        seconds=round(time.monotonic() - began, 1),
        protocol={**config.protocol(), **protocol},
        training=read_json(record) if record.exists() else None,
        weights_sha256=digest,
    )
    figure = learning_curves(rows, metric="accuracy", log_scale=False, percent=True)
    save(figure, directory / "accuracy.png")
    return rows


def compile_model(model: keras.Model, config: ClassificationConfig) -> None:
    """Compiles a learner, or a baseline's classifier, for training.

    Args:
        model: The model.
        config: The experiment's configuration.
    """
    # A learner has its loss already.
    loss = {} if isinstance(model, MetaLearner) else {"loss": task_loss(), "jit_compile": False}
    rate = config.meta_learning_rate
    if config.meta_learning_rate_decay == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, config.iterations)
    model.compile(
        keras.optimizers.Adam(rate, clipvalue=config.mean_gradient_clip),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=config.steps_per_call,
        **loss,
    )
    model.optimizer.build(model.trainable_variables)


class _BestFile(keras.callbacks.Callback):
    """Writes the best weights, through a learner that is not compiled, whenever there are new ones."""

    def __init__(self, best: BestWeights, learner: MAML, iterations_per_epoch: int, directory: pathlib.Path):
        super().__init__()
        self.best = best
        self.learner = learner
        self.iterations_per_epoch = iterations_per_epoch
        self.directory = directory

    def restore(self) -> None:
        """Writes them if the file holds none, or others than a checkpoint that was restored."""
        if self.best.iteration is None:
            return
        # Not always: to write the same weights again changes the file, by which results know them.
        try:
            load_weights(self.learner, self.directory / WEIGHTS)
        except (FileNotFoundError, ValueError) as error:
            logging.warning("the best weights are written again from the checkpoint: %s", error)
            self._write()
            return
        pairs = zip(self.learner.weights, self.best.state.weights, strict=True)
        if not all(np.array_equal(variable, kept) for variable, kept in pairs):
            logging.warning("the best weights are written again from the checkpoint, whose are others")
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.best.iteration == (epoch + 1) * self.iterations_per_epoch:
            self._write()

    def _write(self) -> None:
        for variable, kept in zip(self.learner.weights, self.best.state.weights, strict=True):
            variable.assign(kept)
        write_weights(self.directory, self.learner)
