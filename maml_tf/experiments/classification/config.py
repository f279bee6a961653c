"""What an experiment of few-shot image classification depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

from maml_tf.configuration import check_multiple, from_dict, nearest_divisor, setting
from maml_tf.few_shot.config import LearnerConfig
from maml_tf.methods import methods
from maml_tf.tasks.dataset import datasets

TRAINING, VALIDATION, TEST, SUMMARIES = range(4)


@dataclasses.dataclass(frozen=True)
class ClassificationConfig(LearnerConfig):
    """What an experiment of few-shot image classification depends on.

    Intervals that are not given follow the number of iterations: they are 500, 100 and 1 where these divide it.
    """

    data_dir: str | None = setting(None, "Folder of the data set.", role="runtime")
    cache_dir: str | None = setting(
        None, "Folder of decoded images, by default one under Keras' own folder.", role="runtime"
    )
    split: str | None = setting(
        None,
        "Split of a data set that has several, by default its first. Of Omniglot: characters (1100 / 100 / 423, as the "
        "paper) or alphabets (whole ones).",
    )
    seed: int = setting(1, "Seed of weights and episodes.", role="evaluation")
    iterations: int = setting(60_000, "Training iterations. (The paper: 60,000.)", minimum=1, role="length")
    shots: int = setting(1, "Support examples K of a class.", minimum=1)
    queries: int = setting(
        1,
        "Query examples of a class in training. (The paper: K on Omniglot, 15 on mini-ImageNet.)",
        minimum=1,
    )
    evaluation_queries: int = setting(
        1, "Query examples of a class in validation and test. (The paper: K.)", minimum=1, role="evaluation"
    )
    meta_batch_size: int = setting(32, "Tasks of an iteration.", minimum=1)
    batch_size: int = setting(64, "Images of an iteration of --method=pretrained.", minimum=1)
    meta_learning_rate: float = setting(1e-3, "Learning rate of Adam, the outer optimizer.", positive=True)
    meta_learning_rate_decay: str = setting(
        "none",
        "Schedule of meta_learning_rate. none: constant, as the paper. cosine: half a cosine to 0 at the last "
        "iteration, so that a resume cannot change the number of iterations.",
        choices=("none", "cosine"),
        since="0.1.0",
    )
    initial_weights: str | None = setting(
        None,
        "File of weights to start from instead of random ones: best.weights.h5 of another training, or of an entry of "
        "maml_tf.pretrained, of the same learner. Adam starts anew.",
        since="0.1.0",
    )
    gradient_clip: float | None = setting(
        None,
        "Bound of every element of the outer gradient, on loss_scale. (The paper: 10 on original, for mini-ImageNet "
        "alone.)",
        positive=True,
    )
    iterations_per_epoch: int = setting(
        None, "Iterations between lines of TensorBoard. By default about 100.", minimum=1
    )
    validate_every: int = setting(
        None,
        "Iterations between validations; the weights of the best one are kept. By default about 500.",
        minimum=1,
    )
    validation_tasks: int = setting(200, "Tasks of a validation, the same each time.", minimum=1)
    test_tasks: int = setting(600, "Tasks of the test. (The paper: 600.)", minimum=1, role="test")
    steps_per_call: int = setting(
        1, "Iterations of one call from Python, unrolled into one graph.", minimum=1, role="process"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_split()
        if self.validate_every is None:
            multiple_of = self.iterations_per_epoch or self.steps_per_call
            self._set("validate_every", nearest_divisor(self.iterations, 500, multiple_of))
        if self.iterations_per_epoch is None:
            self._set("iterations_per_epoch", nearest_divisor(self.validate_every, 100, self.steps_per_call))
        check_multiple(self, "iterations", "validate_every")
        check_multiple(self, "validate_every", "iterations_per_epoch")
        check_multiple(self, "iterations_per_epoch", "steps_per_call")
        if self.least_shots is not None and self.least_shots > self.shots:
            raise ValueError(f"Expected least_shots <= shots={self.shots}. Received: least_shots={self.least_shots}")
        if self.sizes_vary and not self.meta_learns:
            raise ValueError(
                f"Expected no least_ways and no least_shots with method={self.method!r}, tested on tasks of one size. "
                f"Received: least_ways={self.least_ways}, least_shots={self.least_shots}"
            )
        if not self.meta_learns and (self.initial_weights or self.context):
            raise ValueError(
                f"Expected no initial_weights and context=0 with method={self.method!r}, a classifier of images alone. "
                f"Received: initial_weights={self.initial_weights!r}, context={self.context}"
            )

    @property
    def task_ways(self) -> int | tuple[int, int]:
        """The number of classes of a task, or the least and the greatest one."""
        return self.ways if self.least_ways is None else (self.least_ways, self.ways)

    @property
    def task_shots(self) -> int | tuple[int, int]:
        """The number of support examples of a class, or the least and the greatest one."""
        return self.shots if self.least_shots is None else (self.least_shots, self.shots)

    @property
    def label(self) -> str:
        """What the rows of the results call the method; flags that make MAML a variant of it count."""
        name = self.method.removesuffix("_first_order")
        if name == "maml":
            name = {"head": "anil", "body": "boil", "context": "context_vector"}.get(self.adapted, name)
        first_order = f"{name}_first_order"
        return first_order if self.first_order and first_order in methods else name

    @property
    def meta_learns(self) -> bool:
        """Whether a meta-learner is trained on tasks, and not a baseline."""
        return self.method not in ("pretrained", "random")

    @property
    def annealed_over(self) -> int:
        return self.iterations

    @property
    def mean_gradient_clip(self) -> float | None:
        """The bound of the outer gradient's elements on the mean cross-entropy."""
        if self.gradient_clip is None or self.loss_scale == "mean":
            return self.gradient_clip
        return self.gradient_clip * self.shots / (self.ways * self.queries)

    def stream(self, purpose: int) -> int:
        """Gives the seed of a stream of tasks.

        Args:
            purpose: One of `TRAINING`, `VALIDATION`, `TEST` and `SUMMARIES`.

        Returns:
            A seed that no other purpose of any run shares.
        """
        return self.seed * 8 + purpose

    def _set_split(self) -> None:
        splits = datasets[self.dataset].splits
        # Version 0.1.0 stored a split of Omniglot's with every data set.
        split = (self.split or splits[0]) if splits else None
        if split and split not in splits:
            raise ValueError(f"Expected split to be one of {splits} for {self.dataset}. Received: split={self.split!r}")
        self._set("split", split)

    def identity(self, **more: Any) -> dict[str, Any]:
        identity = super().identity(**more)
        identity["split"] = self.split or "characters"  # As version 0.1.0 stored it with every data set.
        if self.meta_learns:
            del identity["batch_size"]
            if methods[self.method].algorithm == "maml":  # A variant of MAML is what the other fields say.
                del identity["method"]
        for name in ("multi_step_iterations", "first_order_iterations"):
            if not identity[name]:
                del identity[name]  # As versions that did not have it.
        if self.meta_learning_rate_decay == "cosine":
            identity["iterations"] = self.iterations
        return identity

    def protocol(self) -> dict[str, Any]:
        """Says how the test is done.

        Returns:
            What results.json holds under "protocol".
        """
        least = {"least_ways": self.least_ways, "least_shots": self.least_shots} if self.sizes_vary else {}
        return {
            "split": "test",
            "tasks": self.test_tasks,
            "ways": self.ways,
            "shots": self.shots,
            **least,
            "queries_per_class": self.evaluation_queries,
            "steps": self.evaluation_steps,
            "batch_norm": self.batch_statistics,
            "loss_scale": self.loss_scale,
            "inner_learning_rate_on_the_mean": self.mean_step_size,
            "seed": self.seed,
        }


