"""A learner as a .tflite file, which adapts on devices where LiteRT's interpreter runs, without TensorFlow."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from maml_tf.checks import choice, whole_number
from maml_tf.export.builtin_operations import Unsupported, rewrite
from maml_tf.export.learner_graphs import LearnerGraphs, graphs_of
from maml_tf.export.task_graphs import TaskGraphs
from maml_tf.files import writable_directory, write_atomically
from maml_tf.learner import MetaLearner

if TYPE_CHECKING:
    from maml_tf.rl.adaptation import PolicyAdaptation

# The interpreter cannot return arrays whose length a loop decides.
MOST_STEPS = 100
# Data types of the weights in the file. In the check of the written file, results after one step may differ from the
# learner's by this fraction; for float32 it is far above rounding errors.
WEIGHTS = {"float32": 1e-2, "float16": 5e-2, "int8": 0.5}

Specs = Mapping[str, tf.TensorSpec]


def save_litert(
    learner: MetaLearner | PolicyAdaptation,
    path: str | os.PathLike[str],
    *,
    support_examples: int,
    query_examples: int | None = None,
    weights: str = "float32",
    specs: Any = None,
) -> pathlib.Path:
    """Saves a learner as a file for LiteRT's interpreter (TensorFlow Lite's), with built-in operations only.

    The file adapts on a device: the interpreter of the package `ai-edge-litert` needs neither TensorFlow nor maml_tf,
    and no delegate or custom operation. The signatures work on one task, whose weights the interpreter keeps. The
    weights are one vector [weights] float32 of the parameters that adapt and of moving statistics.

    | signature | inputs | outputs |
    |---|---|---|
    | `adapt` | support_x, support_y [support examples, ...], steps (int32 scalar, at most 100) | done, losses [steps] |
    | `infer` | x [examples, ...] | outputs with the kept weights |
    | `reset` | | done; the kept weights are the meta-learned ones again, as after loading the file |
    | `get_weights` | | weights |
    | `set_weights` | weights | done |

    A policy's `adapt` takes observations, actions, advantages and step instead, and starts from the kept weights, as in
    `save`; its `infer` returns mean and log_std.

    The interpreter cannot raise errors of the model. Instead `done` is False, and the kept weights do not change, if
    labels or the number of steps are out of range, or losses or weights are not finite. Losses are NaN from the fault
    on, and for steps that were not taken. An array with a wrong number of values is an error of the interpreter. If
    only its shape is wrong, `done` is False and outputs are NaN. As in `learner.predict`, the outputs of an example
    with NaN are NaN.

    Everything is computed in float32, and sums are computed in another order than TensorFlow's. Before the file is
    written, its results are compared with the learner's, after one step on random examples.

    Args:
        learner: A learner, or a policy and how it adapts. It does not change.
        path: File to write, such as "model.tflite".
        support_examples: Number of examples in a support set, ways times shots, which is fixed in the file.
        query_examples: Number of examples in a prediction; None allows any number.
        weights: Data type of the weights in the file. "float32"; "float16", half as large, with computations in
            float32; "int8" for weights that do not adapt, with a scale for each channel. Products with int8 weights,
            also those in the steps, are computed in int8 and are less exact; weights that adapt stay float32.
        specs: See `save`.

    Returns:
        The path.

    Raises:
        TypeError: If `learner` is not a learner or a policy's adaptation.
        ValueError: If a layer needs what the interpreter does not have, such as random numbers (dropout) or loops
            (recurrent layers), the file's results differ from the learner's, `weights` is "int8" but all weights adapt,
            a number is out of range, or the path cannot be written.

    Example:
    >>> import pathlib, tempfile
    >>> import keras
    >>> import maml_tf
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    >>> learner = maml_tf.MAML(model, loss="mse", inner_learning_rate=0.01)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = maml_tf.export.save_litert(learner, pathlib.Path(folder, "sinusoid.tflite"), support_examples=5)
    ...     path.read_bytes()[4:8]
    b'TFL3'
    """
    support_examples = whole_number("support_examples", support_examples, minimum=1)
    if query_examples is not None:
        query_examples = whole_number("query_examples", query_examples, minimum=1)
    choice("weights", weights, WEIGHTS)
    graphs = graphs_of(learner, specs)
    if weights == "int8" and not graphs.frozen():
        raise ValueError(
            "Expected weights that do not adapt, because only those become int8; use float16 for all weights. "
            f"Received: weights={weights!r} and a learner all of whose weights adapt"
        )
    path = pathlib.Path(path).expanduser()
    writable_directory(path.parent)
    support, query = _sized(graphs.support, support_examples), _sized(graphs.query, query_examples)
    try:
        content = _converted(graphs, support, query, weights)
    except Unsupported as error:
        raise ValueError(
            "Expected operations that are built into LiteRT's interpreter. "
            f"Received: {error} in {_place(error.operation.name, graphs.layers())}"
        ) from error
    _check(content, graphs, support, _sized(graphs.query, query_examples or support_examples), WEIGHTS[weights])
    return write_atomically(path, content)


def _converted(graphs: TaskGraphs, support: Specs, query: Specs, weights: str) -> bytes:
    traced: list[Any] = []
    module = tf.Module()
    with _functions_inline():
        functions = _functions(graphs, module, support, query, traced)
        for name, function in functions.items():
            setattr(module, name, function)
        with tempfile.TemporaryDirectory() as folder, _silence():
            tf.saved_model.save(module, folder, signatures=functions)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))
            converter.experimental_enable_resource_variables = True
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if weights != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if weights == "float16":
                converter.target_spec.supported_types = [tf.float16]
            try:
                return converter.convert()
            except Exception as error:  # The error's class is not part of TensorFlow's public interface.
                raise _unsupported(error, traced) from error


def _unsupported(error: Exception, traced: Sequence[Any]) -> Exception:
    """Finds the operation that the converter reports as not built in."""
    lacking = re.findall(r"(?:TF Select|Custom) ops: ([\w, ]+)", str(error))
    types = [name.strip() for names in lacking for name in names.split(",")]
    for function in traced:
        for operation in function.graph.get_operations():
            if operation.type in types:
                return Unsupported(operation, "which is not built in")
    return error


def _place(operation: str, layers: Iterable[str]) -> str:
    """Names the layer of an operation, by the operation's name."""
    layers = set(layers)
    for part in reversed(operation.split("/")):
        # A layer that is called again has a number after its name.
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return f"the layer {name!r}"
    return f"{operation!r}, of the loss, the update rule or the algorithm"


