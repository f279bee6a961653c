"""The configuration of the sinusoid experiment."""

from __future__ import annotations

import dataclasses

from maml_tf.experiments.config import check_at_least, check_multiple, check_positive
from maml_tf.methods import names

METHODS = names("sinusoid")
# Kept apart, so that no training task is ever a validation or a test task.
TRAINING, VALIDATION, TEST, FIGURES, NETWORKS = range(5)
# The variance of the targets is about 4.4: an error of 100 is no fit at all.
DIVERGENCE = 100.0


@dataclasses.dataclass(frozen=True)
class SinusoidConfig:
    """What a run of the sinusoid experiment depends on; the defaults are the paper's (Section 5.1).

    Attributes:
        methods: Methods to train and evaluate, of `METHODS`.
        seed: Seed of weights and tasks.
        iterations: Training iterations of MAML, of pretraining and of the oracle.
        meta_batch_size: Tasks an iteration.
        shots: Support points K of a training task; it has as many query points.
        inner_steps: Inner steps in training.
        inner_learning_rate: Inner step size alpha of MAML.
        meta_learning_rate: Learning rate of Adam, of the baselines too.
        first_order: Whether method "maml" drops second derivatives.
        hidden: Units of each hidden layer.
        initializer: Keras' name of the kernels' initializer.
        evaluation_shots: Numbers of support points K at which the methods are evaluated.
        evaluation_steps: Gradient steps at which they are evaluated: 0 to this.
        test_tasks: Tasks of the evaluation.
        grid_points: Points of the dense grid of the second metric.
        validation_tasks: Tasks that choose the best weights in training and tune the baselines' step sizes.
        iterations_per_call: Training iterations of one compiled call; validation and checkpoints come between.
        checkpoint_seconds: Least seconds between two checkpoints of a training; its end is always saved.
        multi_task_networks: Networks, each of one task, of the multi-task baselines.
        multi_task_iterations: Training iterations of each.
        multi_task_points: Points an iteration of each.
        multi_task_learning_rate: Learning rate of Adam of each, at its start: it falls to 0 as a cosine.
        multi_task_initializer: Keras' name of their kernels' initializer.
        multi_task_l2: Weight of the l2 penalty of "multi_task_l2".
        multi_task_mean: Weight of the penalty on the distance to the mean network of "multi_task_mean".
    """

    methods: tuple[str, ...] = ("maml",)
    seed: int = 1
    iterations: int = 70_000
    meta_batch_size: int = 25
    shots: int = 10
    inner_steps: int = 1
    inner_learning_rate: float = 0.01
    meta_learning_rate: float = 1e-3
    first_order: bool = False
    hidden: tuple[int, ...] = (40, 40)
    initializer: str = "glorot_uniform"
    evaluation_shots: tuple[int, ...] = (5, 10, 20)
    evaluation_steps: int = 10
    test_tasks: int = 600
    grid_points: int = 100
    validation_tasks: int = 4000
    iterations_per_call: int = 1000
    checkpoint_seconds: float = 10.0
    multi_task_networks: int = 500
    multi_task_iterations: int = 3000
    multi_task_points: int = 100
    multi_task_learning_rate: float = 5e-3
    multi_task_initializer: str = "he_normal"
    multi_task_l2: float = 1e-3
    multi_task_mean: float = 0.1

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown or not self.methods:
            raise ValueError(f"Expected methods of {METHODS}. Received: methods={self.methods}")
        counts = [
            "iterations", "meta_batch_size", "shots", "inner_steps", "evaluation_steps", "test_tasks",
            "validation_tasks", "iterations_per_call", "multi_task_networks", "multi_task_iterations",
            "multi_task_points",
        ]  # fmt: skip
        check_at_least(self, 1, counts)
        check_at_least(self, 2, ["grid_points"])
        check_at_least(self, 0, ["checkpoint_seconds", "inner_learning_rate", "multi_task_l2", "multi_task_mean"])
        check_positive(self, ["meta_learning_rate", "multi_task_learning_rate"])
        check_multiple(self, "iterations", "iterations_per_call")
        if not self.evaluation_shots or min(self.evaluation_shots) < 1:
            raise ValueError(f"Expected evaluation_shots >= 1. Received: evaluation_shots={self.evaluation_shots}")

    def stream(self, purpose: int) -> int:
        """Gives the seed of a stream of tasks.

        Args:
            purpose: One of `TRAINING`, `VALIDATION`, `TEST`, `FIGURES` and `NETWORKS`.

        Returns:
            A seed that no other purpose of any run shares.
        """
        return self.seed * 8 + purpose
