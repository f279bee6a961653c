"""Trains and evaluates few-shot classification of mini-ImageNet's classes (Section 5.2 of the paper, Table 1).

A training writes checkpoints and the weights that did best on the validation classes; --mode=evaluate measures
these on the test classes, under the settings stored beside them. --preset sets a cell of the paper's tables, with
the settings that learned fastest here, or with _paper added to its name, with those of the paper; flags change it.
"""

from __future__ import annotations

from absl import app, flags

from maml_tf.experiments.classification.binary import define_classification_flags, run

_DATASET = "mini_imagenet"
_SETTINGS = define_classification_flags(flags, _DATASET)

if __name__ == "__main__":
    run(app, flags, _DATASET, _SETTINGS)
