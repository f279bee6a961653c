"""What an experiment of few-shot image classification depends on."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from maml_tf.experiments.config import at_default, check_at_least, check_multiple, check_positive
from maml_tf.experiments.options import check_choices

TRAINING, VALIDATION, TEST, SUMMARIES = range(4)

# What an evaluation may change without changing what was trained.
EVALUATION_FIELDS = (
    "data_dir", "cache_dir", "seed", "evaluation_steps", "evaluation_queries", "test_tasks", "batch_statistics",
    "parallel_tasks",
)  # fmt: skip
# What a resumed training may change.
_RESUME_FIELDS = (
    "data_dir", "cache_dir", "iterations", "test_tasks", "steps_per_call", "parallel_tasks",
)  # fmt: skip
_ADDED_FIELDS = ("meta_learning_rate_decay", "initial_weights")


@dataclasses.dataclass(frozen=True)
class ClassificationConfig:
    """What an experiment of few-shot image classification depends on.

    Attributes:
        dataset: Whose classes the tasks are made of.
        data_dir: Folder of the data; see `maml_tf.tasks.Omniglot` and `maml_tf.tasks.MiniImagenet`.
        cache_dir: Where decoded images are kept, by default a folder under Keras' own.
        split: How Omniglot's characters are divided: characters (1100 / 100 / 423, the paper's way) or alphabets.
        seed: Seed of weights and episodes.
        iterations: Training iterations. (The paper's: 60,000.)
        ways: Classes N of a task.
        shots: Examples K of a class to adapt on.
        queries: Query examples of a class in training. (The paper's: K on Omniglot, 15 on mini-ImageNet.)
        evaluation_queries: Query examples of a class in validation and test. (The paper's: K.)
        meta_batch_size: Tasks an iteration.
        method: maml; or a baseline: pretrained, a classifier of all training classes, of which the test fine-tunes the
            network and compares features (nearest neighbour); random, the same with the initial weights.
        batch_size: Images of an iteration in pretraining.
        inner_steps: Inner steps in training.
        evaluation_steps: Inner steps in validation and test.
        loss_scale: The loss that step sizes and gradient_clip are meant for. mean: the mean cross-entropy of a task's
            examples. original: the original implementation's, which the paper's step sizes are on; its inner loss is
            N times the mean, its outer loss N * queries / K times. The conversion: an inner_learning_rate of 0.4 with
            5 ways, 0.1 with 20 ways and 0.01 with 5 ways on original are 2.0, 2.0 and 0.05 on mean. It is
            exact, and losses are reported as means in either case.
        inner_learning_rate: Inner step size alpha, on loss_scale; with learned step sizes their initial value.
        step_sizes: Whether the step size is fixed, or learned for every weight (Meta-SGD), layer, or layer_and_step.
        adapted: Which weights the inner steps change: everything (MAML), weights (all but the offsets of batch
            normalization, as the original), the output layer, head (ANIL), or the free parameters at the input, context
            (Appendix C.2).
        context: Number of free parameters that are joined to the input, as channels, at each of its positions.
        meta_learning_rate: Learning rate of Adam, the outer optimizer.
        meta_learning_rate_decay: What becomes of it. none: it stays, as the paper's. cosine: it falls to 0 at the last
            iteration, as half a cosine, so that a resume cannot change how many iterations there are.
        initial_weights: File of the weights to start from, instead of random ones: best.weights.h5 of another training,
            or an entry's of `maml_tf.pretrained`. They must be those of the same learner. Adam starts anew.
        gradient_clip: Bound of every element of the outer gradient, on loss_scale. (The paper's: 10 on original,
            for mini-ImageNet alone.)
        first_order: Whether to drop second derivatives.
        network: conv (4 modules: on Omniglot strided, on mini-ImageNet with pooling) or dense (256, 128, 64, 64 units).
        filters: Filters of each convolution. (The paper's: 64 on Omniglot, 32 on mini-ImageNet.)
        head: Initial weights of the output layer. (The original's: normal, N(0, 1), on Omniglot, glorot_uniform on
            mini-ImageNet.)
        batch_statistics: What batch normalization uses for a query at meta-test. transductive: the statistics of the
            query examples, as the original. support: those of the task's support examples alone. running: moving
            averages of training, which only a training with it keeps. Inner steps use the support set's, and the
            query passes of training the query set's.
        iterations_per_epoch: Iterations between lines of TensorBoard.
        validate_every: Iterations between validations; the weights of the best one are kept.
        validation_tasks: Tasks of a validation, the same each time.
        test_tasks: Tasks of the test. (The paper's: 600.)
        steps_per_call: Iterations of one call from Python. They are unrolled into one graph.
        parallel_tasks: Tasks held in memory at once, by default as many as is fastest. The gradient stays the same.
    """

    dataset: Literal["omniglot", "mini_imagenet"] = "omniglot"
    data_dir: str | None = None
    cache_dir: str | None = None
    split: Literal["characters", "alphabets"] = "characters"
    seed: int = 1
    iterations: int = 60_000
    ways: int = 5
    shots: int = 1
    queries: int = 1
    evaluation_queries: int = 1
    meta_batch_size: int = 32
    method: Literal["maml", "pretrained", "random"] = "maml"
    batch_size: int = 64
    inner_steps: int = 1
    evaluation_steps: int = 3
    loss_scale: Literal["mean", "original"] = "mean"
    inner_learning_rate: float = 0.4
    step_sizes: Literal["fixed", "weight", "layer", "layer_and_step"] = "fixed"
    adapted: Literal["everything", "weights", "head", "context"] = "everything"
    context: int = 0
    meta_learning_rate: float = 1e-3
    meta_learning_rate_decay: Literal["none", "cosine"] = "none"
    initial_weights: str | None = None
    gradient_clip: float | None = None
    first_order: bool = False
    network: Literal["conv", "dense"] = "conv"
    filters: int = 64
    head: Literal["zeros", "glorot_uniform", "normal"] = "zeros"
    batch_statistics: Literal["transductive", "support", "running"] = "transductive"
    iterations_per_epoch: int = 100
    validate_every: int = 500
    validation_tasks: int = 200
    test_tasks: int = 600
    steps_per_call: int = 1
    parallel_tasks: int | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        counts = [
            "iterations", "ways", "shots", "queries", "evaluation_queries", "meta_batch_size", "inner_steps",
            "evaluation_steps", "filters", "iterations_per_epoch", "validate_every", "validation_tasks", "test_tasks",
            "steps_per_call", "batch_size",
        ]  # fmt: skip
        check_at_least(self, 1, counts)
        check_positive(self, ["inner_learning_rate", "meta_learning_rate", "gradient_clip"])
        check_multiple(self, "iterations", "validate_every")
        check_multiple(self, "validate_every", "iterations_per_epoch")
        check_multiple(self, "iterations_per_epoch", "steps_per_call")
        if self.context < 0 or (self.adapted == "context") > self.context:
            raise ValueError(
                f"Expected context >= 0, and context >= 1 to adapt it. Received: context={self.context}, "
                f"adapted={self.adapted!r}"
            )
        if self.initial_weights and self.method != "maml":
            raise ValueError(
                f"Expected no initial_weights with method={self.method!r}: a learner's are not a classifier's. "
                f"Received: initial_weights={self.initial_weights!r}"
            )
        if self.context and self.method != "maml":
            raise ValueError(
                f"Expected context=0 with method={self.method!r}, whose features are of the image alone. "
                f"Received: context={self.context}"
            )

    @property
    def label(self) -> str:
        """What the rows of the results call the method."""
        if self.method != "maml":
            return self.method
        name = {"everything": "maml", "weights": "maml", "head": "anil", "context": "context_vector"}[self.adapted]
        return f"{name}_first_order" if self.first_order else name

    @property
    def mean_step_size(self) -> float:
        """The inner step size on the mean cross-entropy."""
        return self.inner_learning_rate * (self.ways if self.loss_scale == "original" else 1)

    @property
    def mean_gradient_clip(self) -> float | None:
        """The bound of the outer gradient's elements on the mean cross-entropy."""
        if self.gradient_clip is None or self.loss_scale == "mean":
            return self.gradient_clip
        return self.gradient_clip * self.shots / (self.ways * self.queries)

    @property
    def support_statistics(self) -> bool:
        """Whether batch normalization in the test uses the support examples' statistics."""
        return self.batch_statistics == "support"

    def stream(self, purpose: int) -> int:
        """Gives the seed of a stream of tasks.

        Args:
            purpose: One of `TRAINING`, `VALIDATION`, `TEST` and `SUMMARIES`.

        Returns:
            A seed that no other purpose of any run shares.
        """
        return self.seed * 8 + purpose

    def identity(self) -> dict[str, Any]:
        """Lists what a training depends on, which a resume must not change.

        Returns:
            From field name to value.
        """
        left_out = set(_RESUME_FIELDS)
        if self.method == "maml":
            left_out |= {"method", "batch_size"}
        if self.meta_learning_rate_decay == "cosine":
            left_out.remove("iterations")
        # Checkpoints of before there were these fields do not hold them.
        left_out |= at_default(self, _ADDED_FIELDS)
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in left_out}

    def protocol(self) -> dict[str, Any]:
        """Says how the test is done.

        Returns:
            What results.json holds under "protocol".
        """
        return {
            "split": "test",
            "tasks": self.test_tasks,
            "ways": self.ways,
            "shots": self.shots,
            "queries_per_class": self.evaluation_queries,
            "steps": self.evaluation_steps,
            "batch_norm": self.batch_statistics,
            "loss_scale": self.loss_scale,
            "inner_learning_rate_on_the_mean": self.mean_step_size,
            "seed": self.seed,
        }
