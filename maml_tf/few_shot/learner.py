"""Builds and loads the learner that a configuration describes."""

from __future__ import annotations

import inspect
import os

import keras

from maml_tf.algorithms import of_method
from maml_tf.core import selection
from maml_tf.core.update_rules import Chain, LearnedStepSizes, MetaCurvature, as_update_rule
from maml_tf.evaluation import Evaluator, accuracy
from maml_tf.few_shot.config import LearnerConfig
from maml_tf.layers import ContextVector
from maml_tf.learner import MetaLearner
from maml_tf.tasks.dataset import datasets
from maml_tf.training import load_weights

_BATCH_STATISTICS = {"transductive": "always", "support": "support", "running": "training"}
ADAPTED = {
    "everything": selection.everything,
    "weights": selection.matching("(kernel|bias)$"),
    "head": selection.head,
    "body": selection.body,
    "context": selection.matching("context_vector"),
}


def build_network(config: LearnerConfig) -> keras.Model:
    """Builds the network.

    Args:
        config: The configuration.

    Returns:
        A built model from images [batch, height, width, channels] to logits [batch, ways].

    Raises:
        ValueError: If `per_step_norm` or `drop_rate` is set and the network does not support it.
    """
    spec = datasets[config.dataset]
    *positions, channels = spec.image_shape
    build = spec.networks[config.network]
    arguments = inspect.signature(build).parameters.values()
    takes_steps = any(one.name == "norm_steps" or one.kind is one.VAR_KEYWORD for one in arguments)
    if config.per_step_norm and not takes_steps:
        raise ValueError(
            "Expected a network whose builder takes norm_steps, the number of inner steps, with per_step_norm=True. "
            f"Received: network={config.network!r}"
        )
    if config.drop_rate and not any(one.name == "drop_rate" for one in arguments):
        raise ValueError(
            "Expected a network whose builder takes drop_rate, such as resnet12, with drop_rate > 0. "
            f"Received: network={config.network!r}, drop_rate={config.drop_rate}"
        )
    network = build(
        config.ways,
        input_shape=(*positions, channels + config.context),
        filters=config.filters,
        head_initializer=keras.initializers.RandomNormal(stddev=1.0) if config.head == "normal" else config.head,
        batch_statistics=_BATCH_STATISTICS[config.batch_statistics],
        **({"norm_steps": config.inner_steps} if config.per_step_norm else {}),
        **({"drop_rate": config.drop_rate} if config.drop_rate else {}),
    )
    if not config.context:
        return network
    context = ContextVector(config.context, per_position=True, name="context_vector")
    return keras.Sequential([keras.Input((*positions, channels)), context, network], name=f"context_{network.name}")


def build_learner(config: LearnerConfig) -> MetaLearner:
    """Builds the network and its learner, not compiled.

    Args:
        config: The configuration.

    Returns:
        A learner for tasks with images [tasks, examples, height, width, channels] and labels [tasks, examples].
    """
    rule = config.mean_step_size
    if config.step_sizes != "fixed":
        rule = LearnedStepSizes(rule, granularity=config.step_sizes, steps=config.inner_steps)
    if config.curvature:
        rule = Chain([MetaCurvature(), as_update_rule(rule)])
    return MetaLearner(
        build_network(config),
        task_loss(),
        of_method(
            config.method,
            config.first_order,
            multi_step_iterations=config.multi_step_iterations,
            first_order_iterations=config.first_order_iterations,
            proximal_weight=config.proximal_weight,
            conjugate_gradient_steps=config.conjugate_gradient_steps,
        ),
        rule,
        config.inner_steps,
        adapted=ADAPTED[config.adapted],
        task_map="mapped" if config.in_task_order else "auto",
        parallel_tasks=config.parallel_tasks,
        padding_label=-1 if config.sizes_vary else None,
        in_task_order=config.in_task_order,
        name="maml",
    )


def task_loss() -> keras.losses.Loss:
    """Makes the loss of a task, Equation 3: the mean cross-entropy of logits and integer labels."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build_evaluator(learner: MetaLearner, *, loss: bool = False) -> Evaluator:
    """Builds the evaluator of a learner's accuracy, the metric "accuracy".

    Args:
        learner: A learner of `build_learner`.
        loss: Whether to measure the loss too, the metric "loss".
    """
    return Evaluator(learner, {"accuracy": accuracy, **({"loss": task_loss()} if loss else {})})


def learner_with_weights(path: str | os.PathLike[str], trained: LearnerConfig, config: LearnerConfig) -> MetaLearner:
    """Builds a configuration's learner with weights that were trained with another configuration.

    Args:
        path: File of weights.
        trained: The configuration of the training.
        config: The configuration of the learner; it may differ in settings that an evaluation may change.

    Returns:
        The learner.

    Raises:
        ValueError: If the weights do not match `trained`, or `config` needs moving averages that were not kept.
    """
    learner = build_learner(config)
    if config.batch_statistics == trained.batch_statistics:
        load_weights(learner, path)
        return learner
    if config.batch_statistics == "running":
        raise ValueError(
            "Expected a training with batch_statistics='running', which keeps moving averages. "
            f"Received: a training with {trained.batch_statistics!r}"
        )
    source = build_learner(trained)
    load_weights(source, path)
    for variable, value in zip(learner.trainable_weights, source.trainable_weights, strict=True):
        variable.assign(value)
    return learner