def _functions(
    graphs: TaskGraphs, module: tf.Module, support: Specs, query: Specs, traced: list[Any]
) -> dict[str, Callable[..., Any]]:
    """Makes the functions of `save_litert` by name; the traced functions that they use are added to `traced`."""
    initial = graphs.flat(graphs.initial()).numpy().astype(np.float32)
    kept = module.kept = tf.Variable(initial, trainable=False, name="weights")
    vector = tf.TensorSpec(initial.shape, tf.float32, "weights")
    adapted = _adaptation(graphs, support, traced)
    prediction = _trace(
        lambda weights, *x: graphs.predict(graphs.unflat(weights), dict(zip(query, x, strict=True))),
        [tf.TensorSpec(initial.shape, graphs.dtype), *query.values()],
        traced,
    )

    def function(*specs):
        return lambda python: tf.function(python, input_signature=specs, autograph=False)

    def keep(weights, sound):
        kept.assign(tf.where(sound, weights, kept.read_value()))
        return sound

    @function(*_of_any_shape(support), tf.TensorSpec([], tf.int32, graphs.number))
    def adapt(*arguments):
        *examples, number = arguments
        examples, _ = _fitted(examples, support)
        weights, losses = adapted(kept.read_value(), examples, number)
        taken = losses
        if not graphs.continues:  # For a policy, the number is that of the one step to take.
            taken = tf.where(tf.range(MOST_STEPS) < number, losses, tf.zeros_like(losses))
            # The interpreter does not support empty arrays.
            losses = losses[: tf.maximum(number, 1)]
        sound = _is_finite(weights) & _is_finite(taken) & (number >= 0) & (number <= MOST_STEPS)
        return {"done": keep(weights, sound), "losses": losses}

    @function(*_of_any_shape(query))
    def infer(*x):
        x, fits = _fitted(x, query)
        outputs = tf.nest.pack_sequence_as(
            prediction.structured_outputs, rewrite(prediction, [kept.read_value(), *x])
        )  # fmt: skip
        return {name: tf.where(fits, value, _wrong(value.dtype)) for name, value in outputs.items()}

    @function()
    def reset():
        return {"done": keep(tf.constant(initial), tf.constant(True))}

    @function()
    def get_weights():
        return {"weights": kept.read_value()}

    @function(vector)
    def set_weights(weights):
        return {"done": keep(weights, _is_finite(weights))}

    return {"adapt": adapt, "infer": infer, "reset": reset, "get_weights": get_weights, "set_weights": set_weights}


def _adaptation(graphs: TaskGraphs, support: Specs, traced: list[Any]) -> Callable[..., Any]:
    """Makes a function of the kept weights, the examples and the number.

    It returns the weights and the losses: [1] for a policy, else [MOST_STEPS], NaN for steps that were not taken.
    """
    vector, number = tf.TensorSpec([graphs.size], graphs.dtype), tf.TensorSpec([], tf.int32)

    def named(examples):
        return dict(zip(support, examples, strict=True))

    if not isinstance(graphs, LearnerGraphs):

        def whole(weights, number, *examples):
            adapted = graphs.adapt(graphs.unflat(weights), named(examples), number)
            return graphs.flat(adapted.weights), adapted.losses

        once = _trace(whole, [vector, number, *support.values()], traced)
        return lambda weights, examples, number: rewrite(once, [weights, number, *examples])

    size, given = len(support), list(support.values())
    begin = _trace(lambda *examples: graphs.begin(named(examples)), given, traced)
    carried = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in begin.outputs]
    step = _trace(
        lambda number, *rest: graphs.step(rest[size:], named(rest[:size]), number), [number, *given, *carried], traced
    )
    finish = _trace(
        lambda *rest: graphs.flat(graphs.finish(rest[size:], named(rest[:size]))), [*given, *carried], traced
    )

    def adapted(weights, examples, number):
        places = tf.range(MOST_STEPS)

        def body(index, losses, *carried):
            *carried, loss = rewrite(step, [index, *examples, *carried])
            return index + 1, tf.where(tf.equal(places, index), loss, losses), *carried

        losses = tf.fill([MOST_STEPS], tf.constant(float("nan")))
        _, losses, *carried = tf.while_loop(
            lambda index, *_: index < tf.minimum(number, MOST_STEPS),
            body,
            [tf.constant(0), losses, *rewrite(begin, examples)],
        )
        [weights] = rewrite(finish, [*examples, *carried])
        return weights, losses

    return adapted


