"""Builds and loads learners for sinusoid regression from a configuration."""

from __future__ import annotations

import os

import keras

from maml_tf.algorithms import of_method
from maml_tf.few_shot.config import RegressionConfig
from maml_tf.learner import MetaLearner
from maml_tf.methods import methods
from maml_tf.models import mlp
from maml_tf.training import load_weights


def build_network(config: RegressionConfig, inputs: int = 1) -> keras.Model:
    """Builds the paper's network, [points, inputs] -> [points, 1]: two hidden layers of 40 ReLU units."""
    return mlp((inputs,), hidden=config.hidden, outputs=1, kernel_initializer=config.initializer, name="network")


def build_learner(name: str, config: RegressionConfig, network: keras.Model, step_size: float) -> MetaLearner:
    """Builds the learner that trains or tests a method's network; baselines are tested in the same way as MAML.

    Args:
        name: A name of `maml_tf.methods`.
        config: The configuration.
        network: The network; its weights are the learner's.
        step_size: Size of an inner step.

    Returns:
        A learner for tasks with x and y [tasks, points, 1].
    """
    first_order = config.first_order or "sinusoid" in methods[name].build
    return MetaLearner(
        network, "mse", of_method(name, first_order), step_size, config.inner_steps,
        task_map="mapped" if config.in_task_order else "auto",
        in_task_order=config.in_task_order,
        name="maml",
    )  # fmt: skip


def load_learner(path: str | os.PathLike[str], name: str, config: RegressionConfig, step_size: float) -> MetaLearner:
    """Builds a method's learner, with the inner steps of evaluations, and reads the weights of its network.

    Args:
        path: File of weights that the network's `save_weights` wrote.
        name: A name of `maml_tf.methods`.
        config: The configuration of the training.
        step_size: Size of an inner step.

    Raises:
        ValueError: If the file holds weights of another network.
    """
    network = build_network(config)
    load_weights(network, path)
    learner = build_learner(name, config, network, step_size)
    learner.inner_steps = config.evaluation_steps
    return learner
