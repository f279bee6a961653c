"""Trains and tests few-shot methods under one setting, and writes a table of them.

    maml-tf compare --data_dir=<Omniglot> --methods=all --seeds=1,2,3 --logdir=runs/comparison

By default on Omniglot, 5-way 1-shot, with four convolutions of 32 filters and 2,000 iterations. Each training and each
test is a process of its own, of maml-tf few-shot, with what it says in log.txt of the run's folder; what is there
already is not done again. A run that fails does not stop the others; the exit code is then 1. The table has the
accuracy on the test tasks, the wall-clock and the CPU time of a training, and the most memory that it held. It is
written to comparison.md, comparison.json and comparison.png in --logdir. Runs that comparison.json holds already are in
the table too, and need no folder.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command
from maml_tf.configuration import settings
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.tasks import datasets


def experiment(values: Mapping[str, Any]) -> str:
    """Compares."""
    from maml_tf.experiments.classification.compare import compare, configurations

    common = {name: values[name] for name in ("iterations", "filters", "data_dir", "cache_dir") if values[name]}
    fields = {field.flag_name: field for field in settings(ClassificationConfig).values()}
    for text in values["setting"]:
        name, equals, value = text.partition("=")
        if not equals or name not in fields:
            raise ValueError(f"Expected <flag of maml-tf few-shot>=<value>. Received: --setting={text}")
        # A flag of True and False is read by its word.
        words = {"true": True, "false": False} if fields[name].kind is bool else {}
        common[fields[name].name] = fields[name].parse(value) if value not in words else words[value]
    registered = [f"--register={path}" for path in values["register"]]
    planned = functools.partial(configurations, values["dataset"], values["preset"], common=common)
    program = ["-m", "maml_tf", "few-shot", *registered]
    table = compare(planned, values["methods"], command.seeds(values), values["logdir"], program)
    return f"{table}\n\nWritten to {values['logdir']}"


def main() -> None:
    """Runs the command."""
    flags.DEFINE_string("logdir", "runs/comparison", "Directory of all runs and of the table.")
    flags.DEFINE_enum("dataset", "omniglot", datasets.names(), "Data set whose classes the tasks are made of.")
    flags.DEFINE_string("preset", "5way_1shot", "Preset of the data set that all methods share.")
    flags.DEFINE_list("methods", ["all"], "Methods to compare, of those of maml-tf few-shot, or all.")
    flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds, each for a training of every method.")
    flags.DEFINE_integer("iterations", 2000, "Training iterations.", lower_bound=1)
    flags.DEFINE_integer("filters", 32, "Filters of each convolution.", lower_bound=1)
    flags.DEFINE_string("data_dir", None, "Folder of the data set.")
    flags.DEFINE_string("cache_dir", None, "Folder of decoded images.")
    flags.DEFINE_multi_string(
        "setting",
        [],
        "A further flag of maml-tf few-shot for all methods, such as meta_batch_size=16; may be repeated.",
    )
    command.run(__doc__, experiment)
