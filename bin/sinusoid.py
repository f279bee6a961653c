"""Trains and evaluates MAML and its baselines on sinusoid regression (Section 5.1 of the paper)."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Mapping
from typing import Any

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Until binary.run: a fifth of the time of the imports is the collector's.
gc.disable()

from absl import app, flags

from maml_tf.experiments import binary, sinusoid
from maml_tf.experiments.sinusoid_config import METHODS, SinusoidConfig

_DEFAULTS = SinusoidConfig()

binary.define_training_flags(flags, "runs/sinusoid", "Directory for checkpoints, results.json, figures and events.")
flags.DEFINE_multi_string(
    "method",
    list(_DEFAULTS.methods),
    f"Method to train and evaluate; several by commas or repetition; one of all, {', '.join(METHODS)}.",
)
flags.DEFINE_integer("seed", _DEFAULTS.seed, "Seed of weights and tasks.")
flags.DEFINE_integer("iterations", _DEFAULTS.iterations, "Training iterations.", lower_bound=1)
flags.DEFINE_integer("meta_batch_size", _DEFAULTS.meta_batch_size, "Tasks an iteration.", lower_bound=1)
flags.DEFINE_integer("shots", _DEFAULTS.shots, "Support points K of a training task.", lower_bound=1)
flags.DEFINE_integer("inner_steps", _DEFAULTS.inner_steps, "Inner steps in training.", lower_bound=1)
flags.DEFINE_float(
    "inner_learning_rate", _DEFAULTS.inner_learning_rate,
    "Inner step size alpha, on the mean squared error. (The released original code defaults to 0.001.)",
)  # fmt: skip
flags.DEFINE_float("meta_learning_rate", _DEFAULTS.meta_learning_rate, "Learning rate of Adam.")
flags.DEFINE_bool("first_order", _DEFAULTS.first_order, "Whether method maml drops second derivatives.")
flags.DEFINE_list("hidden", [str(units) for units in _DEFAULTS.hidden], "Units of each hidden layer.")
flags.DEFINE_string("initializer", _DEFAULTS.initializer, "Keras' name of the kernels' initializer.")
flags.DEFINE_list("evaluation_shots", [str(k) for k in _DEFAULTS.evaluation_shots], "K of the evaluations.")
flags.DEFINE_integer("evaluation_steps", _DEFAULTS.evaluation_steps, "Gradient steps of the evaluations.")
flags.DEFINE_integer("test_tasks", _DEFAULTS.test_tasks, "Tasks of the evaluations.")
flags.DEFINE_integer("grid_points", _DEFAULTS.grid_points, "Points of the dense grid of metric mse_grid.")
flags.DEFINE_integer(
    "validation_tasks",
    _DEFAULTS.validation_tasks,
    "Tasks that choose the best weights and the baselines' step sizes.",
)
flags.DEFINE_integer(
    "iterations_per_call",
    _DEFAULTS.iterations_per_call,
    "Training iterations between validations and checkpoints.",
)
flags.DEFINE_float("checkpoint_seconds", _DEFAULTS.checkpoint_seconds, "Least seconds between two checkpoints.")
flags.DEFINE_integer("multi_task_networks", _DEFAULTS.multi_task_networks, "Networks of the multi-task baselines.")
flags.DEFINE_integer("multi_task_iterations", _DEFAULTS.multi_task_iterations, "Training iterations of each.")
flags.DEFINE_integer("multi_task_points", _DEFAULTS.multi_task_points, "Points an iteration of each.")
flags.DEFINE_float("multi_task_learning_rate", _DEFAULTS.multi_task_learning_rate, "Learning rate of Adam of each.")
flags.DEFINE_string(
    "multi_task_initializer", _DEFAULTS.multi_task_initializer, "Keras' name of their kernels' initializer."
)
flags.DEFINE_float("multi_task_l2", _DEFAULTS.multi_task_l2, "Weight of the l2 penalty.")
flags.DEFINE_float("multi_task_mean", _DEFAULTS.multi_task_mean, "Weight of the penalty on the distance to the mean.")


def config_from(values: Mapping[str, Any]) -> SinusoidConfig:
    """Reads the flags that are fields of the configuration."""
    fields = {field.name: values[field.name] for field in dataclasses.fields(SinusoidConfig) if field.name in values}
    for name in ("hidden", "evaluation_shots"):
        try:
            fields[name] = tuple(int(value) for value in values[name])
        except ValueError as error:
            raise ValueError(f"Expected {name} to be integers. Received: {name}={','.join(values[name])}") from error
    chosen = [name for value in values["method"] for name in value.split(",")]
    return SinusoidConfig(**fields, methods=METHODS if "all" in chosen else tuple(dict.fromkeys(chosen)))


def experiment(values: Mapping[str, Any]) -> str:
    """Trains and evaluates."""
    rows = sinusoid.run(config_from(values), values["logdir"], values["resume"])
    return f"{sinusoid.table(rows)}\n\nWritten to {values['logdir']}"


if __name__ == "__main__":
    binary.run(app, flags, experiment)
