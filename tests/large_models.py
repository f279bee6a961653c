"""Converts large models by `maml_tf.exact` and checks them in float64: a command, too long for the tests.

    python -m tests.large_models [--models=MobileNetV3Small,transformer,...]

Prints a row for each model: how many layers were wrong before and after, how far the outputs moved, what
`check_second_order` found, how far the meta-gradient is from a central difference, before and after, and how long the
first two iterations of a training in a graph take, in float32: a fault in them ends the command. A KerasHub backbone
is among them where keras_hub is installed. The exit code is 1 where a model is not exact.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import os
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import maml_tf
from maml_tf.core.clone import default_policy
from maml_tf.core.conversions import conversions
from maml_tf.diagnostics.unsupported_layers import unsupported_layers
from tests.support.finite_differences import directional_difference, dot, unit_direction

_IMAGE = (32, 32, 3)
_APPLICATIONS = ("MobileNetV3Small", "EfficientNetB0", "ResNet50V2", "ConvNeXtTiny")
_HUB = "keras_hub"  # Used where it is installed; setup.py does not ask for it.
# A ReLU that changes its sign between the two points of a difference spoils it, rounding one of close points.
_EPSILONS = (1e-7, 1e-8, 1e-6, 1e-9)
_DIRECTIONS = 2


def application(name):
    backbone = getattr(keras.applications, name)(input_shape=_IMAGE, include_top=False, weights=None, pooling="avg")
    return keras.Model(backbone.input, keras.layers.Dense(1)(backbone.output))


def transformer(layers=4, width=32):
    inputs = keras.Input((16, width))
    hidden = inputs
    for _ in range(layers):
        attended = keras.layers.MultiHeadAttention(4, width // 4)(hidden, hidden)
        hidden = keras.layers.LayerNormalization()(hidden + attended)
        wide = keras.layers.Dense(4 * width, "gelu")(hidden)
        hidden = keras.layers.LayerNormalization()(hidden + keras.layers.Dense(width)(wide))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(hidden)))


def bert():
    keras_hub = importlib.import_module(_HUB)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=100,
        num_layers=4,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=128,
        max_sequence_length=16,
        dropout=0.0,
        dtype="float64",
    )
    return keras.Model(backbone.input, keras.layers.Dense(1)(backbone(backbone.input)["pooled_output"]))


def images(examples, generator):
    return 255 * generator.random((examples, *_IMAGE))


def tokens(examples, generator):
    return generator.standard_normal((examples, 16, 32))


def words(examples, generator):
    return {
        "padding_mask": np.ones((examples, 16), np.int32),
        "segment_ids": np.zeros((examples, 16), np.int32),
        "token_ids": generator.integers(0, 100, (examples, 16), np.int32),
    }


_MODELS = {
    **{name: (lambda name=name: application(name), images) for name in _APPLICATIONS},
    "transformer": (transformer, tokens),
    **({"BertBackbone": (bert, words)} if importlib.util.find_spec(_HUB) else {}),
}


def meta_gradient_error(model, draw):
    """The relative difference of the meta-gradient of one task and one step from a central difference."""
    generator = np.random.default_rng(1)
    support, query = (keras.tree.map_structure(lambda x: x[np.newaxis], draw(4, generator)) for _ in range(2))
    support_y, query_y = generator.standard_normal((2, 1, 4, 1))
    data = (support, support_y, query), query_y
    learner = maml_tf.MAML(model, "mse", 0.01, task_map="unrolled")
    _, gradients = learner.meta_gradients(data)
    errors = []
    for seed, epsilon in itertools.product(range(_DIRECTIONS), _EPSILONS):
        direction = unit_direction(learner, seed)
        difference = directional_difference(learner, data, direction, epsilon)
        errors.append(abs(dot(gradients, direction) / difference - 1))
    return min(errors)


def graph_seconds(model, draw, steps=2):
    """The seconds from the start of a float32 training in a graph to the end of its first and of its second step."""
    # Untrained, with batch statistics of a few examples, such models have gradients that larger steps make infinite.
    learner = maml_tf.MAML(model, "mse", 1e-6, steps)
    learner.compile(keras.optimizers.SGD(1e-12), jit_compile=False)
    generator = np.random.default_rng(1)
    support, query = (keras.tree.map_structure(lambda x: x[np.newaxis] / 255, draw(2, generator)) for _ in range(2))
    support_y, query_y = generator.standard_normal((2, 1, 2, 1))
    seconds = []
    for _ in range(2):
        begin = time.monotonic()
        learner.train_on_batch((support, support_y, query), query_y)
        seconds.append(time.monotonic() - begin)
    return seconds


def check(name):
    build, draw = _MODELS[name]
    begin = time.monotonic()
    with default_policy("float64"):
        model = build()
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.02 * generator.standard_normal(variable.shape))
    built, inputs = time.monotonic() - begin, draw(4, generator)
    begin = time.monotonic()
    exact = maml_tf.exact(model)
    converted = time.monotonic() - begin
    outputs = model(inputs)
    moved = float(keras.ops.max(keras.ops.abs(exact(inputs) - outputs)) / keras.ops.max(keras.ops.abs(outputs)))
    changed, left = len(conversions(exact)), len(unsupported_layers(exact))
    found = maml_tf.check_second_order(exact, inputs)
    coarse = sum(precision != "float64" for precision in found.precisions.values())
    stock_error, error = meta_gradient_error(model, draw), meta_gradient_error(exact, draw)
    first, second = graph_seconds(maml_tf.exact(build()), draw)
    print(
        f"{name}: built in {built:.1f} s, {changed} layers converted in {converted:.1f} s, {left} wrong ones left; "
        f"outputs moved by {moved:.1e}, relative; check_second_order found {len(found)} of {len(found.precisions)} "
        f"layers, {coarse} in float32; meta-gradient off by {stock_error:.1e} before, {error:.1e} after; "
        f"2 inner steps in a graph, float32: first iteration {first:.1f} s, second {second:.2f} s",
        flush=True,
    )
    for finding in found:
        print(f"    {finding.layer}: {finding.reason}", flush=True)
    return not left and not found and moved < 1e-9 and error < 1e-4


def main():
    parser = argparse.ArgumentParser(
        prog="large_models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(_MODELS), help="By default all: %(default)s.")
    chosen = parser.parse_args().models.split(",")
    if unknown := set(chosen) - set(_MODELS):
        parser.error(f"argument --models: expected some of {', '.join(_MODELS)}; received: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    return int(not all([check(name) for name in chosen]))


if __name__ == "__main__":
    sys.exit(main())
