"""The learner of a classification experiment, composed as its configuration says."""

from __future__ import annotations

import keras

from maml_tf.core import selection
from maml_tf.core.update_rules import LearnedStepSizes
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.meta_learner import MAML
from maml_tf.models import mini_imagenet_conv, omniglot_conv, omniglot_dense

_BATCH_STATISTICS = {"transductive": "always", "running": "training"}


def build_network(config: ClassificationConfig) -> keras.Model:
    """Builds the network.

    Args:
        config: The experiment's configuration.

    Returns:
        A built model from images [batch, height, width, channels] to logits [batch, ways].
    """
    options = {
        "head_initializer": keras.initializers.RandomNormal(stddev=1.0) if config.head == "normal" else config.head,
        "batch_statistics": _BATCH_STATISTICS[config.batch_statistics],
    }
    if config.network == "dense":
        return omniglot_dense(config.ways, **options)
    conv = omniglot_conv if config.dataset == "omniglot" else mini_imagenet_conv
    return conv(config.ways, filters=config.filters, **options)


def build_learner(config: ClassificationConfig) -> MAML:
    """Builds the network and its learner, not compiled.

    Args:
        config: The experiment's configuration.

    Returns:
        A learner of tasks with images [tasks, examples, height, width, channels] and labels [tasks, examples].
    """
    rule = config.mean_step_size
    if config.step_sizes != "fixed":
        rule = LearnedStepSizes(rule, granularity=config.step_sizes, steps=config.inner_steps)
    return MAML(
        build_network(config),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        rule,
        config.inner_steps,
        config.first_order,
        adapted=getattr(selection, config.adapted),
        parallel_tasks=config.parallel_tasks,
    )


def compile_learner(learner: MAML, config: ClassificationConfig) -> None:
    """Compiles a learner for training.

    Args:
        learner: From `build_learner`.
        config: The experiment's configuration.
    """
    learner.compile(
        keras.optimizers.Adam(config.meta_learning_rate, clipvalue=config.mean_gradient_clip),
        metrics=["accuracy"],
        steps_per_execution=config.steps_per_call,
    )
