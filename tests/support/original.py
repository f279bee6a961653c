"""Checkpoints as the original TensorFlow 1 implementation writes them, and its forward pass."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf


def variables(kind, *, ways=5, filters=4, channels=1, seed=0):
    """Returns name -> value of a network as the original makes it: "conv", "dense" or, without names, "unnamed"."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32) * 0.3  # noqa: E731
    values = {f"{block}/beta": draw(filters) for block in range(4)}
    if kind == "conv":
        for block in range(4):
            values[f"conv{block + 1}"] = draw(3, 3, channels if block == 0 else filters, filters)
            values[f"Variable_{block}" if block else "Variable"] = draw(filters)
        return {**values, "w5": draw(filters, ways), "b5": draw(ways)}
    sizes = [28 * 28, 256, 128, 64, 64, ways]
    for number, pair in enumerate(itertools.pairwise(sizes)):
        names = (f"w{number + 1}", f"b{number + 1}")
        if kind == "unnamed":
            names = (f"Variable_{2 * number}" if number else "Variable", f"Variable_{2 * number + 1}")
        values |= {names[0]: draw(*pair), names[1]: draw(pair[1])}
        if number < 4:
            values[f"{number}/beta"] = draw(pair[1])
    return values


def save(values, path, prefix="model/"):
    """Writes them with TensorFlow 1's saver, among variables of an optimizer."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = [
            tf.compat.v1.get_variable(f"{prefix}{name}", initializer=value, use_resource=False)
            for name, value in values.items()
        ]
        made.append(tf.compat.v1.get_variable("beta1_power", initializer=0.9, use_resource=False))
        first = f"{prefix}{next(iter(values))}"
        made.append(tf.compat.v1.get_variable(f"{first}/Adam", initializer=np.zeros(4, np.float32), use_resource=False))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(made).save(session, str(path), write_meta_graph=False)


def conv_logits(values, images):
    """The original's forward pass for Omniglot, written out: images [examples, 28, 28, 1] to logits."""
    x = images
    for block in range(4):
        bias = values[f"Variable_{block}" if block else "Variable"]
        x = tf.nn.conv2d(x, values[f"conv{block + 1}"], strides=2, padding="SAME") + bias
        mean = tf.reduce_mean(x, [0, 1, 2])
        variance = tf.reduce_mean((x - mean) ** 2, [0, 1, 2])
        x = tf.nn.relu((x - mean) / tf.sqrt(variance + 1e-3) + values[f"{block}/beta"])
    return tf.reduce_mean(x, [1, 2]) @ values["w5"] + values["b5"]


def dense_logits(values, images):
    """The original's forward pass of the fully connected network, from variables with names."""
    x = tf.reshape(images, [len(images), -1])
    for block in range(4):
        x = x @ values[f"w{block + 1}"] + values[f"b{block + 1}"]
        mean = tf.reduce_mean(x, [0])
        variance = tf.reduce_mean((x - mean) ** 2, [0])
        x = tf.nn.relu((x - mean) / tf.sqrt(variance + 1e-3) + values[f"{block}/beta"])
    return x @ values["w5"] + values["b5"]


def adapted_logits(logits, values, support_x, support_y, query_x, *, step_size, shots, steps):
    """Gradient steps on the original's inner loss, the sum over examples of cross-entropy / shots; not on beta."""
    values = {name: tf.constant(value) for name, value in values.items()}
    adapting = [name for name in values if not name.endswith("beta")]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            tape.watch([values[name] for name in adapting])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(support_y, logits(values, support_x)) / shots
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, [values[name] for name in adapting])
        values |= {
            name: values[name] - step_size * gradient for name, gradient in zip(adapting, gradients, strict=True)
        }
    return logits(values, query_x)
