"""Bad inputs: episodes at fault in every use of a learner, and calls with a wrong argument, each in a line below.

A line is what to call and, after `->`, a pattern that the error's message must match. To add one is to add a line.
"""

from __future__ import annotations

import itertools
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import maml_tf
from maml_tf.core.faults import NonFiniteLossError
from tests.campaign import calls
from tests.campaign.counts import Counts, received

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
TASKS, EXAMPLES, WIDTH, WAYS = 4, 5, 3, 5
_draw = np.random.default_rng(0)
SX, QX = (_draw.normal(size=(TASKS, EXAMPLES, WIDTH)).astype(np.float32) for _ in range(2))
SY = np.tile(np.arange(EXAMPLES), (TASKS, 1))
QY = SY[:, ::-1].copy()
# Targets of a regression.
SR, QR = SX[:, :, :1] * 2, QX[:, :, :1] * 2


def put(array: np.ndarray, value: Any, dtype: Any = None) -> np.ndarray:
    """Returns a copy with one value of task 1 replaced."""
    array = array.astype(dtype or array.dtype)
    array[1, 2] = value
    return array


# The data that replace those of the valid classification, or with loss="mse" of the regression.
EPISODES = """
sy=put(SY, 7) -> label 7
sy=put(SY, -1) -> label -1
sy=SY + 1 -> label 5
sy=put(SY, 1.5, np.float32) -> label 1.5
sy=put(SY, np.nan, np.float32) -> label nan
sy=put(SY, 300) -> label 300
sy=put(SY, 200, np.uint8) -> label 200
qy=put(QY, 5) -> label 5
qy=put(QY, -2, np.int8) -> label -2
qy=put(QY, np.inf, np.float64) -> label inf
sx=put(SX, np.nan) -> finite
sx=put(SX, np.inf) -> finite
qx=put(QX, np.nan) -> finite
sx=put(SX, 1e39, np.float64) -> finite
sx=SX * 1j -> complex
qx=QX * 1j -> complex
sx=SX[:3] -> tasks|cardinality
sy=SY[:3] -> tasks|cardinality
qx=QX[:3], qy=QY[:3] -> tasks|cardinality
qy=QY[:3] -> tasks|cardinality
sx=SX[:, :4] -> 4 inputs|shape
sy=SY[:, :4] -> 4 targets|shape
sy=SY[:, :1] -> 1 targets|shape
qy=QY[:, :1] -> 1 targets|shape
qy=QY[:, :4] -> 4 targets|shape
sx=SX[:, :0], sy=SY[:, :0] -> at least 1
qx=QX[:, :0], qy=QY[:, :0] -> at least 1
sx=SX[..., :2] -> 2|shape
sx=np.tile(SX, 2), qx=np.tile(QX, 2) -> 6|shape
qx=QX[..., :2] -> 2|shape
sx=SX[..., None, None], qx=QX[..., None, None] -> shape
sx=SX[0, :, 0] -> shape|axes
sy=SY[0] -> axes|tasks
sy=np.eye(5)[SY] -> shape|label
qy=np.eye(5)[QY] -> shape|label
sy=SY.astype(str) -> string|dtype|numbers
sx=SX.astype(str), qx=QX.astype(str) -> string|dtype|numbers
sx=SX.astype(object) -> object|string|dtype|numbers
loss="mse", sy=np.tile(SR, 2) -> shape
loss="mse", qy=np.tile(QR, 2) -> shape
loss="mse", sy=SR[..., None, None] -> shape
loss="mse", sy=SR[:, :1] -> 1 targets|shape
loss="mse", sy=put(SR, np.nan) -> finite
loss="mse", qy=put(QR, np.inf) -> finite
loss="mse", sy=put(SR, 1e30) -> finite
loss="mse", sy=SR * 1j -> complex
loss="mse", sy=SR[:3], qy=QR -> tasks|cardinality
"""

HOW = {
    "eager": {"run_eagerly": True, "task_map": "mapped"},
    "graph": {"jit_compile": False},
    "mapped": {"jit_compile": False, "task_map": "mapped"},
    "xla": {"jit_compile": True},
}


class Learners:
    """One learner for each way of computing and loss; no error may change one."""

    def __init__(self):
        self._made = {}

    def get(self, how: str, loss: Any) -> maml_tf.MAML:
        key = how, loss if isinstance(loss, str) else "cross-entropy"
        if key not in self._made:
            keras.utils.set_random_seed(0)
            model = maml_tf.models.mlp((WIDTH,), (4,), 1 if loss == "mse" else WAYS)
            options = dict(HOW[how])
            learner = maml_tf.MAML(model, loss, 0.1, task_map=options.pop("task_map", "auto"))
            learner.compile(keras.optimizers.Adam(0.01), **options)
            self._made[key] = learner
        return self._made[key]


def dataset(sx: Any, sy: Any, qx: Any, qy: Any, known: int | None) -> tf.data.Dataset:
    """One element whose sizes are unknown to the graph: the rank too, or but the last `known` axes."""

    def spec(array):
        shape = tf.TensorShape(None)
        if known is not None:
            shape = [None] * min(2, array.ndim) + list(array.shape[2:])
        return tf.TensorSpec(shape, tf.as_dtype(array.dtype))

    arrays = tuple(np.asarray(array) for array in (sx, sy, qx, qy))
    if any(array.dtype == object for array in arrays):
        return tf.data.Dataset.from_tensors(((sx, sy, qx), qy))  # There is no such spec.
    made = tf.data.Dataset.from_generator(lambda: iter([arrays]), output_signature=tuple(map(spec, arrays)))
    return made.map(lambda sx, sy, qx, qy: ((sx, sy, qx), qy))


