"""The learner of a classification experiment, composed as its configuration says."""

from __future__ import annotations

import keras

from maml_tf.core import selection
from maml_tf.core.learned_step_sizes import LearnedStepSizes
from maml_tf.evaluation import Evaluator, accuracy
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.layers import ContextVector
from maml_tf.meta_learner import MAML
from maml_tf.models import mini_imagenet_conv, omniglot_conv, omniglot_dense

IMAGE_SHAPES = {"omniglot": (28, 28, 1), "mini_imagenet": (84, 84, 3)}
_BATCH_STATISTICS = {"transductive": "always", "support": "support", "running": "training"}
ADAPTED = {
    "everything": selection.everything,
    "weights": selection.matching("(kernel|bias)$"),
    "head": selection.head,
    "context": selection.matching("context_vector"),
}
_NETWORKS = {
    "omniglot": {"conv": omniglot_conv, "dense": omniglot_dense},
    "mini_imagenet": {"conv": mini_imagenet_conv},
}


def build_network(config: ClassificationConfig) -> keras.Model:
    """Builds the network.

    Args:
        config: The experiment's configuration.

    Returns:
        A built model from images [batch, height, width, channels] to logits [batch, ways].

    Raises:
        ValueError: If there is no such network for the data set.
    """
    options = {
        "head_initializer": keras.initializers.RandomNormal(stddev=1.0) if config.head == "normal" else config.head,
        "batch_statistics": _BATCH_STATISTICS[config.batch_statistics],
    }
    if config.network == "conv":
        options["filters"] = config.filters
    builders = _NETWORKS[config.dataset]
    if config.network not in builders:
        raise ValueError(
            f"Expected network to be of {list(builders)} for {config.dataset}. Received: {config.network!r}"
        )
    build = builders[config.network]
    if not config.context:
        return build(config.ways, **options)
    *positions, channels = IMAGE_SHAPES[config.dataset]
    network = build(config.ways, input_shape=(*positions, channels + config.context), **options)
    context = ContextVector(config.context, per_position=True, name="context_vector")
    return keras.Sequential([keras.Input((*positions, channels)), context, network], name=f"context_{network.name}")


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
        task_loss(),
        rule,
        config.inner_steps,
        config.first_order,
        adapted=ADAPTED[config.adapted],
        parallel_tasks=config.parallel_tasks,
    )


def task_loss() -> keras.losses.Loss:
    """Makes the loss of a task, Equation 3: the mean cross-entropy of logits and integer labels.

    Returns:
        A Keras loss.
    """
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build_evaluator(learner: MAML, config: ClassificationConfig) -> Evaluator:
    """Builds what measures a learner's accuracy, with the batch statistics that the configuration says.

    Args:
        learner: From `build_learner`.
        config: The experiment's configuration.

    Returns:
        An evaluator of the metric "accuracy".
    """
    return Evaluator(learner, {"accuracy": accuracy}, support_statistics=config.support_statistics)


def compile_model(model: keras.Model, config: ClassificationConfig) -> None:
    """Compiles a learner, or a baseline's classifier, for training.

    Args:
        model: The model.
        config: The experiment's configuration.
    """
    # A learner has its loss already.
    loss = {} if isinstance(model, MAML) else {"loss": task_loss(), "jit_compile": False}
    rate = config.meta_learning_rate
    if config.meta_learning_rate_decay == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, config.iterations)
    model.compile(
        keras.optimizers.Adam(rate, clipvalue=config.mean_gradient_clip),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=config.steps_per_call,
        **loss,
    )
    model.optimizer.build(model.trainable_variables)
