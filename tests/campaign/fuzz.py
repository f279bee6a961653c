"""Episodes of any shape, dtype and value: a number that an independent program finds too, or one clear error."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import hypothesis
import keras
import numpy as np
from hypothesis import strategies as st

import maml_tf
from tests.campaign import twin
from tests.campaign.counts import Counts, received

TOLERANCE = 1e-5
INPUTS = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")
LABELS = ("int8", "uint8", "int16", "int32", "int64", "float32", "float64")
USES = ("adapt", "test_on_batch", "predict", "meta_gradients", "evaluate", "train_on_batch")
# What is done to a good episode.
FAULTS = (
    "none", "none", "none", "nan", "infinity", "huge", "label_above", "label_below", "label_fraction", "one_hot",
    "example_missing", "task_missing", "wider_input", "wider_target", "axis_more", "axis_less", "no_example", "no_task",
    "complex", "text",
)  # fmt: skip


class Trial(NamedTuple):
    """What one trial is made of."""

    use: str
    fault: str
    place: str
    kind: str
    tasks: int
    support: int
    query: int
    width: int
    hidden: tuple[int, ...]
    outputs: int
    steps: int
    rate: float
    scale: float
    dtype: str
    targets: str
    policy: str
    jit_compile: bool
    seed: int


def trials() -> st.SearchStrategy[Trial]:
    few = st.integers(1, 4)
    return st.builds(
        Trial,
        use=st.sampled_from(USES),
        fault=st.sampled_from(FAULTS),
        place=st.sampled_from(("support_x", "support_y", "query_x", "query_y")),
        kind=st.sampled_from(("mse", "cross_entropy")),
        tasks=few,
        support=few,
        query=few,
        width=st.integers(1, 3),
        hidden=st.sampled_from(((), (3,), (2, 2))),
        outputs=st.integers(1, 3),
        steps=st.integers(1, 3),
        rate=st.sampled_from((0.0, 0.01, 0.1, 0.5)),
        scale=st.sampled_from((0.0, 1e-3, 1.0, 3.0)),
        dtype=st.sampled_from(INPUTS),
        targets=st.sampled_from(LABELS),
        policy=st.sampled_from(("float32", "float64")),
        jit_compile=st.booleans(),
        seed=st.integers(0, 2**16),
    )


def good_episode(trial: Trial) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(trial.seed)
    made = {}
    for name, examples in (("support", trial.support), ("query", trial.query)):
        values = draw.normal(size=(trial.tasks, examples, trial.width)) * trial.scale
        if np.dtype(trial.dtype).kind in "ub":
            values = np.abs(values)
        made[f"{name}_x"] = values.astype(trial.dtype)
        if trial.kind == "mse":
            targets = draw.normal(size=(trial.tasks, examples, trial.outputs)) * 2
            targets = np.abs(targets) if np.dtype(trial.targets).kind == "u" else targets
        else:
            targets = draw.integers(0, trial.outputs, (trial.tasks, examples))
        made[f"{name}_y"] = targets.astype(trial.targets)
    return made


def with_fault(trial: Trial, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Returns the episode at fault and the fault's name, "none" where this one cannot have it."""
    fault, name = trial.fault, trial.place
    array = data[name]
    labels, floating = name.endswith("_y") and trial.kind == "cross_entropy", array.dtype.kind == "f"
    changed = array.copy()
    first = (0,) * array.ndim
    if fault in ("nan", "infinity", "huge"):
        if not floating:
            return data, "none"
        # In training one error; elsewhere a task may diverge, and shows it as the independent program does.
        changed[first] = {"nan": np.nan, "infinity": np.inf, "huge": np.finfo(array.dtype).max}[fault]
    elif fault.startswith("label"):
        if (
            not labels
            or (fault == "label_below" and array.dtype.kind == "u")
            or (fault == "label_fraction" and not floating)
        ):
            return data, "none"
        changed[first] = {"label_above": trial.outputs, "label_below": -1, "label_fraction": 0.5}[fault]
    elif fault == "one_hot":
        if not labels or trial.outputs == 1:
            return data, "none"
        changed = np.eye(trial.outputs, dtype=array.dtype)[array.astype(int)]
    elif fault in ("example_missing", "no_example"):
        if fault == "example_missing" and array.shape[1] == 1:
            return data, "none"
        changed = array[:, :-1] if fault == "example_missing" else array[:, :0]
    elif fault in ("task_missing", "no_task"):
        if trial.use == "adapt" or (fault == "task_missing" and trial.tasks == 1):
            return data, "none"
        changed = array[:-1] if fault == "task_missing" else array[:0]
    elif fault in ("wider_input", "wider_target"):
        if array.ndim < 3 or name.endswith("_x") != (fault == "wider_input"):
            return data, "none"
        changed = np.concatenate([array, array], axis=2)
    elif fault == "axis_more":
        if labels:
            return data, "none"  # Labels [examples, 1] are labels.
        changed = array[..., np.newaxis]
    elif fault == "axis_less":
        if array.shape[1:] == (1, 1):
            return data, "none"  # One number for one example either way.
        changed = array[:, 0]
    elif fault == "complex":
        changed = array * 1j
    elif fault == "text":
        changed = array.astype(str)
    return {**data, name: changed}, fault


