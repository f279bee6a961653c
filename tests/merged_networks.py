"""Merges the tasks of every network of the package and of most of Keras' layers: a command, too long for the tests.

    python -m tests.merged_networks [--networks=omniglot_conv,depthwise,...] [--ways=exact,looped,...]

Prints a row for each network and way: how many loops the graph of the meta-gradient holds beside those of one task's
graph, how far loss and meta-gradient are from those with task_map="mapped", in float64, and what was warned of. The
exit code is 1 where a loop over tasks is left or a difference is above 1e-12.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from maml_tf import layers, models
from tests.conformance import registry
from tests.support.graph_loops import count

_FLOAT64 = {"dtype": "float64"}
_STEPS = 2
WAYS = {
    "exact": {},
    "first_order": {"first_order": True},
    "looped": {"unroll": False},
    "looped_first_order": {"unroll": False, "first_order": True},
    "xla": {"jit_compile": True},
}
# XLA has no second derivative of their maximum pooling in float64.
_NOT_UNDER_XLA = ("pooling", "sequence")
_TOLERANCE = 1e-12


def _layer(name, *arguments, **options):
    return functools.partial(getattr(keras.layers, name), *arguments, **options, **_FLOAT64)


def _of_layers(*parts, shape=(5, 6, 2)):
    def build():
        head = [keras.layers.Flatten(**_FLOAT64), keras.layers.Dense(registry.WAYS, **_FLOAT64)]
        return keras.Sequential([keras.Input(shape, **_FLOAT64), *(part() for part in parts), *head])

    return registry.ModelEntry("layers", build, shape, registry.WAYS)


def _conv_net(shape=(8, 8, 2), **options):
    def build():
        return models.conv_net(shape, registry.WAYS, **{"filters": 2, "blocks": 2, **options}, **_FLOAT64)

    return registry.ModelEntry("conv_net", build, shape, registry.WAYS)


def _context_conv():
    network = models.conv_net((8, 8, 3), registry.WAYS, filters=2, blocks=2, **_FLOAT64)
    context = layers.ContextVector(1, per_position=True, **_FLOAT64)
    return keras.Sequential([keras.Input((8, 8, 2), **_FLOAT64), context, network])


def _attention():
    inputs = keras.Input((4, 6), **_FLOAT64)
    outputs = keras.layers.MultiHeadAttention(2, 3, **_FLOAT64)(inputs, inputs)
    return keras.Model(inputs, keras.layers.Dense(registry.WAYS, **_FLOAT64)(keras.layers.Flatten(**_FLOAT64)(outputs)))


_TANH = _layer("Activation", "tanh")
NETWORKS = {
    **{entry.name: entry for entry in registry.MODELS},
    "context_conv": registry.ModelEntry("context_conv", _context_conv, (8, 8, 2), registry.WAYS),
    "resnet12": registry.ModelEntry(
        "resnet12",
        lambda: models.resnet12(registry.WAYS, input_shape=(16, 16, 1), filters=2, drop_rate=0.1, **_FLOAT64),
        (16, 16, 1),
        registry.WAYS,
    ),
    "conv_net_per_step": _conv_net(norm_steps=_STEPS),
    "conv_net_layer": _conv_net(normalization="layer", downsampling="pool"),
    "conv_net_support": _conv_net(batch_statistics="support"),
    "conv_net_plain": _conv_net(normalization=None, use_bias=True),
    "convolution": _of_layers(_layer("Conv2D", 2, 3, padding="same"), _TANH, _layer("AveragePooling2D", 2)),
    "pooling": _of_layers(_layer("Conv2D", 2, 3, padding="same"), _TANH, _layer("MaxPooling2D", 2)),
    "strides": _of_layers(
        _layer("Conv2D", 3, 3, strides=2), _TANH, _layer("Conv2D", 2, (2, 1), strides=(1, 2), padding="same")
    ),
    "dilations": _of_layers(_layer("Conv2D", 3, 3, dilation_rate=2, padding="same"), _TANH),
    "groups_and_dropout": _of_layers(
        _layer("Conv2D", 4, 3, groups=2, padding="same"),
        _layer("Dropout", 0.4, seed=3),
        _TANH,
        _layer("Conv2D", 6, 3, groups=2, strides=2),
    ),
    "depthwise": _of_layers(
        _layer("DepthwiseConv2D", 3, depth_multiplier=2, padding="same"), _TANH, _layer("DepthwiseConv2D", 3, strides=2)
    ),
    "separable": _of_layers(_layer("SeparableConv2D", 3, 3), _TANH, _layer("AveragePooling2D", 2, padding="same")),
    "transposed": _of_layers(_layer("Conv2DTranspose", 3, 3, strides=2, padding="same"), _TANH),
    "sequence": _of_layers(
        _layer("Conv1D", 3, 3, strides=2, padding="same"),
        _TANH,
        _layer("Conv1D", 2, 2, padding="causal", dilation_rate=2),
        _layer("MaxPooling1D", 2),
        shape=(9, 2),
    ),
    "volume": _of_layers(_layer("Conv3D", 3, 2, padding="same"), _TANH, shape=(4, 5, 4, 2)),
    "upsampling": _of_layers(_layer("UpSampling2D", 2), _layer("ZeroPadding2D", 1), _layer("Conv2D", 2, 3), _TANH),
    "dropout": _of_layers(_layer("Dense", 5), _TANH, _layer("Dropout", 0.4, seed=3), shape=(6,)),
    "spatial_dropout": _of_layers(_layer("Conv2D", 2, 3), _TANH, _layer("SpatialDropout2D", 0.4, seed=3)),
    "lstm": _of_layers(_layer("LSTM", 3, return_sequences=True, use_cudnn=False), _layer("SimpleRNN", 2), shape=(4, 2)),
    "bidirectional": _of_layers(
        lambda: keras.layers.Bidirectional(keras.layers.GRU(2, use_cudnn=False, **_FLOAT64), **_FLOAT64), shape=(4, 2)
    ),
    "recurrent_dropout": _of_layers(
        _layer("LSTM", 3, dropout=0.3, recurrent_dropout=0.3, seed=3, use_cudnn=False), shape=(4, 2)
    ),
    "masked": _of_layers(_layer("Masking", 0.5), _layer("GRU", 3, use_cudnn=False), shape=(4, 2)),
    "conv_lstm": _of_layers(_layer("ConvLSTM2D", 2, 2), shape=(3, 4, 4, 2)),
    "time_distributed": _of_layers(
        lambda: keras.layers.TimeDistributed(keras.layers.Conv1D(2, 2, **_FLOAT64), **_FLOAT64), shape=(3, 4, 2)
    ),
    "attention": registry.ModelEntry("attention", _attention, (4, 6), registry.WAYS),
}


def measured(entry, way):
    """Returns the loops over tasks, the largest relative difference and the warnings of a network and way."""
    options = dict(WAYS[way])
    jit_compile = options.pop("jit_compile", False)
    data = tf.nest.map_structure(tf.constant, registry.make_data(entry, tasks=3))
    results, found = [], []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for task_map in ("mapped", "vectorized"):
            learner = registry.make_learner(entry, registry.RULES[0], _STEPS, task_map=task_map, **options)
            # Under XLA the mapped one would draw other random numbers, and takes long.
            compiled = jit_compile and task_map == "vectorized"
            traced = tf.function(learner.meta_gradients, autograph=False, jit_compile=compiled)
            traced = traced.get_concrete_function(data)
            results.append(tf.nest.flatten(traced(data)))
            found.append(count(traced.graph))
    expected, merged = results
    scale = max(np.max(np.abs(value)) for value in expected)
    difference = max(np.max(np.abs(value - other)) for value, other in zip(merged, expected, strict=True)) / scale
    return found[1] - (found[0] - 1), difference, [str(warning.message) for warning in warned]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--ways", default=",".join(WAYS))
    arguments = parser.parse_args()
    failed = False
    for name in arguments.networks.split(","):
        for way in arguments.ways.split(","):
            if way == "xla" and name in _NOT_UNDER_XLA:
                continue
            begin = time.monotonic()
            try:
                loops, difference, warned = measured(NETWORKS[name], way)
            except Exception as error:  # The others are tried nevertheless.
                failed = True
                print(f"{name:30s} {way:20s} FAILED: {error}", flush=True)
                continue
            seconds = time.monotonic() - begin
            wrong = loops > 0 or not difference <= _TOLERANCE
            failed |= wrong
            print(
                f"{name:30s} {way:20s} loops over tasks: {loops}  difference: {difference:.1e}  {seconds:5.1f} s"
                f"{'  WRONG' if wrong else ''}",
                *warned,
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
