"""Reads a TensorFlow 1 checkpoint of the original implementation into a directory that bin/evaluate.py takes.

    python bin/import_original.py --checkpoint=model59999 --dataset=mini_imagenet --preset=5way_1shot_paper
    python bin/evaluate.py --checkpoint=runs/original --data_dir=<data>

The preset says what network it is and how it adapts: those that end in _paper are the original's.
"""

from __future__ import annotations

import os
import sys

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

from maml_tf.experiments import options
from maml_tf.experiments.classification_config import ClassificationConfig
from maml_tf.experiments.classification_files import write_untrained
from maml_tf.experiments.classification_presets import make_config
from maml_tf.experiments.original_checkpoint import assign_original, read_original

_OPTIONS = [option for option in options.options(ClassificationConfig) if option.name != "dataset"]

flags.DEFINE_string("checkpoint", None, "Prefix of the checkpoint's files, such as logs/.../model59999.")
flags.DEFINE_enum("dataset", "omniglot", ["omniglot", "mini_imagenet"], "What it was trained on.")
flags.DEFINE_string("preset", "5way_1shot_paper", "Settings of the network and of its adaptation.")
flags.DEFINE_string("logdir", "runs/original", "Directory for the weights and their settings.")
options.define_flags(flags, _OPTIONS, "By default the preset's.")
# --help lists them with this binary's own.
flags.adopt_module_key_flags(options)


def main(argv: list[str]) -> None:
    """Imports."""
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags alone. Received: {argv[1:]}")
    values = flags.FLAGS.flag_values_dict()
    try:
        config = make_config(values["dataset"], values["preset"], **options.given(values, _OPTIONS))
        weights = read_original(values["checkpoint"])
        write_untrained(values["logdir"], config, lambda network: assign_original(network, weights))
    except (OSError, ValueError) as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"Written to {values['logdir']}\n")


if __name__ == "__main__":
    flags.mark_flag_as_required("checkpoint")
    app.run(main, flags_parser=options.flags_parser(app, flags))
