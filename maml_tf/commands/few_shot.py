"""Trains and evaluates few-shot classification of any registered data set.

    maml-tf few-shot --dataset=omniglot --preset=5way_1shot
    maml-tf few-shot --register=my_data.py --dataset=my_data --mode=evaluate
    maml-tf few-shot --register=my_algorithm.py --method=my_algorithm

--register imports a Python file that registers your own data sets or algorithms; see maml_tf.tasks.DatasetSpec and
maml_tf.Algorithm. --method names what is trained: an algorithm, a variant, or a baseline. A training writes
checkpoints and the weights that did best on the validation classes; --mode=evaluate measures these on the test classes,
under the settings stored beside them. Presets, defaults and networks are those of --dataset.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

from maml_tf.commands import command
from maml_tf.experiments.classification.binary import configuration, define_classification_flags, experiment
from maml_tf.experiments.common.binary import early, import_registered
from maml_tf.tasks import datasets


def define(flags: Any, arguments: Sequence[str] = ()) -> command.Experiment:
    """Defines the command's flags; which there are depends on the data set among the arguments."""
    dataset = next((name for name in reversed(early("dataset", arguments)) if name in datasets), "omniglot")
    flags.DEFINE_enum("dataset", "omniglot", datasets.names(), "Data set whose classes the tasks are made of.")
    return define_on(dataset, flags)


def define_on(dataset: str, flags: Any) -> command.Experiment:
    """Defines the flags of the command of a data set.

    Args:
        dataset: Name of a registered data set.
        flags: The module `absl.flags`, or what else has its functions.
    """
    chosen = define_classification_flags(flags, dataset)
    return command.Experiment(
        chosen,
        functools.partial(configuration, dataset=dataset, chosen=chosen),
        functools.partial(experiment, dataset=dataset, chosen=chosen),
        datasets[dataset].presets,
        lambda _: datasets[dataset].environment,
        workers=True,
        test_apart=True,
    )


def main() -> None:
    """Runs the command."""
    import_registered(sys.argv[1:])  # A registered file may bring the data set.
    command.run_experiment(__doc__, define)
