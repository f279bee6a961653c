"""Trains and evaluates MAML on few-shot classification of Omniglot characters (Section 5.2 of the paper)."""

from __future__ import annotations

import dataclasses
import os
import sys

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from absl import app, flags, logging

from maml_tf.experiments import omniglot, results
from maml_tf.experiments.omniglot import OmniglotConfig

_DEFAULTS = OmniglotConfig(data_dir="")

flags.DEFINE_string("data_dir", None, "Folder with Omniglot's two archives, or with what they unpack to.")
flags.DEFINE_string("logdir", "runs/omniglot", "Directory for checkpoints, results.json, the figure and events.")
flags.DEFINE_bool("resume", False, "Whether to go on from the checkpoints in --logdir.")
flags.DEFINE_bool(
    "task_a_thread",
    True,
    "Whether each task runs on a thread of its own, the fastest way on a CPU: intra-op 1.",
)
flags.DEFINE_enum("split", _DEFAULTS.split, ["characters", "alphabets"], "How characters are divided.")
flags.DEFINE_integer("seed", _DEFAULTS.seed, "Seed of weights and episodes.")
flags.DEFINE_integer("iterations", _DEFAULTS.iterations, "Training iterations. (The paper's: 60,000.)")
flags.DEFINE_integer("ways", _DEFAULTS.ways, "Classes N of a task.", lower_bound=2)
flags.DEFINE_integer("shots", _DEFAULTS.shots, "Examples K of a class to adapt on.", lower_bound=1)
flags.DEFINE_integer("queries", _DEFAULTS.queries, "Query examples of a class. (The paper's: K.)", lower_bound=1)
flags.DEFINE_integer("meta_batch_size", _DEFAULTS.meta_batch_size, "Tasks an iteration.", lower_bound=1)
flags.DEFINE_integer("inner_steps", _DEFAULTS.inner_steps, "Inner steps in training.", lower_bound=1)
flags.DEFINE_integer("evaluation_steps", _DEFAULTS.evaluation_steps, "Inner steps in evaluation.", lower_bound=0)
flags.DEFINE_float(
    "inner_learning_rate",
    _DEFAULTS.inner_learning_rate,
    "Inner step size alpha, on the mean cross-entropy. The paper's 0.4 (5-way) and 0.1 (20-way) are on the original's "
    "loss, N times the mean: 2.0 and 2.0 here.",
)
flags.DEFINE_float("meta_learning_rate", _DEFAULTS.meta_learning_rate, "Learning rate of Adam.")
flags.DEFINE_bool("first_order", _DEFAULTS.first_order, "Whether to drop second derivatives.")
flags.DEFINE_integer("filters", _DEFAULTS.filters, "Filters of each convolution.", lower_bound=1)
flags.DEFINE_enum(
    "head",
    _DEFAULTS.head,
    ["zeros", "glorot_uniform", "normal"],
    "Initial weights of the output layer; the original's are normal, N(0, 1).",
)
flags.DEFINE_integer("test_tasks", _DEFAULTS.test_tasks, "Tasks of the evaluation.", lower_bound=1)
flags.DEFINE_integer("iterations_per_epoch", _DEFAULTS.iterations_per_epoch, "Iterations between checkpoints.")


def main(argv: list[str]) -> None:
    """Runs the experiment."""
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags alone. Received: {argv[1:]}")
    logging.set_verbosity(logging.INFO)
    values = flags.FLAGS.flag_values_dict()
    if values["task_a_thread"]:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count() or 1)
    try:
        config = OmniglotConfig(**{field.name: values[field.name] for field in dataclasses.fields(OmniglotConfig)})
        rows = omniglot.run(config, values["logdir"], values["resume"])
    except (OSError, ValueError) as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"{results.format_table(rows, percent=True)}\n\nWritten to {values['logdir']}\n")


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
