"""Trains and evaluates few-shot classification of any registered data set.

    python bin/few_shot.py --dataset=omniglot --preset=5way_1shot
    python bin/few_shot.py --register=my_data.py --dataset=my_data --mode=evaluate
    python bin/few_shot.py --register=my_algorithm.py --method=my_algorithm

--register imports a Python file that registers data sets or algorithms of one's own, see maml_tf.tasks.DatasetSpec and
maml_tf.Algorithm. --method names what is trained: an algorithm, a variant, or a baseline. A training writes
checkpoints and the weights that did best on the validation classes; --mode=evaluate measures these on the test classes,
under the settings stored beside them. Presets, defaults and networks are those of --dataset.
"""

from __future__ import annotations

import sys

from absl import app, flags

from maml_tf.experiments.classification.binary import define_classification_flags, run
from maml_tf.experiments.common.binary import early, import_registered
from maml_tf.tasks import datasets

# The data set decides which flags there are, and a registered file which data sets.
import_registered(sys.argv[1:])
_DATASET = next((name for name in reversed(early("dataset", sys.argv[1:])) if name in datasets), "omniglot")

flags.DEFINE_enum("dataset", "omniglot", datasets.names(), "Data set whose classes the tasks are made of.")
_SETTINGS = define_classification_flags(flags, _DATASET)

if __name__ == "__main__":
    run(app, flags, _DATASET, _SETTINGS)
