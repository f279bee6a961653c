"""The configuration of the sinusoid experiment."""

from __future__ import annotations

import dataclasses

from maml_tf.configuration import check_multiple, nearest_divisor, setting
from maml_tf.few_shot.config import RegressionConfig
from maml_tf.methods import names

METHODS = names("sinusoid")
# Kept apart, so that no training task is ever a validation or a test task.
TRAINING, VALIDATION, TEST, FIGURES, NETWORKS = range(5)
# The variance of the targets is about 4.4: an error of 100 is no fit at all.
DIVERGENCE = 100.0


@dataclasses.dataclass(frozen=True)
class SinusoidConfig(RegressionConfig):
    """What a run of the sinusoid experiment depends on; the defaults are the paper's (Section 5.1).

    `maml_tf.configuration.settings` lists the fields.
    """

    methods: tuple[str, ...] = setting(
        ("maml",),
        "Methods to train and evaluate, or all.",
        choices=lambda: (*names("sinusoid"), "all"),
        role="process",
        flag="method",
    )
    seed: int = setting(1, "Seed of weights and tasks.")
    iterations: int = setting(70_000, "Training iterations of MAML, of pretraining and of the oracle.", minimum=1)
    meta_batch_size: int = setting(25, "Tasks of an iteration.", minimum=1)
    shots: int = setting(10, "Support points K of a training task, which has as many query points.", minimum=1)
    meta_learning_rate: float = setting(1e-3, "Learning rate of Adam, of the baselines too.", positive=True)
    evaluation_shots: tuple[int, ...] = setting(
        (5, 10, 20), "Numbers of support points K of the evaluations.", minimum=1, role="test"
    )
    test_tasks: int = setting(600, "Tasks of the evaluations.", minimum=1, role="test")
    grid_points: int = setting(100, "Points of the dense grid of the metric mse_grid.", minimum=2, role="test")
    validation_tasks: int = setting(
        4000, "Tasks that choose the best weights and the baselines' step sizes.", minimum=1
    )
    iterations_per_call: int = setting(
        None,
        "Iterations between validations, and the iterations of one compiled call; the weights of the best validation "
        "are kept. By default about 1000.",
        minimum=1,
        flag="validate_every",
    )
    checkpoint_seconds: float = setting(
        10.0, "Least seconds between two checkpoints; the end of a training is always saved.", minimum=0, role="process"
    )
    multi_task_networks: int = setting(500, "Networks, each of one task, of the multi-task baselines.", minimum=1)
    multi_task_iterations: int = setting(
        3000, "Training iterations of each network of the multi-task baselines.", minimum=1
    )
    multi_task_points: int = setting(
        100, "Points of an iteration of each network of the multi-task baselines.", minimum=1
    )
    multi_task_learning_rate: float = setting(
        5e-3, "First learning rate of Adam in the multi-task baselines; falls to 0 as a cosine.", positive=True
    )
    multi_task_initializer: str = setting(
        "he_normal", "Keras' name of the initializer of the kernels in the multi-task baselines."
    )
    multi_task_l2: float = setting(1e-3, "Weight of the l2 penalty of --method=multi_task_l2.", minimum=0)
    multi_task_mean: float = setting(
        0.1, "Weight of the penalty on the distance to the mean network of --method=multi_task_mean.", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.methods:
            raise ValueError(f"Expected methods of {names('sinusoid')}. Received: methods=()")
        self._set("methods", names("sinusoid") if "all" in self.methods else tuple(dict.fromkeys(self.methods)))
        if not self.evaluation_shots:
            raise ValueError("Expected at least one of evaluation_shots. Received: evaluation_shots=()")
        if self.iterations_per_call is None:
            self._set("iterations_per_call", nearest_divisor(self.iterations, 1000))
        check_multiple(self, "iterations", "iterations_per_call")

    def stream(self, purpose: int) -> int:
        """Gives the seed of a stream of tasks.

        Args:
            purpose: One of `TRAINING`, `VALIDATION`, `TEST`, `FIGURES` and `NETWORKS`.

        Returns:
            A seed that no other purpose of any run shares.
        """
        return self.seed * 8 + purpose
