"""Data sets of classes: train, validation and test splits, and a spec of each data set for the experiments."""

from __future__ import annotations

import collections
import dataclasses
import importlib.resources
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maml_tf.registry import Registry

if TYPE_CHECKING:
    from maml_tf.tasks.class_pool import ClassPool

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """All that the few-shot experiments need to know about a data set.

    A data set is one file that makes a spec and registers it: `datasets.register(spec.name, spec)`. The top of the file
    must not import TensorFlow, so that flags list the names quickly; `open` and the networks import it when called.

    Attributes:
        name: Name in flags, configurations and folders.
        title: Name in texts.
        open: Opens the data set: `open(data_dir=..., cache_dir=..., split=...)`, each a string or None, returns
            `SplitClasses` with the parts "train", "validation" and "test".
        image_shape: Shape of an episode's image, (height, width, channels).
        networks: Builders by name, the default one first: `build(ways, input_shape=..., filters=...,
            head_initializer=..., batch_statistics=...)` returns a Keras model from images to logits [batch, ways] whose
            output layer is named "head". `batch_statistics` is as in `maml_tf.layers.BatchNormalization`. A builder
            with the argument `norm_steps` supports `per_step_norm`; one with `drop_rate` supports `drop_rate`.
        presets: Training settings by name, the default ones first: fields of
            `maml_tf.experiments.classification.config.ClassificationConfig`.
        splits: Values of the configuration's `split`, the default one first. Empty for a data set with one split.
        licence: Copyright and terms of use, for the cards of trained weights.
        how_to_get: Where a user gets the data.
        environment: Environment variables to set before TensorFlow is imported, unless they are already set.

    Raises:
        ValueError: If there is no network or no preset.
    """

    name: str
    title: str
    open: Callable[..., SplitClasses]
    image_shape: tuple[int, int, int]
    networks: Mapping[str, Callable[..., Any]]
    presets: Mapping[str, Mapping[str, Any]]
    splits: tuple[str, ...] = ()
    licence: str = "unknown"
    how_to_get: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.networks or not self.presets:
            raise ValueError(f"Expected at least one network and one preset. Received: data set {self.name!r}")


datasets: Registry[DatasetSpec] = Registry("data set")


class SplitClasses:
    """A pool of classes, each in at most one part of a split.

    Args:
        classes: The pool of all classes; the pools of parts use its rotations and transform.
        splits: Names of classes by part: "train", "validation", "test", or any other names.

    Attributes:
        splits: The names of the classes of each part.

    Raises:
        ValueError: If a name is not a class of the pool, or is in two parts.

    Example:
    >>> import numpy as np
    >>> from maml_tf.tasks import ClassPool, SplitClasses
    >>> animals = ClassPool(np.zeros([6, 8, 8, 3], np.uint8), ["ant", "ant", "bee", "bee", "cat", "cat"])
    >>> data = SplitClasses(animals, {"train": ["cat", "ant"], "test": ["bee"]})
    >>> data.pool("train").class_names
    ('ant', 'cat')
    """

    def __init__(self, classes: ClassPool, splits: Mapping[str, Sequence[str]]):
        self.splits = {part: tuple(names) for part, names in splits.items()}
        self._classes = classes
        check_split(self.splits, classes.class_names)

    def pool(
        self, *parts: str, rotations: bool | None = None, transform: Callable[[Any], Any] | None = None
    ) -> ClassPool:
        """Returns the classes of one or more parts of the split as a pool to draw episodes from.

        Args:
            *parts: Names in `splits`; the classes of several are joined.
            rotations: Whether to turn each class of a task by a random multiple of 90 degrees; None uses the setting
                of the pool of all classes.
            transform: Maps drawn images [batch, ...] to the images of the episode; None uses that of the pool of all
                classes.

        Raises:
            ValueError: If there is no such part.
        """
        unknown = [part for part in parts if part not in self.splits]
        if unknown or not parts:
            raise ValueError(f"Expected one or more of {tuple(self.splits)}. Received: {parts}")
        names = itertools.chain(*(self.splits[part] for part in parts))
        return self._classes.subset(names, rotations=rotations, transform=transform)


def published_split(name: str) -> dict[str, tuple[str, ...]]:
    """Reads a split that the package ships, `maml_tf/tasks/splits/<name>_<part>.txt`.

    Args:
        name: Name of the split, such as "cifar_fs".

    Returns:
        The names of the classes of "train", "validation" and "test".

    Example:
    >>> from maml_tf.tasks.dataset import published_split
    >>> {part: len(names) for part, names in published_split("tiered_imagenet").items()}
    {'train': 351, 'validation': 97, 'test': 160}
    """
    folder = importlib.resources.files("maml_tf.tasks").joinpath("splits")
    return {part: tuple(folder.joinpath(f"{name}_{part}.txt").read_text(encoding="utf-8").split()) for part in PARTS}


def check_split(splits: Mapping[str, Sequence[str]], classes: Collection[str]) -> None:
    """Checks that a split names existing classes, each in one part.

    Args:
        splits: Names of classes by part.
        classes: The names of all classes.

    Raises:
        ValueError: If a name is missing in `classes`, or is named twice.
    """
    counts = collections.Counter(itertools.chain(*splits.values()))
    present = set(classes)
    wrong = sorted(name for name, count in counts.items() if count > 1 or name not in present)
    if wrong:
        raise ValueError(
            "Expected a split of existing classes, each in one part. "
            f"Received: {len(wrong)} that are missing or named twice, the first {wrong[0]!r}"
        )
