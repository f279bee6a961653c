"""Trains and evaluates few-shot classification of mini-ImageNet's classes (Section 5.2 of the paper, Table 1).

A training writes checkpoints and the weights that did best on the validation classes; --mode=evaluate measures
these on the test classes, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

import os
import sys

# TensorFlow reads them when it is imported. oneDNN's convolutions win on maps of this size on every processor;
# TensorFlow turns them on by itself only where there is AVX-512.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import tensorflow as tf
from absl import app, flags, logging

from maml_tf.experiments import classification, options, results
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.classification_presets import make_config, presets

_DATASET = "mini_imagenet"
_OPTIONS = [option for option in options.options(ClassificationConfig) if option.name not in ("dataset", "split")]

flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "Whether to train, or to evaluate what was trained.")
flags.DEFINE_enum("preset", "5way_1shot", presets(_DATASET), "Settings that the other flags change.")
flags.DEFINE_string("logdir", f"runs/{_DATASET}", "Directory for checkpoints, results.json, the figure and events.")
flags.DEFINE_bool("resume", False, "Whether to go on from the checkpoints in --logdir.")
flags.DEFINE_bool(
    "task_a_thread",
    True,
    "Whether each task runs on a thread of its own, the fastest way on a CPU: intra-op 1.",
)
options.define_flags(flags, _OPTIONS, "By default the preset's.")
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
    given = options.given(values, _OPTIONS)
    try:
        if values["mode"] == "train":
            classification.train(make_config(_DATASET, values["preset"], **given), values["logdir"], values["resume"])
        else:
            rows = classification.evaluate(values["logdir"], given)
            sys.stdout.write(results.format_table(rows, percent=True) + "\n\n")
    except (OSError, ValueError) as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"Written to {values['logdir']}\n")


if __name__ == "__main__":
    app.run(main, flags_parser=options.flags_parser(app, flags))