def seen(trial: Trial) -> bool:
    """Whether the use sees the array that is at fault."""
    if trial.use == "adapt":
        return trial.place.startswith("support")
    return trial.use != "predict" or trial.place != "query_y"


def network(trial: Trial) -> keras.Model:
    keras.utils.set_random_seed(trial.seed)
    return maml_tf.models.mlp(
        (trial.width,), trial.hidden, trial.outputs, activation="tanh", dtype=trial.policy,
    )  # fmt: skip


def uses(learner: maml_tf.MAML, data: dict[str, Any], trial: Trial) -> Any:
    sx, sy, qx, qy = (data[name] for name in ("support_x", "support_y", "query_x", "query_y"))
    if trial.use == "adapt":
        return learner.adapt(sx[0], sy[0]).get_weights()
    if trial.use == "predict":
        return learner.predict_on_batch((sx, sy, qx))
    if trial.use == "meta_gradients":
        value, gradients = learner.meta_gradients(((sx, sy, qx), qy))
        return [np.asarray(value), *map(np.asarray, gradients)]
    if trial.use == "evaluate":
        return maml_tf.evaluate(learner, [((sx, sy, qx), qy)], jit_compile=trial.jit_compile).values["loss"]
    if trial.use == "train_on_batch":
        loss = learner.train_on_batch((sx, sy, qx), qy)
        return [np.asarray(loss), *learner.model.get_weights()]
    return learner.test_on_batch((sx, sy, qx), qy)


def expected(weights: twin.Weights, data: dict[str, Any], trial: Trial) -> Any:
    """Computes what a use of a good episode returns, in the form of `uses`."""
    weights = [np.asarray(value, np.float64) for value in weights]
    setting = trial.kind, weights
    rate, steps = trial.rate, trial.steps

    def as_floats(name):
        value = data[name].astype(trial.policy).astype(np.float64)
        return value.astype(int) if name.endswith("_y") and trial.kind == "cross_entropy" else value

    columns = [as_floats(name) for name in ("support_x", "support_y", "query_x", "query_y")]
    tasks = [twin.Task(*arrays) for arrays in zip(*columns, strict=True)]
    if trial.use == "adapt":
        return twin.adapted(*setting, tasks[0], rate, steps)
    if trial.use == "predict":
        return np.stack([twin.forward(twin.adapted(*setting, task, rate, steps), task.query_x)[0] for task in tasks])
    if trial.use == "evaluate":
        rows = range(steps + 1)
        return np.array([[twin.query_loss(*setting, task, rate, row) for task in tasks] for row in rows])
    value = twin.mean_loss(*setting, tasks, rate, steps)
    if trial.use == "test_on_batch":
        return value
    slopes = twin.meta_gradient(*setting, tasks, rate, steps)
    if trial.use == "meta_gradients":
        return [value, *slopes]
    return [value, *(old - 0.1 * slope for old, slope in zip(weights, slopes, strict=True))]


def difference(found: Any, right: Any) -> float:
    """Returns the greatest difference, relative to the greatest number of an array or to 1."""
    pairs = zip(found, right, strict=True) if isinstance(right, list) else [(found, right)]
    largest = 0.0
    for one, other in pairs:
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        finite = np.isfinite(other)
        if one.shape != other.shape or not np.array_equal(np.isfinite(one), finite):
            return float("inf")
        scale = max(1.0, float(np.max(np.abs(other[finite]), initial=0.0)))
        largest = max(largest, float(np.max(np.abs(one - other)[finite], initial=0.0)) / scale)
    return largest


def attempt(counts: Counts, trial: Trial) -> None:
    whole = good_episode(trial)
    data, fault = with_fault(trial, whole)
    good = fault == "none" or not seen(trial)
    model = network(trial)
    loss = "mse" if trial.kind == "mse" else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner = maml_tf.MAML(model, loss, trial.rate, trial.steps)
    learner.compile(keras.optimizers.SGD(0.1), jit_compile=trial.jit_compile)
    weights = model.get_weights()
    name = repr(trial._replace(fault=fault))
    found, error = received(lambda: uses(learner, data, trial))
    if error is not None:
        if good:
            counts.add("refused", name, error)
        elif not all(map(np.array_equal, weights, model.get_weights())):
            counts.add("silent", name, f"the weights changed, then {error}")
        else:
            counts.error(name, error)
    elif good or fault in ("nan", "infinity", "huge", "axis_more"):
        # Keras drops a last axis of length 1.
        right = expected(weights, whole if fault == "axis_more" or good else data, trial)
        far = difference(found, right)
        counts.add("right" if far <= TOLERANCE else "silent", name, f"differs by {far}: {found} instead of {right}")
    else:
        counts.add("silent", name, found)


def run(options: Any) -> Counts:
    counts = Counts("fuzz")
    end = time.monotonic() + 60 * options.minutes

    @hypothesis.seed(options.seed)
    @hypothesis.settings(
        max_examples=100_000,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(trials())
    def every(trial):
        if time.monotonic() > end:
            raise KeyboardInterrupt
        with np.errstate(all="ignore"):
            attempt(counts, trial)

    try:
        every()
    except KeyboardInterrupt:
        if time.monotonic() < end:
            raise
    return counts