def _trace(python: Callable[..., Any], specs: Iterable[tf.TensorSpec], traced: list[Any]) -> Any:
    traced.append(tf.function(python, autograph=False).get_concrete_function(*specs))
    return traced[-1]


@contextlib.contextmanager
def _functions_inline() -> Iterator[None]:
    """Traces functions that a traced function calls, such as those compiled by XLA, into the caller's graph."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps the converter's log from stderr; its error says what matters."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _sized(specs: Specs, examples: int | None) -> Specs:
    return {name: tf.TensorSpec([examples, *spec.shape[1:]], spec.dtype) for name, spec in specs.items()}


def _of_any_shape(specs: Specs) -> list[tf.TensorSpec]:
    # For a static size the converter does not check that arrays have it.
    return [
        tf.TensorSpec([None] * spec.shape.rank, tf.float32 if spec.dtype == tf.float64 else spec.dtype, name)
        for name, spec in specs.items()
    ]


def _fitted(values: Sequence[tf.Tensor], specs: Specs) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Gives values the expected shapes; a value of another shape becomes invalid, see `_wrong`.

    The interpreter accepts arrays of any shape, and computes with the content of their memory.

    Returns:
        The values, and whether all have the expected shapes.
    """
    fitted, all_fit = [], tf.constant(True)
    for value, spec in zip(values, specs.values(), strict=True):
        shape, first = [-1 if size is None else size for size in spec.shape], int(spec.shape[0] is None)
        fits = tf.reduce_all(tf.equal(tf.shape(value)[first:], shape[first:]))
        fitted.append(tf.where(fits, tf.reshape(value, shape), _wrong(value.dtype)))
        all_fit &= fits
    return fitted, all_fit


def _wrong(dtype: tf.DType) -> tf.Tensor:
    return tf.constant(float("nan") if dtype.is_floating else -1, dtype)


def _is_finite(values: tf.Tensor) -> tf.Tensor:
    # Every comparison with NaN is false.
    return tf.reduce_all(tf.abs(values) <= values.dtype.max)


def _check(content: bytes, graphs: TaskGraphs, support: Specs, query: Specs, tolerance: float) -> None:
    """Raises if the file's step or prediction differs from that of the graphs."""
    with warnings.catch_warnings():
        # TensorFlow's warning recommends the interpreter of ai-edge-litert, which need not be installed here.
        warnings.simplefilter("ignore")
        with _silence():
            interpreter = tf.lite.Interpreter(model_content=content)
            adapt, infer, get_weights = map(interpreter.get_signature_runner, ("adapt", "infer", "get_weights"))
            examples, x = _random(support, graphs), _random(query, graphs)
            number = np.int32(0 if graphs.continues else 1)
            done = adapt(**_singles(examples), **{graphs.number: number})["done"]
            found = {**infer(**_singles(x)), **get_weights()}
    tensors = {name: tf.constant(value) for name, value in examples.items()}
    adapted = graphs.adapt(graphs.initial(), tensors, tf.constant(number))
    expected = {**graphs.predict(adapted.weights, {name: tf.constant(value) for name, value in x.items()})}
    expected["weights"] = graphs.flat(adapted.weights)
    for name, value in expected.items():
        difference, scale = float(np.max(np.abs(found[name] - value))), float(np.max(np.abs(value)))
        # A step that diverges in both shows nothing.
        if np.isfinite(scale) and not (done and difference <= tolerance * max(scale, 1.0)):
            raise ValueError(
                "Expected a file whose results equal the learner's. Received: after one step on random examples, "
                f"{name} that differ by {difference:.1e} at a magnitude of {scale:.1e}"
            )


def _random(specs: Specs, graphs: TaskGraphs) -> dict[str, np.ndarray]:
    """Draws examples; labels and other integers are 0 and 1."""
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=spec.shape).astype(spec.dtype.as_numpy_dtype)
        if spec.dtype.is_floating
        else (np.arange(np.prod(spec.shape)) % 2).reshape(spec.shape).astype(spec.dtype.as_numpy_dtype)
        for name, spec in specs.items()
    }


def _singles(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in values.items()
    }  # fmt: skip