def presets(dataset: str) -> list[str]:
    """Lists the names of a data set's presets, the default one first.

    Example:
    >>> from maml_tf.experiments.classification.config import presets
    >>> [name for name in presets("mini_imagenet") if "1shot" in name and "paper" in name]
    ['5way_1shot_paper', '5way_1shot_first_order_paper']
    """
    return list(datasets[dataset].presets)


def preset_fields(dataset: str) -> set[str]:
    """Lists the fields of the configuration that a data set's presets set; the others have the field's own default.

    Example:
    >>> from maml_tf.experiments.classification.config import preset_fields
    >>> "ways" in preset_fields("omniglot"), "iterations" in preset_fields("omniglot")
    (True, False)
    """
    return {"dataset"}.union(*datasets[dataset].presets.values())


def make_config(dataset: str, preset: str | None = None, **overrides: Any) -> ClassificationConfig:
    """Makes the configuration of a preset.

    Args:
        dataset: Name of a registered data set.
        preset: One of `presets(dataset)`, by default the first.
        **overrides: Fields that take other values than the preset's.

    Returns:
        The configuration.

    Raises:
        ValueError: If there is no such data set, preset or field, or a value is out of range.

    Example:
    >>> from maml_tf.experiments.classification.config import make_config
    >>> make_config("omniglot", "20way_1shot_paper", seed=3).mean_step_size
    2.0
    """
    known = datasets[dataset].presets
    preset = preset or next(iter(known))
    if preset not in known:
        raise ValueError(f"Expected a preset of {list(known)}. Received: {preset!r} of {dataset!r}")
    method = overrides.get("method", known[preset].get("method", "maml"))
    own = methods[method].applied("classification", overrides)
    values = {"dataset": dataset, **known[preset], **own}
    if "validate_every" not in overrides and values.get("iterations", 0) % values.get("validate_every", 1):
        del values["validate_every"]
    return from_dict(ClassificationConfig, values)
