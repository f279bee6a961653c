"""Trains and evaluates MAML with TRPO and its baselines on the ant (Section 5.3 of the paper, Figure 5).

--task=velocity walks at a velocity between 0 and 3 that each task sets, --task=direction forwards or backwards. Prints
the returns after 0 to 4 gradient steps on the 40 tasks of the paper's figure, and writes results.json, the figures,
videos, the policies and TensorBoard's events. An ant that falls ends its rollout early; --budget counts rollouts in
steps, as the original's sampler does.
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

flags.DEFINE_string("logdir", None, "Directory for all that is written; by default runs/ant_<task>.")
flags.DEFINE_bool("resume", False, "Whether to go on from the checkpoints in --logdir.")
flags.DEFINE_bool("task_a_thread", True, "Whether each task runs on a thread of its own, the fastest way on a CPU.")
flags.DEFINE_list("method", ["maml"], f"Methods to train and evaluate: all, or of {', '.join(METHODS)}.")
flags.DEFINE_enum("task", "velocity", ["velocity", "direction"], "What differs between tasks.")
flags.DEFINE_enum("videos", "gif", ["gif", "mp4", "none"], "Format of the videos of two tasks before and after a step.")
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
    environment = f"ant_{values['task']}"
    logdir = values["logdir"] or os.path.join("runs", environment)
    videos = None if values["videos"] == "none" else values["videos"]
    methods = METHODS if "all" in values["method"] else values["method"]
    try:
        config = preset(environment, **options.given(values, _OPTIONS))
        rows = meta_rl.run(config, methods, logdir, values["resume"], videos)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"{results.format_table(rows)}\n\nWritten to {logdir}\n")


if __name__ == "__main__":
    app.run(main)
