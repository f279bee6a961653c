"""What an experiment of meta-reinforcement learning depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

from maml_tf.configuration import setting
from maml_tf.methods import names
from maml_tf.rl.config import PolicyConfig
from maml_tf.rl.environments import environments
from maml_tf.rl.inner_objectives import inner_objectives

# Kept apart, so that no training task is ever a tuning or a test task.
TRAINING, TUNING, TEST, FIGURES = range(4)


@dataclasses.dataclass(frozen=True)
class MetaRLConfig(PolicyConfig):
    """What an experiment of meta-reinforcement learning depends on; see `preset` for an environment's own settings.

    `maml_tf.configuration.settings` lists the fields.
    """

    seed: int = setting(1, "Seed of weights, tasks, initial states and actions.", minimum=0, role="evaluation")
    iterations: int = setting(100, "Meta-iterations of training.", minimum=1, role="length")
    meta_batch_size: int = setting(20, "Tasks of a meta-iteration.", minimum=1)
    rollouts: int = setting(20, "Rollouts of a task for each gradient step in training.", minimum=1)
    budget: bool = setting(
        False,
        "Whether rollouts are counted in steps: each simulation makes as many steps as the longest rollout, and starts "
        "again when a rollout ends early. A rollout that is then unfinished does not count, which leaves out long "
        "rollouts more often than short ones. The original's test counts so; its training counts the steps of a "
        "task's rollouts together, so that one rollout alone is unfinished.",
        role="evaluation",
    )
    inner_steps: int = setting(1, "Inner steps in training.", minimum=1)
    inner_learning_rate: float = setting(0.1, "Inner step size alpha in training.", positive=True)
    inner_objective: str = setting(
        "reinforce",
        "Inner loss. All have the same gradient where rollouts are sampled; the second derivatives differ. reinforce: "
        "the paper's, biased. likelihood_ratio: with the scores' products of the same time step. "
        "low_variance_curvature: the same as likelihood_ratio, also away from the sampling parameters. dice: unbiased, "
        "with more variance. With reinforce the method promp takes likelihood_ratio, its own.",
        choices=inner_objectives,
    )
    first_order: bool = setting(False, "Whether to drop second derivatives.")
    outer_objective: str = setting(
        "likelihood_ratio",
        "Outer loss of the trust region. likelihood_ratio: that of TRPO. clipped: that of proximal policy "
        "optimisation, as promp and maml_ppo always have it.",
        choices=("likelihood_ratio", "clipped"),
    )
    clip: float | None = setting(
        None,
        "How far from 1 the clipped outer loss lets likelihood ratios go. By default 0.2 in a trust region, and 0.3 "
        "with the methods promp and maml_ppo, as in ProMP's released code.",
        positive=True,
        since="0.2.0",
    )
    outer_epochs: int = setting(
        5, "Outer steps of Adam on the same rollouts, of the methods promp and maml_ppo.", minimum=1, since="0.2.0"
    )
    outer_learning_rate: float = setting(
        1e-3, "Outer step size of Adam, of the methods promp and maml_ppo.", positive=True, since="0.2.0"
    )
    divergence_penalty: float = setting(
        5e-4,
        "Weight of the KL divergence from the policy that sampled to the one before each inner step, in the outer loss "
        "of the method promp.",
        minimum=0,
        since="0.2.0",
    )
    divergence_target: float | None = setting(
        None,
        "KL divergence, 0.01 in ProMP's released code, to which divergence_penalty is adapted after each "
        "meta-iteration: halved below 2/3 of the target, doubled above 3/2 of the target. By default the penalty is "
        "fixed.",
        positive=True,
        since="0.2.0",
    )
    sampling_correction: float = setting(
        1.0,
        "Weight of the term of the method e_maml that rewards the rollouts before the adaptation. 1: the mean over "
        "time steps, as in ProMP's released code. The unbiased sum is the number of time steps of a task's rollouts.",
        minimum=0,
        since="0.2.0",
    )
    max_divergence: float = setting(0.01, "Bound delta of the mean KL divergence of an outer step.", positive=True)
    conjugate_gradient_iterations: int = setting(10, "Iterations of conjugate gradient.", minimum=1)
    damping: float = setting(1e-5, "Constant added to the diagonal of the divergence's Hessian.", minimum=0)
    products: str = setting(
        "fisher",
        "Products with the divergence's Hessian. fisher: exact. finite_differences: the original's, with a large "
        "step, which give the curvature along a step of that length.",
        choices=("fisher", "finite_differences"),
    )
    validate_every: int = setting(
        10, "Meta-iterations between validations; the weights of the best one are kept.", minimum=1
    )
    curvature_stride: int = setting(
        1, "Use every n-th time step in the products with the Hessian. (The paper: 1, all.)", minimum=1
    )
    discount: float = setting(0.99, "Discount of later rewards.", minimum=0, maximum=1)
    gae_lambda: float = setting(1.0, "Lambda of generalised advantage estimation.", minimum=0, maximum=1)
    initial_weights: str | None = setting(
        None,
        "File of weights to start from instead of random ones: policy.keras of another training, or a policy's "
        ".weights.h5.",
        since="0.1.0",
    )
    evaluation_steps: int = setting(4, "Gradient steps of the evaluation.", minimum=1, role="evaluation")
    evaluation_rollouts: int = setting(
        40, "Rollouts of a task for each gradient step of the evaluation.", minimum=1, role="evaluation"
    )
    evaluation_learning_rate: float | None = setting(
        None,
        "Step size of the first gradient step of the evaluation, by default inner_learning_rate.",
        positive=True,
        role="evaluation",
    )
    later_learning_rate: float | None = setting(
        None,
        "Step size of the later gradient steps of the evaluation, by default half of the first.",
        positive=True,
        role="evaluation",
    )
    tune_step_size: bool = setting(
        True,
        "Whether the evaluations of pretrained and random choose the first step size, unless evaluation_learning_rate "
        "is given, on tasks that no test uses.",
        role="test",
    )
    test_tasks: int = setting(40, "Tasks of the evaluation.", minimum=1, role="test")
    test_seed: int = setting(
        1,
        "Seed of the test tasks (NumPy RandomState). The original's is 1, for the direction of the ant 2.",
        minimum=0,
        maximum=2**32 - 1,
        role="test",
    )
    tuning_tasks: int = setting(
        40,
        "Tasks that choose the best weights and the baselines' step sizes.",
        minimum=1,
        role="evaluation",
        flag="validation_tasks",
    )
    checkpoint_seconds: float = setting(
        30.0, "Least seconds between two checkpoints; the end of a training is always saved.", minimum=0, role="process"
    )
    sampler: str = setting(
        "process",
        "Where rollouts are sampled, to the same bits. process: in this process. ray: in the processes of Ray, which "
        "needs the extra ray.",
        choices=("process", "ray"),
        role="runtime",
    )
    workers: int | None = setting(
        None,
        "Processes of sampler=ray, among which tasks are shared out. By default one for each processor core of this "
        "machine, at most meta_batch_size. More than there are tasks have nothing to do.",
        minimum=1,
        role="runtime",
    )
    ray_address: str | None = setting(
        None, "Address of the Ray cluster of sampler=ray, such as auto. By default this machine.", role="runtime"
    )
    methods: tuple[str, ...] = setting(
        ("maml",),
        "Methods to train and evaluate, or all.",
        choices=lambda: (*names("meta_rl"), "all"),
        role="process",
        flag="method",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_objective == "dice" and self.curvature_stride > 1:
            raise ValueError(
                "Expected curvature_stride=1 with inner_objective='dice', which needs every time step of a rollout. "
                f"Received: curvature_stride={self.curvature_stride}"
            )
        if self.sampler != "ray":
            for name in ("workers", "ray_address"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"Expected {name} with sampler=ray alone. "
                        f"Received: {name}={getattr(self, name)!r}, sampler={self.sampler!r}"
                    )

    def stream(self, purpose: int) -> int:
        """Returns the seed of tasks, states and actions for a purpose; no other purpose of any run shares it."""
        return self.seed * 4 + purpose

    def step_sizes(self, first: float | None = None) -> tuple[float, float]:
        """Returns the step sizes of the evaluation's first step and of later ones, for another first one if given."""
        if first is None:
            first = self.inner_learning_rate if self.evaluation_learning_rate is None else self.evaluation_learning_rate
        return first, first / 2 if self.later_learning_rate is None else self.later_learning_rate

    def in_this_process(self) -> MetaRLConfig:
        """Returns the configuration with the sampler of one process."""
        return dataclasses.replace(self, sampler="process", workers=None, ray_address=None)


def preset_fields(*names: str) -> set[str]:
    """Lists the fields of the configuration that the presets of environments set.

    Example:
    >>> from maml_tf.experiments.meta_rl.config import preset_fields
    >>> sorted(preset_fields("half_cheetah_velocity"))
    ['evaluation_rollouts', 'iterations', 'meta_batch_size']
    """
    return set().union(*(environments[name].preset for name in names))


def preset(environment: str, **changes: Any) -> MetaRLConfig:
    """Makes a configuration with an environment's own settings, the paper's where it has the environment.

    Args:
        environment: One of `environments`.
        **changes: Fields that differ.

    Returns:
        The configuration.

    Raises:
        ValueError: If the environment is unknown, or a value is out of range.

    Example:
    >>> from maml_tf.experiments.meta_rl.config import preset
    >>> preset("half_cheetah_velocity").meta_batch_size
    40
    """
    return MetaRLConfig(environment, **{**environments[environment].preset, **changes})
