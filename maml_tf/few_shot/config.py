"""The configurations of learners for few-shot tasks, needed to use their weights again."""

from __future__ import annotations

import dataclasses

from maml_tf.configuration import Configuration, setting, settings
from maml_tf.methods import methods, names
from maml_tf.tasks.dataset import datasets


@dataclasses.dataclass(frozen=True)
class LearnerConfig(Configuration):
    """The settings that define a learner for few-shot image classification.

    A training's configuration and the card of `maml_tf.pretrained` have more fields; the learner depends only on these.
    """

    dataset: str = setting("omniglot", "Data set whose classes form the tasks.", choices=datasets)
    ways: int = setting(5, "Number N of classes in a task.", minimum=1)
    least_ways: int = setting(
        None,
        "Least number of classes in a task; the number is then drawn for each task, between least_ways and ways. By "
        "default all tasks have ways classes.",
        minimum=1,
        role="evaluation",
        since="0.2.0",
    )
    least_shots: int = setting(
        None,
        "Least number of support examples of a class; the number is then drawn for each task, between least_shots and "
        "shots. By default all tasks have shots support examples of each class.",
        minimum=1,
        role="evaluation",
        since="0.2.0",
    )
    method: str = setting(
        "maml",
        "Algorithm, variant of an algorithm, or baseline. pretrained: a classifier of all training classes, evaluated "
        "by fine-tuning and by nearest neighbours of its features. random: the same with initial weights. "
        "meta_sgd is maml with step_sizes=weight, meta_curvature with curvature=true, anil with adapted=head, boil "
        "with adapted=body and head=glorot_uniform, context_vector with adapted=context; "
        "maml_plus_plus with adapted=weights, step_sizes=layer_and_step, per_step_norm=true, cosine decay and the "
        "annealing of multi_step_iterations and first_order_iterations; a name with _first_order has first_order=true.",
        choices=lambda: names("classification"),
    )
    inner_steps: int = setting(1, "Inner steps in training.", minimum=1)
    evaluation_steps: int = setting(3, "Inner steps in validation and test.", minimum=1, role="evaluation")
    loss_scale: str = setting(
        "mean",
        "Scale of the loss that inner_learning_rate and gradient_clip refer to. mean: the mean cross-entropy over a "
        "task's examples. original: the loss of the original implementation and of the paper's step sizes, with an "
        "inner loss of N times the mean and an outer loss of N * queries / K times the mean. The conversion is exact, "
        "and reported losses are always means. An inner_learning_rate of 0.4 with 5 ways, 0.1 with 20 ways and 0.01 "
        "with 5 ways on original is 2.0, 2.0 and 0.05 on mean.",
        choices=("mean", "original"),
    )
    inner_learning_rate: float = setting(
        0.4, "Inner step size alpha, for losses on loss_scale; initial value of learned step sizes.", positive=True
    )
    step_sizes: str = setting(
        "fixed",
        "Inner step sizes: fixed, or one learned for every weight (Meta-SGD), every layer, or every layer_and_step.",
        choices=("fixed", "weight", "layer", "layer_and_step"),
    )
    curvature: bool = setting(
        False,
        "Whether inner gradients are multiplied by meta-learned matrices of each layer (Meta-Curvature).",
        since="0.2.0",
    )
    adapted: str = setting(
        "everything",
        "Weights that inner steps change. everything: all (MAML). weights: all but the offsets of batch normalization, "
        "as in the original implementation. head: the output layer (ANIL). body: all but the output layer (BOIL). "
        "context: the free parameters at the input (Appendix C.2).",
        choices=("everything", "weights", "head", "body", "context"),
    )
    context: int = setting(
        None,
        "Number of free parameters joined to the input as channels, at each position. By default 1 with "
        "adapted=context, else 0.",
        minimum=0,
    )
    first_order: bool = setting(False, "Whether to drop second derivatives.")
    multi_step_iterations: int = setting(
        None,
        "Iterations over which the outer loss changes from the mean of the query losses after every inner step to the "
        "loss after the last step; 0 uses only the last step. By default 15 % of the iterations with "
        "method=maml_plus_plus, else 0.",
        minimum=0,
        since="0.2.0",
    )
    first_order_iterations: int = setting(
        None,
        "Iterations at the beginning without second derivatives. By default half of the iterations with "
        "method=maml_plus_plus, else 0.",
        minimum=0,
        since="0.2.0",
    )
    proximal_weight: float = setting(
        None,
        "Weight lambda of the squared distance to the initial weights in the inner problem of implicit_maml, on the "
        "mean cross-entropy. By default 2 with method=implicit_maml. (iMAML's paper: 2 on Omniglot, 0.5 on "
        "mini-ImageNet, with 10 to 25 inner steps.)",
        positive=True,
        since="0.2.0",
    )
    conjugate_gradient_steps: int = setting(
        None,
        "Iterations of conjugate gradient in the meta-gradient of implicit_maml. By default 5 with "
        "method=implicit_maml.",
        minimum=1,
        since="0.2.0",
    )
    per_step_norm: bool = setting(
        False,
        "Whether batch normalization has a separate scale, offset and moving averages for each number of inner steps "
        "taken, up to inner_steps.",
        since="0.2.0",
    )
    network: str = setting(
        None,
        "Network, by default the first of the data set. conv: 4 convolutional modules, strided on Omniglot, with "
        "pooling on colour images. resnet12 and wrn_28_10: ResNet-12 and WRN-28-10, for colour images. dense: 256, "
        "128, 64 and 64 units, for Omniglot.",
    )
    filters: int = setting(
        64,
        "Filters of each convolution; with resnet12, filters of the first block, usually 64; with wrn_28_10, of the "
        "first convolution, usually 16. (The paper: 64 on Omniglot, 32 on mini-ImageNet.)",
        minimum=1,
    )
    drop_rate: float = setting(
        0.0,
        "Fraction of the feature maps that resnet12 drops in training, in the last two blocks as squares (DropBlock), "
        "or wrn_28_10 in each block.",
        minimum=0,
        maximum=0.99,
        since="0.2.0",
    )
    head: str = setting(
        "zeros",
        "Initial weights of the output layer. (Original implementation: normal, N(0, 1), on Omniglot, glorot_uniform "
        "on mini-ImageNet.)",
        choices=("zeros", "glorot_uniform", "normal"),
    )
    batch_statistics: str = setting(
        "transductive",
        "Statistics of batch normalization for query examples at meta-test. transductive: those of the query examples, "
        "as in the original implementation. support: those of the task's support examples. running: moving averages of "
        "training, which only a training with running keeps. In training, inner steps use the support set's "
        "statistics, and query losses the query set's.",
        choices=("transductive", "support", "running"),
        role="evaluation",
    )
    parallel_tasks: int | None = setting(
        None,
        "Number of tasks in memory at once, by default the fastest choice. The gradient does not depend on it.",
        minimum=1,
        role="runtime",
    )

    in_task_order: bool = setting(
        False,
        "Whether several workers exchange every task's gradient, so that the trained weights are bitwise equal for any "
        "number of workers. To compare with one worker, set it there too: the default compiles differently for speed.",
        since="0.2.0",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fields = settings(type(self))
        changed = {name: getattr(self, name) for name in fields if getattr(self, name) != fields[name].default}
        for name, value in methods[self.method].applied("classification", changed).items():
            self._set(name, value)
        if self.context is None:
            self._set("context", int(self.adapted == "context"))
        for name, share in (("multi_step_iterations", 0.15), ("first_order_iterations", 0.5)):
            if getattr(self, name) is None:
                self._set(name, round(share * self.annealed_over) if self.method == "maml_plus_plus" else 0)
        for name, value in (("proximal_weight", 2.0), ("conjugate_gradient_steps", 5)):
            if getattr(self, name) is None and self.method == "implicit_maml":
                self._set(name, value)
        networks = tuple(datasets[self.dataset].networks)
        self._set("network", self.network or networks[0])
        if self.network not in networks:
            raise ValueError(
                f"Expected network to be one of {networks} for {self.dataset}. Received: network={self.network!r}"
            )
        if self.least_ways is not None and self.least_ways > self.ways:
            raise ValueError(f"Expected least_ways <= ways={self.ways}. Received: least_ways={self.least_ways}")
        if self.adapted == "body" and self.head == "zeros":
            raise ValueError(
                "Expected head='glorot_uniform' or 'normal' with adapted='body', because a head of zeros makes the "
                "inner gradient zero. Received: head='zeros'"
            )
        if self.adapted == "context" and not self.context:
            raise ValueError("Expected context >= 1 with adapted='context'. Received: context=0")

    @property
    def sizes_vary(self) -> bool:
        """Whether tasks differ in their numbers of classes or examples."""
        return self.least_ways is not None or self.least_shots is not None

    @property
    def annealed_over(self) -> int:
        """The number of training iterations, which annealing refers to; 0 for a learner that is not trained."""
        return 0

    @property
    def mean_step_size(self) -> float:
        """The inner step size on the mean cross-entropy."""
        return self.inner_learning_rate * (self.ways if self.loss_scale == "original" else 1)


@dataclasses.dataclass(frozen=True)
class RegressionConfig(Configuration):
    """The settings that define a learner for sinusoid regression.

    A training's configuration and the card of `maml_tf.pretrained` have more fields; the learner depends only on these.
    """

    inner_steps: int = setting(1, "Inner steps in training.", minimum=1)
    inner_learning_rate: float = setting(
        0.01, "Inner step size alpha of MAML. (The released original code defaults to 0.001.)", minimum=0
    )
    first_order: bool = setting(False, "Whether to drop second derivatives of --method=maml.")
    hidden: tuple[int, ...] = setting((40, 40), "Units of each hidden layer.", minimum=1)
    initializer: str = setting("glorot_uniform", "Keras' name of the kernels' initializer.")
    evaluation_steps: int = setting(10, "Gradient steps in evaluations.", minimum=1)
    in_task_order: bool = setting(
        False,
        "Whether several workers exchange every task's gradient, so that the trained weights are bitwise equal for any "
        "number of workers. To compare with one worker, set it there too: the default compiles differently for speed.",
        since="0.2.0",
    )
