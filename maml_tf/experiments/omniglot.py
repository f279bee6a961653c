"""Few-shot classification of Omniglot characters with the convolutional network: Section 5.2, Table 1."""

from __future__ import annotations

import dataclasses
import pathlib
import time

import keras
from absl import logging

from maml_tf.evaluation import Evaluator, accuracy
from maml_tf.experiments import results
from maml_tf.experiments.logdir import open_logdir
from maml_tf.experiments.results import Row
from maml_tf.meta_learner import MAML
from maml_tf.models import omniglot_conv
from maml_tf.plotting import learning_curves, save
from maml_tf.tasks import Omniglot
from maml_tf.training import (
    AtomicCheckpoint,
    Progress,
    TerminateOnNonFinite,
    write_atomically,
)

_TRAINING, _TEST = range(2)
_HEADS = ("zeros", "glorot_uniform", "normal")


@dataclasses.dataclass(frozen=True)
class OmniglotConfig:
    """What a run of the Omniglot experiment depends on.

    Attributes:
        data_dir: Folder with the two official archives, or with what they unpack to.
        split: How characters are divided: "characters" (the paper's) or "alphabets"; see `maml_tf.tasks.Omniglot`.
        seed: Seed of weights and episodes.
        iterations: Training iterations.
        ways: Classes N of a task.
        shots: Examples K of a class to adapt on.
        queries: Query examples of a class, in training and in evaluation.
        meta_batch_size: Tasks an iteration.
        inner_steps: Inner steps in training.
        evaluation_steps: Inner steps in evaluation.
        inner_learning_rate: Step size alpha on the mean cross-entropy. The original's inner loss is N times that:
            its alpha of 0.4 is 2.0 here with 5 ways.
        meta_learning_rate: Learning rate of Adam.
        first_order: Whether to drop second derivatives.
        filters: Filters of each convolution.
        head: Initial weights of the output layer: "zeros", "glorot_uniform", or the original's "normal", N(0, 1).
        test_tasks: Tasks of the evaluation.
        iterations_per_epoch: Iterations between lines of TensorBoard and checkpoints.
    """

    data_dir: str
    split: str = "characters"
    seed: int = 1
    iterations: int = 2000
    ways: int = 5
    shots: int = 1
    queries: int = 1
    meta_batch_size: int = 32
    inner_steps: int = 1
    evaluation_steps: int = 3
    inner_learning_rate: float = 0.4
    meta_learning_rate: float = 1e-3
    first_order: bool = False
    filters: int = 64
    head: str = "zeros"
    test_tasks: int = 600
    iterations_per_epoch: int = 100

    def __post_init__(self) -> None:
        if self.head not in _HEADS:
            raise ValueError(f"Expected head to be one of {_HEADS}. Received: head={self.head!r}")
        if self.iterations < 1 or self.iterations_per_epoch < 1 or self.iterations % self.iterations_per_epoch:
            raise ValueError(
                f"Expected iterations to be a multiple of iterations_per_epoch={self.iterations_per_epoch}. "
                f"Received: iterations={self.iterations}"
            )


