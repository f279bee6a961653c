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

import sys

from absl import flags

from maml_tf.commands import command
from maml_tf.experiments.classification.binary import define_classification_flags, experiment
from maml_tf.experiments.common.binary import early, import_registered
from maml_tf.tasks import datasets


def main() -> None:
    """Runs the command."""
    # The data set decides which flags there are, and a registered file which data sets.
    import_registered(sys.argv[1:])
    dataset = next((name for name in reversed(early("dataset", sys.argv[1:])) if name in datasets), "omniglot")
    flags.DEFINE_enum("dataset", "omniglot", datasets.names(), "Data set whose classes the tasks are made of.")
    run_on(dataset, __doc__)


def run_on(dataset: str, about: str) -> None:
    """Runs the command of a data set.

    Args:
        dataset: Name of a registered data set.
        about: What the command does, for --help.
    """
    chosen = define_classification_flags(flags, dataset)
    command.run(
        about,
        lambda values: experiment(values, dataset, chosen),
        lambda _: datasets[dataset].environment,
        chosen=chosen,
        presets=datasets[dataset].presets,
        workers=True,
    )
