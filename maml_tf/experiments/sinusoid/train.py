"""The methods of the sinusoid experiment: how each comes by its initial weights."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from maml_tf.algorithms import of_method
from maml_tf.baselines import AnchoredRegression, ParameterAveraging
from maml_tf.evaluation import Evaluator
from maml_tf.experiments.sinusoid import config as streams
from maml_tf.experiments.sinusoid.config import DIVERGENCE, SinusoidConfig
from maml_tf.learner import MetaLearner
from maml_tf.models import mlp
from maml_tf.tasks.sinusoid import Sinusoids, pooled, with_task_input
from maml_tf.training import (
    AdaptationValidation,
    AtomicCheckpoint,
    BestWeights,
    InGraphTraining,
    Iterations,
    Progress,
    WallTime,
)

# Trained otherwise than by a learner, or not at all.
BASELINES = ("pretrained", "oracle", "random", "multi_task", "multi_task_l2", "multi_task_mean")
_SINUSOIDS = Sinusoids()
# The smallest number of shots is where adaptation is hardest and first diverges.
_VALIDATION_SHOTS = 5


def train(method: str, config: SinusoidConfig, directory: pathlib.Path, resume: bool) -> keras.Model:
    """Trains a method's network.

    Args:
        method: One of `METHODS`.
        config: The experiment's configuration.
        directory: For checkpoints, the wall time and TensorBoard's events.
        resume: Whether to go on from the checkpoints in the directory.

    Returns:
        The network: 1 input, or for the oracle 3 (x, amplitude, phase).

    Raises:
        ValueError: If the directory holds checkpoints and `resume` is False, or those of another configuration.
    """
    keras.utils.set_random_seed(config.seed)
    network = build_network(config, inputs=3 if method == "oracle" else 1)
    if method not in BASELINES:
        learner = build_learner(method, config, network, config.inner_learning_rate)
        learner.compile(keras.optimizers.Adam(config.meta_learning_rate))
        _fit(learner, _episodes(config), _validation(learner, config), method, config, directory, resume)
    elif method in ("pretrained", "oracle"):
        network.compile(keras.optimizers.Adam(config.meta_learning_rate), loss="mse")
        _fit(
            network,
            _pooled_points(config, oracle=method == "oracle"),
            None,
            method,
            config,
            directory,
            resume,
        )
    elif method != "random":
        _average_networks(network, method, config, directory, resume)
    return network


def build_learner(method: str, config: SinusoidConfig, network: keras.Model, step_size: float) -> MetaLearner:
    """Builds the learner that trains a method's network, or measures it; a baseline is measured as MAML is."""
    first_order = config.first_order or method in ("maml_first_order", *BASELINES)
    return MetaLearner(network, "mse", of_method(method, first_order), step_size, config.inner_steps, name="maml")


def build_network(config: SinusoidConfig, inputs: int = 1) -> keras.Model:
    """Builds the paper's network: two hidden layers of 40 ReLU units.

    Args:
        config: The experiment's configuration.
        inputs: Number of inputs.

    Returns:
        A built model [points, inputs] -> [points, 1].
    """
    return mlp((inputs,), hidden=config.hidden, outputs=1, kernel_initializer=config.initializer, name="network")


def validation_episodes(config: SinusoidConfig, shots: int) -> list[Any]:
    """Draws the validation tasks.

    Args:
        config: The experiment's configuration.
        shots: Support points of a task; it has as many query points.

    Returns:
        One meta-batch of all validation tasks.
    """
    drawn = _SINUSOIDS.draw(
        config.stream(streams.VALIDATION), 0, tasks=config.validation_tasks, shots=shots, queries=shots
    )
    return [drawn.episode.keras_data()]


def _episodes(config: SinusoidConfig) -> Callable[[tf.Tensor], Any]:
    def draw(index):
        return _SINUSOIDS.draw(
            config.stream(streams.TRAINING), index,
            tasks=config.meta_batch_size, shots=config.shots, queries=config.shots,
        ).episode.keras_data()  # fmt: skip

    return draw


def _pooled_points(config: SinusoidConfig, oracle: bool) -> Callable[[tf.Tensor], Any]:
    def draw(index):
        drawn = _SINUSOIDS.draw(
            config.stream(streams.TRAINING),
            index,
            tasks=config.meta_batch_size,
            shots=config.shots,
            queries=0,
        )
        return pooled(with_task_input(drawn) if oracle else drawn.episode)

    return draw