def run(config: OmniglotConfig, logdir: str, resume: bool = False) -> list[Row]:
    """Trains on the training characters and evaluates on the test characters.

    Batch normalization uses the current batch's statistics throughout, at meta-test too (transductive), as the
    original does.

    Args:
        config: The experiment's configuration.
        logdir: Directory for checkpoints, results.json, the figure and TensorBoard's events.
        resume: Whether to go on from the checkpoints in it.

    Returns:
        The rows of results.json: metric "accuracy" after 0 to `evaluation_steps` steps.

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If the data are broken, or the directory cannot be written or is another run's.
    """
    began = time.monotonic()
    directory = open_logdir(logdir, ["checkpoints"], resume)
    logging.info("reading Omniglot from %s", config.data_dir)
    omniglot = Omniglot(config.data_dir, split=config.split, cache_dir=directory / "cache")
    # Before the training: characters too few for the test tasks are found now and not after it.
    test_episodes = _test_episodes(omniglot, config)
    keras.utils.set_random_seed(config.seed)
    learner = build_learner(config)
    training_seconds = _train(learner, omniglot, config, directory, resume)
    logging.info("evaluating on %d tasks of test characters", config.test_tasks)
    rows = _evaluate(learner, test_episodes, config)
    protocol = {
        "queries_per_class": config.queries,
        "batch_norm": "statistics of the current batch, at meta-test too (transductive)",
        "loss_scale": "mean cross-entropy; the original's step sizes are N times smaller for the same step",
    }
    results.write_results(
        directory / "results.json",
        experiment="omniglot",
        config=config,
        rows=rows,
        seconds=time.monotonic() - began,
        training_seconds=training_seconds,
        protocol=protocol,
    )
    save(learning_curves(rows, metric="accuracy", log_scale=False), directory / "accuracy.png")
    return rows


def build_learner(config: OmniglotConfig) -> MAML:
    """Builds the network and its learner, compiled.

    Args:
        config: The experiment's configuration.

    Returns:
        A learner of tasks with images [tasks, examples, 28, 28, 1] and labels [tasks, examples].
    """
    head = keras.initializers.RandomNormal(stddev=1.0) if config.head == "normal" else config.head
    network = omniglot_conv(config.ways, filters=config.filters, head_initializer=head, batch_statistics="always")
    learner = MAML(
        network,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        config.inner_learning_rate,
        config.inner_steps,
        config.first_order,
    )
    learner.compile(keras.optimizers.Adam(config.meta_learning_rate), metrics=["accuracy"])
    learner.optimizer.build(learner.trainable_variables)
    return learner


def _train(learner, omniglot, config, directory: pathlib.Path, resume: bool) -> float:
    per_epoch = config.iterations_per_epoch
    identity = {
        key: value
        for key, value in dataclasses.asdict(config).items()
        if key not in ("data_dir", "test_tasks", "evaluation_steps", "iterations")
    }
    checkpoint = AtomicCheckpoint(
        directory / "checkpoints",
        per_epoch,
        identity,
        every_seconds=30.0,
        model=learner,
        optimizer=learner.optimizer,
    )
    first = checkpoint.restore() if resume else 0
    start = time.monotonic()
    if first < config.iterations:
        episodes = omniglot.pool("train").episodes(
            config.seed * 8 + _TRAINING, config.ways, config.shots, config.queries,
            meta_batch_size=config.meta_batch_size, first=first,
        )  # fmt: skip
        learner.fit(
            episodes,
            epochs=config.iterations // per_epoch,
            initial_epoch=first // per_epoch,
            steps_per_epoch=per_epoch,
            verbose=0,
            shuffle=False,
            callbacks=[
                TerminateOnNonFinite(per_epoch),
                checkpoint,
                Progress(config.iterations, per_epoch),
                keras.callbacks.TensorBoard(str(directory), write_graph=False),
            ],
        )
    weights = directory / "unfinished.weights.h5"
    learner.model.save_weights(weights)
    write_atomically(directory / "network.weights.h5", weights.read_bytes())
    weights.unlink()
    return round(time.monotonic() - start, 1)


def _test_episodes(omniglot, config):
    return omniglot.pool("test").episodes(
        config.seed * 8 + _TEST, config.ways, config.shots, config.queries,
        meta_batch_size=min(config.meta_batch_size, config.test_tasks), tasks=config.test_tasks,
    )  # fmt: skip


def _evaluate(learner, episodes, config) -> list[Row]:
    evaluation = Evaluator(learner, {"accuracy": accuracy})(episodes, config.evaluation_steps)
    method = "maml_first_order" if config.first_order else "maml"
    return [Row.of(method, config.shots, summary, ways=config.ways) for summary in evaluation.summaries()]
