"""The learners over which conformance is tested: shipped models and layers, update rules and inner steps.

Everything is small and in float64, so that central differences have ten good digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

import maml_tf
from maml_tf import layers, models

TASKS, SHOTS, QUERIES, WAYS = 2, 4, 3, 3
STEPS = (1, 2, 5)


class ModelEntry(NamedTuple):
    """A model of the registry.

    Attributes:
        name: Of the entry.
        build: Makes the model anew, float64.
        input_shape: Of one example.
        classes: Number of classes of a classifier, or None for a regression on one output.
    """

    name: str
    build: Callable[[], keras.Model]
    input_shape: tuple[int, ...]
    classes: int | None

    @property
    def loss(self) -> Any:
        if self.classes is None:
            return "mse"
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class RuleEntry(NamedTuple):
    """An update rule of the registry.

    Attributes:
        name: Of the entry.
        build: Makes what `MAML` takes as inner_learning_rate.
    """

    name: str
    build: Callable[[], Any]


def _normalized(layer: Callable[[], keras.layers.Layer]) -> Callable[[], keras.Model]:
    def build():
        return keras.Sequential(
            [
                keras.Input((3,), dtype="float64"),
                keras.layers.Dense(4, dtype="float64"),
                layer(),
                keras.layers.Activation("tanh", dtype="float64"),
                keras.layers.Dense(1, dtype="float64"),
            ]
        )

    return build


def _batch_normalization(**options):
    return _normalized(lambda: layers.BatchNormalization(dtype="float64", **options))


SHIPPED_MODELS = (
    ModelEntry("mlp", lambda: models.mlp((2,), (5, 4), dtype="float64"), (2,), None),
    ModelEntry("omniglot_conv", lambda: models.omniglot_conv(WAYS, filters=2, dtype="float64"), (28, 28, 1), WAYS),
    # On smaller images, which are faster; finite_differences_test.py takes those of 84 x 84 pixels too.
    ModelEntry(
        "mini_imagenet_conv",
        lambda: models.conv_net((16, 16, 3), WAYS, filters=2, downsampling="pool", readout="flatten", dtype="float64"),
        (16, 16, 3),
        WAYS,
    ),
    ModelEntry("omniglot_dense", lambda: models.omniglot_dense(WAYS, dtype="float64"), (28, 28, 1), WAYS),
    ModelEntry("gru_regressor", lambda: models.gru_regressor((2, 2), (3,), dtype="float64"), (2, 2), None),
)

MINI_IMAGENET_FULL_SIZE = ModelEntry(
    "mini_imagenet_conv_84x84",
    lambda: models.mini_imagenet_conv(WAYS, filters=2, dtype="float64"),
    (84, 84, 3),
    WAYS,
)

NORMALIZED_MODELS = (
    ModelEntry("batch_statistics_in_training", _batch_normalization(), (3,), None),
    ModelEntry("batch_statistics_always", _batch_normalization(batch_statistics="always"), (3,), None),
    ModelEntry(
        "layer_normalization",
        _normalized(lambda: layers.LayerNormalization(dtype="float64")),
        (3,),
        None,
    ),
    ModelEntry(
        "group_normalization",
        _normalized(lambda: layers.GroupNormalization(groups=2, dtype="float64")),
        (3,),
        None,
    ),
)

MODELS = SHIPPED_MODELS + NORMALIZED_MODELS

RULES = (
    RuleEntry("sgd", lambda: 0.1),
    RuleEntry("sgd_rate_per_step", lambda: [0.2, 0.1, 0.05]),
    RuleEntry("learned_per_weight", lambda: maml_tf.LearnedStepSizes(0.1)),
    RuleEntry("learned_per_layer", lambda: maml_tf.LearnedStepSizes(0.1, granularity="layer")),
    RuleEntry(
        "learned_per_layer_and_step",
        lambda: maml_tf.LearnedStepSizes(0.1, granularity="layer_and_step", steps=5),
    ),
    RuleEntry("clipped_by_value", lambda: maml_tf.Chain([maml_tf.ClipByValue(0.1), maml_tf.SGD(0.2)])),
    RuleEntry("momentum", lambda: maml_tf.Chain([maml_tf.Momentum(0.5), maml_tf.SGD(0.1)])),
    RuleEntry("adam", lambda: maml_tf.Chain([maml_tf.Adam(epsilon=0.1), maml_tf.SGD(0.1)])),
    RuleEntry("clipped_by_norm", lambda: maml_tf.Chain([maml_tf.ClipByGlobalNorm(0.3), maml_tf.SGD(0.2)])),
)


# The first model with every rule, and every other model with a rule of its own: what a model or a rule does wrong in
# all its pairs shows here. Tests of all pairs are marked thorough.
PAIRS = (
    *((MODELS[0], rule) for rule in RULES),
    *((model, RULES[place % len(RULES)]) for place, model in enumerate(MODELS) if place),
)
OTHER_PAIRS = tuple((model, rule) for model in MODELS for rule in RULES if (model, rule) not in PAIRS)


def named(cases: Iterable[tuple[ModelEntry, RuleEntry, int]]) -> list[tuple[str, ModelEntry, RuleEntry, int]]:
    """Puts a name before models, rules and numbers of steps, as absl's parameterized tests take them."""
    return [(f"{model.name}_{rule.name}_{steps}_steps", model, rule, steps) for model, rule, steps in cases]


def make_learner(model: ModelEntry, rule: RuleEntry, steps: int, *, seed: int = 0, **options: Any) -> maml_tf.MAML:
    """Makes a learner with weights drawn from the seed, none of them zero."""
    keras.utils.set_random_seed(seed)
    built = model.build()
    generator = np.random.default_rng(seed)
    for variable in built.trainable_variables:
        variable.assign(variable + 0.1 * generator.standard_normal(variable.shape))
    return maml_tf.MAML(
        built,
        loss=model.loss,
        inner_learning_rate=rule.build(),
        inner_steps=steps,
        **{"task_map": "unrolled", **options},
    )


def make_data(model: ModelEntry, *, seed: int = 0, tasks: int = TASKS) -> Any:
    """Makes a meta-batch `((support_x, support_y, query_x), query_y)` of NumPy arrays."""
    generator = np.random.default_rng(seed + 1)

    def examples(count):
        x = generator.standard_normal((tasks, count, *model.input_shape))
        if model.classes is None:
            return x, generator.standard_normal((tasks, count, 1))
        return x, generator.integers(0, model.classes, (tasks, count))

    (support_x, support_y), (query_x, query_y) = examples(SHOTS), examples(QUERIES)
    return (support_x, support_y, query_x), query_y
