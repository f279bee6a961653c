"""What an experiment of meta-reinforcement learning depends on."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from maml_tf.experiments.config import at_default, check_at_least, check_positive, check_shares
from maml_tf.experiments.options import check_choices
from maml_tf.rl.environments import DrawableEnvironment, PointNavigation

METHODS = ("maml", "pretrained", "random", "oracle", "context_vector")
# The second has the reward of the paper's text, the third the goal of its code.
NAVIGATION = {
    "point_navigation": {"reward": "distance", "goal": "disc"},
    "point_navigation_squared": {"reward": "squared", "goal": "disc"},
    "point_navigation_square_goal": {"reward": "distance", "goal": "square"},
}
ENVIRONMENTS = (
    *NAVIGATION, "half_cheetah_velocity", "half_cheetah_direction", "ant_velocity", "ant_direction",
)  # fmt: skip
# Kept apart, so that no training task is ever a tuning or a test task.
TRAINING, TUNING, TEST, FIGURES = range(4)
# What an evaluation may change without changing what was trained.
EVALUATION_FIELDS = (
    "seed", "budget", "evaluation_steps", "evaluation_rollouts", "evaluation_learning_rate", "later_learning_rate",
    "tune_step_size", "test_tasks", "test_seed", "tuning_tasks",
)  # fmt: skip
# What a resumed training may change.
_RESUME_FIELDS = (
    "iterations", "test_tasks", "test_seed", "checkpoint_seconds", "tune_step_size",
)  # fmt: skip
_ADDED_FIELDS = ("initial_weights",)


@dataclasses.dataclass(frozen=True)
class MetaRLConfig:
    """What an experiment of meta-reinforcement learning depends on; see `preset` for an environment's own settings.

    Attributes:
        environment: Whose tasks are learned.
        seed: Seed of weights, tasks, initial states and actions.
        iterations: Meta-iterations of training.
        meta_batch_size: Tasks of a meta-iteration.
        rollouts: Rollouts of a task for each gradient step.
        budget: Whether rollouts are counted in steps: each simulation makes as many steps as a rollout has at most, and
            starts again when one ends early; otherwise it waits. One that is then unfinished does not count, which
            leaves out long ones more often than short ones. The original's test counts so; its training counts the
            steps of a task's rollouts together, of which one alone is left unfinished.
        inner_steps: Inner steps in training.
        inner_learning_rate: Inner step size alpha in training.
        inner_objective: The inner loss; reinforce is the paper's, likelihood_ratio has an unbiased second derivative.
        first_order: Whether to drop second derivatives.
        outer_objective: The outer loss; likelihood_ratio is TRPO's, clipped is that of proximal policy optimisation.
        max_divergence: Bound delta of the mean KL divergence of an outer step.
        conjugate_gradient_iterations: Iterations of conjugate gradient.
        damping: Added to the diagonal of the divergence's Hessian.
        products: Products of that Hessian: fisher (exact) or finite_differences (the original's, whose step is
            large: the curvature along a step of that length).
        validate_every: Meta-iterations between two measurements on validation tasks; the best model there is kept.
        curvature_stride: Every how manyth time step counts in these products; 1 takes all, as the paper.
        discount: Discount of later rewards.
        gae_lambda: Lambda of generalised advantage estimation.
        hidden: Units of each of the policy's two hidden layers.
        initial_weights: File of the weights to start from, instead of random ones: policy.keras of another training,
            or a policy's .weights.h5.
        evaluation_steps: Gradient steps of the evaluation: 0 to this.
        evaluation_rollouts: Rollouts of a task for each of them.
        evaluation_learning_rate: Step size of the first step of the evaluation, by default inner_learning_rate.
        later_learning_rate: Step size of its later steps, by default half the first.
        tune_step_size: Whether the evaluations of pretrained and random choose the first step size, unless
            evaluation_learning_rate gives it, on tasks of their own.
        test_tasks: Tasks of the evaluation.
        test_seed: Their seed, of NumPy's RandomState; the original's is 1, for the direction of the ant 2.
        tuning_tasks: Tasks of a validation, and of those on which the step sizes of the baselines are chosen.
        checkpoint_seconds: Least seconds between two checkpoints; the end of a training is always saved.
    """

    environment: Literal[ENVIRONMENTS] = "point_navigation"
    seed: int = 1
    iterations: int = 100
    meta_batch_size: int = 20
    rollouts: int = 20
    budget: bool = False
    inner_steps: int = 1
    inner_learning_rate: float = 0.1
    inner_objective: Literal["reinforce", "likelihood_ratio"] = "reinforce"
    first_order: bool = False
    outer_objective: Literal["likelihood_ratio", "clipped"] = "likelihood_ratio"
    max_divergence: float = 0.01
    conjugate_gradient_iterations: int = 10
    damping: float = 1e-5
    products: Literal["fisher", "finite_differences"] = "fisher"
    validate_every: int = 10
    curvature_stride: int = 1
    discount: float = 0.99
    gae_lambda: float = 1.0
    hidden: int = 100
    initial_weights: str | None = None
    evaluation_steps: int = 4
    evaluation_rollouts: int = 40
    evaluation_learning_rate: float | None = None
    later_learning_rate: float | None = None
    tune_step_size: bool = True
    test_tasks: int = 40
    test_seed: int = 1
    tuning_tasks: int = 40
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_choices(self)
        counts = (
            "iterations", "meta_batch_size", "rollouts", "inner_steps", "conjugate_gradient_iterations",
            "validate_every", "curvature_stride", "hidden", "evaluation_steps", "evaluation_rollouts",
            "test_tasks", "tuning_tasks",
        )  # fmt: skip
        check_at_least(self, 1, counts)
        check_at_least(self, 0, ("seed", "test_seed", "damping", "checkpoint_seconds"))
        if self.test_seed >= 2**32:
            raise ValueError(
                f"Expected test_seed to be less than 2**32, as NumPy's RandomState has it. Received: {self.test_seed}"
            )
        check_shares(self, ("discount", "gae_lambda"))
        rates = ("inner_learning_rate", "evaluation_learning_rate", "later_learning_rate")
        check_positive(self, (*rates, "max_divergence"))

    def stream(self, purpose: int) -> int:
        """Gives the seed of a stream of tasks, initial states and actions.

        Args:
            purpose: `TRAINING`, `TUNING`, `TEST` or `FIGURES`.

        Returns:
            A seed that no other purpose of any run shares.
        """
        return self.seed * 4 + purpose

    def step_sizes(self, first: float | None = None) -> tuple[float, float]:
        """Gives the step sizes of the evaluation.

        Args:
            first: The first step's; by default the configuration's.

        Returns:
            The first step's and the later ones'.
        """
        if first is None:
            first = self.inner_learning_rate if self.evaluation_learning_rate is None else self.evaluation_learning_rate
        return first, first / 2 if self.later_learning_rate is None else self.later_learning_rate

    def identity(self, method: str) -> dict[str, Any]:
        """Lists what a method's training depends on.

        Args:
            method: One of `METHODS`.

        Returns:
            From field to value.
        """
        # Checkpoints of before there were these fields do not hold them.
        left_out = {*_RESUME_FIELDS, *at_default(self, _ADDED_FIELDS)}
        values = dataclasses.asdict(self)
        return {"method": method, **{name: value for name, value in values.items() if name not in left_out}}


_LOCOMOTION = {"meta_batch_size": 40, "evaluation_rollouts": 20}
_PRESETS: dict[str, dict[str, Any]] = {
    **{environment: {} for environment in NAVIGATION},
    "half_cheetah_velocity": {**_LOCOMOTION, "iterations": 475},
    "half_cheetah_direction": {**_LOCOMOTION, "iterations": 100, "max_divergence": 0.02},
    "ant_velocity": {**_LOCOMOTION, "iterations": 375},
    "ant_direction": {
        **_LOCOMOTION, "iterations": 575, "rollouts": 40, "evaluation_rollouts": 40, "test_seed": 2,
    },
}  # fmt: skip


def preset_fields(*environments: str) -> set[str]:
    """Lists what the presets of environments set.

    Args:
        *environments: Of `ENVIRONMENTS`.

    Returns:
        Names of fields of the configuration; the others have its own defaults.

    Example:
    >>> from maml_tf.experiments.meta_rl_config import preset_fields
    >>> sorted(preset_fields("half_cheetah_velocity"))
    ['evaluation_rollouts', 'iterations', 'meta_batch_size']
    """
    return set().union(*(_PRESETS[environment] for environment in environments))


def preset(environment: str, **changes: Any) -> MetaRLConfig:
    """Makes a configuration with the settings of the paper for an environment.

    Args:
        environment: One of `ENVIRONMENTS`.
        **changes: Fields that differ.

    Returns:
        The configuration.

    Raises:
        ValueError: If the environment is unknown, or a value is out of range.

    Example:
    >>> from maml_tf.experiments.meta_rl_config import preset
    >>> preset("half_cheetah_velocity").meta_batch_size
    40
    """
    return MetaRLConfig(environment, **{**_PRESETS.get(environment, {}), **changes})


def make_environment(name: str, batch_size: int, *, task_in_observation: bool = False) -> DrawableEnvironment:
    """Makes an environment.

    Args:
        name: One of `ENVIRONMENTS`.
        batch_size: Number of simulations.
        task_in_observation: Whether the observation holds the task.

    Returns:
        The environment.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in ENVIRONMENTS:
        raise ValueError(f"Expected one of {ENVIRONMENTS}. Received: {name!r}")
    if name in NAVIGATION:
        return PointNavigation(batch_size, **NAVIGATION[name], task_in_observation=task_in_observation)
    # These need MuJoCo, which 2D navigation does without.
    from maml_tf.rl.environments.ant import Ant
    from maml_tf.rl.environments.half_cheetah import HalfCheetah

    body, _, task = name.rpartition("_")
    kind = {"half_cheetah": HalfCheetah, "ant": Ant}[body]
    return kind(batch_size, task, task_in_observation=task_in_observation)