# (ways of computing, which of sx, sy, qx, qy it sees, call of a learner and the data).
USES = {
    "train_on_batch": (
        ("eager", "graph", "xla"),
        "all",
        lambda learner, sx, sy, qx, qy: learner.train_on_batch((sx, sy, qx), qy),
    ),
    "fit": (
        ("graph", "xla"),
        "all",
        lambda learner, *data: learner.fit(dataset(*data, known=1), shuffle=False, verbose=0),
    ),
    "evaluate": (("mapped", "xla"), "all", lambda learner, *data: learner.evaluate(dataset(*data, known=1), verbose=0)),
    "test_on_batch": (("graph",), "all", lambda learner, sx, sy, qx, qy: learner.test_on_batch((sx, sy, qx), qy)),
    "predict": (
        ("graph", "xla"),
        "inputs",
        lambda learner, sx, sy, qx, qy: learner.predict((sx, sy, qx), batch_size=len(sx), verbose=0),
    ),
    "call": (("graph",), "inputs", lambda learner, sx, sy, qx, qy: learner((sx, sy, qx))),
    "meta_gradients": (
        ("graph",),
        "all",
        lambda learner, sx, sy, qx, qy: learner.meta_gradients(((sx, sy, qx), qy)),
    ),
    "maml_tf.evaluate": (
        ("graph", "xla"),
        "all",
        lambda learner, sx, sy, qx, qy: maml_tf.evaluate(learner, [((sx, sy, qx), qy)], 2),
    ),
    "adapt": (("graph",), "task", lambda learner, sx, sy, qx, qy: learner.adapt(sx[1], sy[1])),
}


def sees(view: str, changed: dict[str, Any], valid: dict[str, Any]) -> bool:
    """Whether a use sees what was changed: predictions see no query targets, `adapt` sees task 1's support set."""
    if view == "all":
        return True
    if view == "inputs":
        return set(changed) != {"qy"}
    support = {name: value for name, value in changed.items() if name in ("sx", "sy")}
    return any(
        np.ndim(value) < 2
        or value[1].shape != valid[name][1].shape
        or not np.array_equal(value[1].astype(str), valid[name][1].astype(str))
        for name, value in support.items()
    )


def is_a_number(result: Any) -> bool:
    """Whether a use returned something finite."""
    if isinstance(result, keras.Model):
        result = result.get_weights()
    if isinstance(result, (maml_tf.Evaluation, keras.callbacks.History)):
        result = result.values if isinstance(result, maml_tf.Evaluation) else result.history
    return all(np.all(np.isfinite(np.asarray(leaf, np.float64))) for leaf in tf.nest.flatten(result))


def try_episodes(counts: Counts, learners: Learners, every_use: bool) -> None:
    """Every episode at fault in each use; in turn one way of computing a use, or all of them."""
    turns = {use: itertools.cycle(hows) for use, (hows, *_) in USES.items()}
    for line in ["", 'loss="mse"', *EPISODES.strip().splitlines()]:
        text, _, expected = line.partition(" -> ")
        changed = eval(f"dict({text})", globals())
        loss = changed.pop("loss", CROSS_ENTROPY)
        targets = (SR, QR) if loss == "mse" else (SY, QY)
        valid = {"sx": SX, "sy": targets[0], "qx": QX, "qy": targets[1]}
        data = {**valid, **changed}
        for use, (hows, view, call) in USES.items():
            if changed and not sees(view, changed, valid):
                continue
            for how in hows if every_use or not changed else [next(turns[use])]:
                learner = learners.get(how, loss)
                before = learner.get_weights()
                result, error = received(lambda: call(learner, *data.values()))  # noqa: B023
                name = f"{use} ({how}) with {text or 'valid data'}"
                same = all(map(np.array_equal, before, learner.get_weights()))
                if not changed:
                    right = error is None and is_a_number(result)
                    counts.add("right" if right else "refused", name, error or result)
                elif error is None and expected == "finite" and not is_a_number(result):
                    counts.add("right", name)  # What is not trained may diverge, and says so.
                elif error is None:
                    counts.add("silent", name, f"{type(result).__name__}: {result}")
                elif not same and not isinstance(error, NonFiniteLossError):
                    counts.add("silent", name, f"the weights changed, then {error}")
                else:
                    counts.error(name, error, expected)


def try_calls(counts: Counts) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = calls.names(folder)
        for line in calls.CALLS.strip().splitlines():
            if line.startswith("#"):
                continue
            text, _, expected = line.rpartition(" -> ")
            result, error = received(lambda: eval(text, names))  # noqa: B023
            if error is None:
                counts.add("silent", text, f"{type(result).__name__}: {result}")
            else:
                counts.error(text, error, expected)


def run(options: Any) -> Counts:
    counts = Counts("inputs")
    try_calls(counts)
    try_episodes(counts, Learners(), every_use=False)
    return counts
