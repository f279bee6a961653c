"""The methods of the sinusoid experiment: how each comes by its initial weights, and how it is tested."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from maml_tf.algorithms import of_method
from maml_tf.baselines import AnchoredRegression, ParameterAveraging, tune_step_size
from maml_tf.core.update_rules import SGD, Chain, MetaCurvature
from maml_tf.evaluation import Evaluator
from maml_tf.experiments.sinusoid import config as streams
from maml_tf.experiments.sinusoid.config import DIVERGENCE, SinusoidConfig
from maml_tf.few_shot.regression import build_learner, build_network
from maml_tf.learner import MetaLearner
from maml_tf.methods import label, methods
from maml_tf.tasks.sinusoid import Sinusoids, pooled, with_task_input
from maml_tf.training import (
    AdaptationValidation,
    AtomicCheckpoint,
    BestWeights,
    InGraphTraining,
    Iterations,
    LearnerSummaries,
    Progress,
    Summaries,
    WallTime,
    row_tag,
)

SINUSOIDS = Sinusoids()
# The smallest number of shots is where adaptation is hardest and first diverges.
_VALIDATION_SHOTS = 5
# The means of validation are left to TensorBoard: a few of thousands of tasks that diverge make them infinite.
_SHOWN = ("loss", *(f"val_loss_median_step_{step}" for step in (1, 5, 10)), "val_loss_diverged_share", "network_error")


def build_method(name: str, config: SinusoidConfig) -> MetaLearning:
    """Builds a registered method, not yet trained.

    Args:
        name: One of `maml_tf.methods.names("sinusoid")`.
        config: The experiment's configuration.
    """
    build = methods[name].builder("sinusoid") or MetaLearning
    return build(name, config)


def validation_episodes(config: SinusoidConfig, shots: int) -> list[Any]:
    """Draws one meta-batch of all validation tasks, with as many query points as support points."""
    drawn = SINUSOIDS.draw(
        config.stream(streams.VALIDATION), 0, tasks=config.validation_tasks, shots=shots, queries=shots
    )
    return [drawn.episode.keras_data()]


class MetaLearning:
    """A method that meta-learns its network, by the algorithm and with the settings of its entry in the registry.

    Other methods are subclasses that replace what differs.

    Args:
        name: Name of the method.
        config: The experiment's configuration.

    Attributes:
        network: The network, with initial weights of the configuration's seed; `train` changes it in place.
        config: The configuration with the method's settings.
        adapts: Whether the method adapts to a task; one that does not is tested without gradient steps.
    """

    inputs = 1
    adapts = True

    def __init__(self, name: str, config: SinusoidConfig):
        self.name = name
        self.config = dataclasses.replace(config, **methods[name].settings["sinusoid"])
        self._identity = config.identity(method=name)
        keras.utils.set_random_seed(config.seed)
        self.network = build_network(self.config, self.inputs)

    def learner(self, step_size: float | None = None) -> MetaLearner:
        """Builds the learner that is trained, or with a step size the one that is tested."""
        config = self.config
        step_size = config.inner_learning_rate if step_size is None else step_size
        return build_learner(self.name, config, self.network, step_size)

    def train(self, directory: pathlib.Path, resume: bool) -> None:
        """Trains the network.

        Args:
            directory: For checkpoints, the wall time and TensorBoard's events.
            resume: Whether to continue from the checkpoints in the directory.

        Raises:
            ValueError: If the directory holds checkpoints of another configuration.
        """
        learner = self.learner()
        xla = {"jit_compile": False} if self.config.in_task_order else {}
        learner.compile(keras.optimizers.Adam(self.config.meta_learning_rate), **xla)
        self._fit(learner, directory, resume, validate=True)

    def step_sizes(self) -> dict[int, float]:
        """Returns the step size of the test for each number of shots."""
        return dict.fromkeys(self.config.evaluation_shots, self.config.inner_learning_rate)

    def test_episode(self, drawn: Any) -> Any:
        """Returns the episode of drawn tasks as the network takes it."""
        return drawn.episode

    def draw(self, index: tf.Tensor) -> Any:
        """Draws the data of a training iteration, a function of its index."""
        config = self.config
        return SINUSOIDS.draw(
            config.stream(streams.TRAINING), index,
            tasks=config.meta_batch_size, shots=config.shots, queries=config.shots,
        ).episode.keras_data()  # fmt: skip

    def _fit(self, model: keras.Model, directory: pathlib.Path, resume: bool, *, validate: bool = False) -> None:
        training = InGraphTraining(model, self.draw, self.config.iterations_per_call)
        iterations, best = training.iterations(self.config.iterations), None
        callbacks, saved = [], {"model": model, "optimizer": model.optimizer}
        if validate:
            best = BestWeights(model, "val_loss", iterations)
            evaluator = Evaluator(model, divergence=DIVERGENCE)
            episodes = validation_episodes(self.config, _VALIDATION_SHOTS)
            steps = self.config.evaluation_steps
            callbacks = [AdaptationValidation(evaluator, episodes, steps, shown_steps=range(steps + 1)), best]
            saved["best"] = best.state
        callbacks += self._callbacks(iterations, directory, resume, saved)
        if validate:
            callbacks.append(self._learner_summaries(callbacks[-1], model))
        training.fit_iterations(iterations, callbacks)
        if best:
            best.apply()
            best.write(directory)
            logging.info("%s: best weights on validation tasks after %d iterations", self.name, best.iteration)

    def _callbacks(
        self, iterations: Iterations, directory: pathlib.Path, resume: bool, saved: dict[str, Any]
    ) -> list[keras.callbacks.Callback]:
        """Makes the callbacks of every training; restores the checkpoint if the training continues."""
        checkpoint = AtomicCheckpoint(
            directory / "checkpoints", iterations, self._identity,
            every_seconds=self.config.checkpoint_seconds, **saved,
        )  # fmt: skip
        if resume:
            checkpoint.restore()
        return [
            checkpoint,
            Progress(iterations, metrics=_SHOWN),
            WallTime(directory, iterations, resume=resume),
            self._summaries(directory, iterations),
        ]

    def _summaries(self, directory: pathlib.Path, iterations: Iterations) -> Summaries:
        config, last = self.config, self.config.evaluation_steps if self.adapts else 0
        shots = [None] if len(config.evaluation_shots) == 1 else config.evaluation_shots
        return Summaries(
            directory,
            iterations,
            card={
                "experiment": "sinusoid regression",
                "data": f"sinusoids, {config.shots} points of a training task",
                "method": label(self.name),
            },
            hparams={"method": self.name, **config.results_identity()},
            first=("method", "shots", "seed", "iterations", "inner_steps"),
            metrics=[*(row_tag("mse", step, k) for k in shots for step in sorted({0, 1, last})), "training/loss"],
        )

    def _learner_summaries(self, summaries: Summaries, learner: MetaLearner) -> LearnerSummaries:
        config = self.config
        drawn = SINUSOIDS.draw(
            config.stream(streams.FIGURES), 0, tasks=config.meta_batch_size, shots=config.shots, queries=config.shots
        )
        return LearnerSummaries(summaries, learner, drawn.episode.keras_data(), every=config.iterations_per_call)


class Curved(MetaLearning):
    """MAML whose inner gradients go through meta-learned matrices: "meta_curvature"."""

    def __init__(self, name: str, config: SinusoidConfig):
        super().__init__(name, config)
        # The same in training and test: what it has learned belongs to the network.
        self._curvature = MetaCurvature()

    def learner(self, step_size: float | None = None) -> MetaLearner:
        config = self.config
        rule = Chain([self._curvature, SGD(config.inner_learning_rate if step_size is None else step_size)])
        algorithm = of_method(self.name, config.first_order)
        return MetaLearner(self.network, "mse", algorithm, rule, config.inner_steps, name="maml")


class FineTuning(MetaLearning):
    """A network that is not trained, fine-tuned with step sizes chosen on validation tasks: "random"."""

    def train(self, directory: pathlib.Path, resume: bool) -> None:
        pass

    def step_sizes(self) -> dict[int, float]:
        shots = self.config.evaluation_shots
        episodes = [validation_episodes(self.config, of_shots) for of_shots in shots]
        tuned = tune_step_size(self.network, "mse", episodes, self.config.evaluation_steps)
        return {of_shots: size for of_shots, (size, _) in zip(shots, tuned, strict=True)}


class Pretraining(FineTuning):
    """A network trained on the points of all tasks together (Section 5.1)."""

    def train(self, directory: pathlib.Path, resume: bool) -> None:
        self.network.compile(keras.optimizers.Adam(self.config.meta_learning_rate), loss="mse")
        self._fit(self.network, directory, resume)

    def draw(self, index: tf.Tensor) -> Any:
        config = self.config
        drawn = SINUSOIDS.draw(
            config.stream(streams.TRAINING), index, tasks=config.meta_batch_size, shots=config.shots, queries=0
        )
        return pooled(self.test_episode(drawn))


class Oracle(Pretraining):
    """A network that is told amplitude and phase and has nothing to adapt to; its inputs are (x, amplitude, phase)."""

    inputs = 3
    adapts = False

    def step_sizes(self) -> dict[int, float]:
        return dict.fromkeys(self.config.evaluation_shots, 0.0)

    def test_episode(self, drawn: Any) -> Any:
        return with_task_input(drawn)


class MultiTask(FineTuning):
    """The mean of networks trained on a task each, without a penalty (Appendix C.1).

    Attributes:
        penalty: The field of the configuration that holds the penalty's weight.
        move_anchor: Whether the penalty is on the distance to the mean so far.
    """

    penalty: str | None = None
    move_anchor = False

    def train(self, directory: pathlib.Path, resume: bool) -> None:
        config = self.config
        anchored = AnchoredRegression(self.network, getattr(config, self.penalty) if self.penalty else 0.0)
        rate = keras.optimizers.schedules.CosineDecay(config.multi_task_learning_rate, config.multi_task_iterations)
        anchored.compile(keras.optimizers.Adam(rate), loss="mse", jit_compile=True)
        anchored.optimizer.build(anchored.trainable_variables)
        averaging = ParameterAveraging(
            anchored, self.fresh_weights, move_anchor=self.move_anchor, error=self.network_error
        )
        training = InGraphTraining(anchored, self.draw, config.multi_task_iterations)
        iterations = training.iterations(config.multi_task_networks * config.multi_task_iterations)
        averaging.start()
        saved = {"model": self.network, "optimizer": anchored.optimizer, "averaging": averaging.state}
        callbacks = [averaging, *self._callbacks(iterations, directory, resume, saved)]
        errors = training.fit_iterations(iterations, callbacks).history.get("network_error")
        if errors:
            mean = sum(errors) / len(errors)
            logging.info("%s: mean error of the networks on their own tasks %.4f", self.name, mean)
        averaging.apply()

    def fresh_weights(self, number: int) -> list[tf.Tensor]:
        """Draws a network's initial weights as a function of its number alone, so that a resume draws the same."""
        config = self.config
        keras.utils.set_random_seed((config.stream(streams.NETWORKS) * 100_000 + number) % 2**32)
        network = build_network(dataclasses.replace(config, initializer=config.multi_task_initializer))
        return [tf.convert_to_tensor(variable) for variable in network.trainable_variables]

    def draw(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        config = self.config
        number = index // config.multi_task_iterations
        task = SINUSOIDS.draw(config.stream(streams.NETWORKS), number, tasks=1, shots=1, queries=0)
        points = SINUSOIDS.draw(
            config.stream(streams.TRAINING), index, tasks=1, shots=config.multi_task_points, queries=0
        ).episode.support_x[0]
        return points, task.amplitude * tf.sin(points - task.phase)

    def network_error(self, number: int) -> float:
        """Measures a network on a dense grid of its own task."""
        config = self.config
        episode = SINUSOIDS.draw(
            config.stream(streams.NETWORKS), number, tasks=1, shots=1, queries=config.grid_points, query_grid=True
        ).episode
        return float(tf.reduce_mean((self.network(episode.query_x[0]) - episode.query_y[0]) ** 2))


class MultiTaskL2(MultiTask):
    """The mean of networks with an l2 penalty."""

    penalty = "multi_task_l2"


class MultiTaskMean(MultiTask):
    """The mean of networks with a penalty on the distance to the mean so far."""

    penalty = "multi_task_mean"
    move_anchor = True