def _validation(learner: MetaLearner, config: SinusoidConfig) -> AdaptationValidation:
    return AdaptationValidation(
        Evaluator(learner, divergence=DIVERGENCE),
        validation_episodes(config, _VALIDATION_SHOTS),
        config.evaluation_steps,
        shown_steps=(1, 5, 10),
    )


def _fit(model, draw, validation, method, config, directory, resume) -> None:
    training = InGraphTraining(model, draw, config.iterations_per_call)
    iterations = training.iterations(config.iterations)
    saved = {"model": model, "optimizer": model.optimizer}
    validating = []
    if validation:
        best = BestWeights(model, "val_loss", iterations)
        validating, saved["best"] = [validation, best], best.state
    callbacks = _callbacks(iterations, method, config, directory, resume, saved)
    training.fit_iterations(iterations, [*validating, *callbacks])
    if validation:
        best.apply()
        logging.info("%s: best weights on validation tasks after %d iterations", method, best.iteration)


def _callbacks(
    iterations: Iterations, method: str, config: SinusoidConfig, directory: pathlib.Path, resume: bool, saved: Any
) -> list[keras.callbacks.Callback]:
    """Makes the callbacks of every training, the checkpoint restored where the training goes on."""
    checkpoint = AtomicCheckpoint(
        directory / "checkpoints",
        iterations,
        config.identity(method=method),
        every_seconds=config.checkpoint_seconds,
        **saved,
    )
    if resume:
        checkpoint.restore()
    return [
        checkpoint,
        Progress(iterations),
        WallTime(directory, iterations, resume=resume),
        keras.callbacks.TensorBoard(str(directory), write_graph=False),
    ]


def _average_networks(network, method, config, directory, resume) -> None:
    strength = {"multi_task_l2": config.multi_task_l2, "multi_task_mean": config.multi_task_mean}.get(method, 0.0)
    anchored = AnchoredRegression(network, strength)
    rate = keras.optimizers.schedules.CosineDecay(config.multi_task_learning_rate, config.multi_task_iterations)
    anchored.compile(keras.optimizers.Adam(rate), loss="mse", jit_compile=True)
    anchored.optimizer.build(anchored.trainable_variables)
    averaging = ParameterAveraging(
        anchored,
        lambda number: _fresh_weights(config, number),
        move_anchor=method == "multi_task_mean",
        error=lambda number: _error(network, config, number),
    )
    per_network = config.multi_task_iterations

    def draw(index):
        number = index // per_network
        task = _SINUSOIDS.draw(config.stream(streams.NETWORKS), number, tasks=1, shots=1, queries=0)
        points = _SINUSOIDS.draw(
            config.stream(streams.TRAINING), index, tasks=1, shots=config.multi_task_points, queries=0
        ).episode.support_x[0]
        return points, task.amplitude * tf.sin(points - task.phase)

    training = InGraphTraining(anchored, draw, per_network)
    iterations = training.iterations(config.multi_task_networks * per_network)
    averaging.start()
    saved = {"model": network, "optimizer": anchored.optimizer, "averaging": averaging.state}
    callbacks = _callbacks(iterations, method, config, directory, resume, saved)
    errors = training.fit_iterations(iterations, [averaging, *callbacks]).history.get("network_error")
    if errors:
        logging.info("%s: mean error of the networks on their own tasks %.4f", method, sum(errors) / len(errors))
    averaging.apply()


def _fresh_weights(config: SinusoidConfig, number: int) -> list[tf.Tensor]:
    """Draws a network's initial weights as a function of its number alone, so that a resume draws the same."""
    keras.utils.set_random_seed((config.stream(streams.NETWORKS) * 100_000 + number) % 2**32)
    network = build_network(dataclasses.replace(config, initializer=config.multi_task_initializer))
    return [tf.convert_to_tensor(variable) for variable in network.trainable_variables]


def _error(network: keras.Model, config: SinusoidConfig, number: int) -> float:
    """Measures a network of the multi-task baselines on a dense grid of its own task."""
    episode = _SINUSOIDS.draw(
        config.stream(streams.NETWORKS), number, tasks=1, shots=1, queries=config.grid_points, query_grid=True
    ).episode
    return float(tf.reduce_mean((network(episode.query_x[0]) - episode.query_y[0]) ** 2))
