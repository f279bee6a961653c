"""Trains and evaluates MAML with TRPO and its baselines on 2D navigation (Section 5.3 of the paper, Figure 4).

Prints the returns after 0 to 4 gradient steps on the 40 goals of the paper's figure, and writes results.json, the
figures, the policies and TensorBoard's events. The paper's text has an inner step size of 0.1; the run that Figure 4
shows had 0.5 in training and for the first step, 0.25 after it: --inner_learning_rate=0.5.
"""

from __future__ import annotations

import os
import sys

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from absl import app, flags, logging

from maml_tf.experiments import meta_rl, options, results
from maml_tf.experiments.meta_rl_config import METHODS, MetaRLConfig, preset

_OPTIONS = [option for option in options.options(MetaRLConfig) if option.name != "environment"]

flags.DEFINE_string("logdir", "runs/point_navigation", "Directory for all that is written.")
flags.DEFINE_bool("resume", False, "Whether to go on from the checkpoints in --logdir.")
flags.DEFINE_bool("task_a_thread", True, "Whether each task runs on a thread of its own, the fastest way on a CPU.")
flags.DEFINE_list("method", ["maml"], f"Methods to train and evaluate: all, or of {', '.join(METHODS)}.")
flags.DEFINE_enum(
    "reward", "distance", ["distance", "squared"],
    "Negative distance to the goal, as in the code that made Figure 4, or its square, as in the paper's text.",
)  # fmt: skip
options.define_flags(flags, _OPTIONS, "By default the paper's.")
# --help lists them with this binary's own.
flags.adopt_module_key_flags(options)


def main(argv: list[str]) -> None:
    """Runs the experiment."""
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags alone. Received: {argv[1:]}")
    logging.set_verbosity(logging.INFO)
    values = flags.FLAGS.flag_values_dict()
    if values["task_a_thread"]:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count() or 1)
    environment = "point_navigation" if values["reward"] == "distance" else "point_navigation_squared"
    methods = METHODS if "all" in values["method"] else values["method"]
    try:
        config = preset(environment, **options.given(values, _OPTIONS))
        rows = meta_rl.run(config, methods, values["logdir"], values["resume"])
    except ValueError as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"{results.format_table(rows)}\n\nWritten to {values['logdir']}\n")


if __name__ == "__main__":
    app.run(main)
