"""A learner as a SavedModel, which adapts to tasks with TensorFlow alone, without maml_tf and Keras."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

import maml_tf
from maml_tf.checks import choice
from maml_tf.core.faults import raise_in_graph
from maml_tf.export.learner_graphs import LearnerGraphs, graphs_of
from maml_tf.export.task_graphs import Adapted, TaskGraphs
from maml_tf.files import writable_directory, write_atomically
from maml_tf.learner import MetaLearner

if TYPE_CHECKING:
    from maml_tf.rl.adaptation import PolicyAdaptation

SIGNATURES = (
    "adapt_and_predict", "adapt", "predict", "fit_task", "infer", "reset", "get_weights", "set_weights",
)  # fmt: skip
# A SavedModel keeps files that it does not read in this folder.
DESCRIPTION = "assets.extra/maml_tf.json"


def save(
    learner: MetaLearner | PolicyAdaptation,
    path: str | os.PathLike[str],
    *,
    specs: Any = None,
    signatures: Sequence[str] = SIGNATURES,
) -> pathlib.Path:
    """Saves a learner as a SavedModel that adapts and predicts with TensorFlow alone.

    `tf.saved_model.load(path)` has the signatures as functions of these names, and in `.signatures`; TensorFlow Serving
    serves them. The first one has no state and takes a task axis. The others work on one task, whose weights are one
    vector [weights] of the parameters that adapt and of moving statistics.

    | signature | inputs | outputs |
    |---|---|---|
    | `adapt_and_predict` | support_x, support_y, query_x, each [tasks, examples, ...] | outputs after `inner_steps` |
    | `adapt` | support_x, support_y [examples, ...], steps (int32 scalar) | weights, losses [steps] |
    | `predict` | weights, x [examples, ...] | outputs |
    | `fit_task` | as `adapt` | losses [steps]; the model keeps the weights |
    | `infer` | x [examples, ...] | outputs with the kept weights |
    | `reset` | | done; the kept weights are the meta-learned ones again, as after loading the model |
    | `get_weights` | | weights |
    | `set_weights` | weights | done |

    A policy (`maml_tf.rl.adaptation.PolicyAdaptation`) has no `adapt_and_predict`. It takes one step on rollouts of the
    policy before the step: `adapt` takes weights, observations, actions, advantages and the number of the step, from 0.
    `fit_task` takes the same without the weights, and starts from the kept ones. Outputs are mean and log_std.

    With several inputs or outputs, names contain their position or key: `support_x_0`, `outputs_left`.

    Wrong labels, numbers of examples that do not match, arrays of other shapes, and losses or weights that are not
    finite stop a call with `tf.errors.InvalidArgumentError` (TypeError from the functions by name); the kept weights do
    not change. As in `learner.predict`, outputs are NaN if the example contains NaN or, in `adapt_and_predict` and
    `predict`, the task's weights are not finite.

    Random numbers of training, such as dropout's, are the same in each adaptation, as in `learner.adapt`. The saved
    functions cannot be differentiated, and TensorFlow warns about it when it loads the model.

    Args:
        learner: A learner, or a policy and how it adapts. It does not change.
        path: Folder to write. `assets.extra/maml_tf.json` in it names the parts of the weights.
        specs: `(support_x, support_y, query_x)` of one task, nests of `tf.TensorSpec` [examples, ...]; by default
            `learner.data_specs()`. Numbers of examples always stay free.
        signatures: Names of the signatures to save.

    Returns:
        The folder.

    Raises:
        TypeError: If `learner` is not a learner or a policy's adaptation.
        ValueError: If a signature is unknown, `path` cannot be written, or the specs are wrong or not known.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import maml_tf
    >>> import tensorflow as tf
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    >>> learner = maml_tf.MAML(model, loss="mse", inner_learning_rate=0.01)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     served = tf.saved_model.load(maml_tf.export.save(learner, folder))
    >>> x = tf.constant([[0.0], [1.0], [2.0]])
    >>> adapted = served.adapt(x, tf.sin(x), tf.constant(10))
    >>> adapted["weights"].shape, adapted["losses"].shape
    (TensorShape([25]), TensorShape([10]))
    >>> served.predict(adapted["weights"], x)["outputs"].shape
    TensorShape([3, 1])
    """
    for name in signatures:
        choice("signature", name, SIGNATURES)
    graphs = graphs_of(learner, specs)
    directory = writable_directory(path)
    module = tf.Module()
    functions = {name: function for name, function in _functions(graphs, module).items() if name in signatures}
    for name, function in functions.items():
        setattr(module, name, function)
    # Tracing the gradients of the exported functions would double the time.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(directory), signatures=functions, options=options)
    (directory / DESCRIPTION).parent.mkdir(exist_ok=True)
    write_atomically(directory / DESCRIPTION, json.dumps(describe(graphs, learner), indent=1) + "\n")
    return directory


def describe(graphs: TaskGraphs, learner: MetaLearner | PolicyAdaptation) -> dict[str, Any]:
    """Describes the export: its arguments, the parts of the weights in order, the number of steps."""
    of_task = {**graphs.support, **graphs.query}
    return {
        "maml_tf": maml_tf.__version__,
        "inner_steps": getattr(learner, "inner_steps", 1),
        "inputs": {name: {"shape": spec.shape.as_list(), "dtype": spec.dtype.name} for name, spec in of_task.items()},
        "weights": [{"name": part.name, "shape": list(part.shape), "dtype": part.dtype.name} for part in graphs.parts],
    }


def _functions(graphs: TaskGraphs, module: tf.Module) -> dict[str, Callable[..., Any]]:
    """Makes the functions of `save` by name, and gives the module the variables that they use."""
    vector = tf.TensorSpec([graphs.size], graphs.dtype, name="weights")
    number = tf.TensorSpec([], tf.int32, name=graphs.number)
    support = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in graphs.support.items()]
    query = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in graphs.query.items()]
    module.meta_learned = graphs.variables()
    # One variable, assigned in one operation: predictions in other threads see either the old or the new weights.
    kept = module.kept = tf.Variable(graphs.flat(graphs.initial()), trainable=False, name="weights")

    def function(*specs):
        def decorate(python):
            def checked(*arguments):
                # TensorFlow does not compare the shapes of a signature's arguments with those it was traced with.
                return python(
                    *(tf.ensure_shape(value, spec.shape) for value, spec in zip(arguments, specs, strict=True))
                )

            return tf.function(checked, input_signature=specs, autograph=False)

        return decorate

    def adapted(weights, arguments):
        *examples, steps = arguments
        wrong = [f"Expected {graphs.number} of at least 0. Received:", steps]
        with tf.control_dependencies([tf.debugging.Assert(steps >= 0, wrong)]):
            steps = tf.identity(steps)
        return _sound(graphs.adapt(weights, dict(zip(graphs.support, examples, strict=True)), steps), graphs.flat)

    def predicted(weights, arguments):
        return graphs.predict(weights, dict(zip(graphs.query, arguments, strict=True)))

    starting = [vector] if graphs.continues else []

    @function(*starting, *support, number)
    def adapt(*arguments):
        weights, arguments = (graphs.unflat(arguments[0]), arguments[1:]) if starting else (graphs.initial(), arguments)
        weights, losses = adapted(weights, arguments)
        return {"weights": weights, "losses": losses}

    @function(vector, *query)
    def predict(weights, *arguments):
        return predicted(graphs.unflat(weights), arguments)

    @function(*support, number)
    def fit_task(*arguments):
        weights, losses = adapted(graphs.unflat(kept.read_value()) if starting else graphs.initial(), arguments)
        kept.assign(weights)
        return {"losses": losses}

    @function(*query)
    def infer(*arguments):
        return predicted(graphs.unflat(kept.read_value()), arguments)

    @function()
    def reset():
        kept.assign(graphs.flat(graphs.initial()))
        return {"done": tf.constant(True)}

    @function()
    def get_weights():
        return {"weights": kept.read_value()}

    @function(vector)
    def set_weights(weights):
        finite = tf.reduce_all(tf.math.is_finite(weights))
        with tf.control_dependencies([tf.debugging.Assert(finite, ["Expected finite weights. Received: NaN or inf"])]):
            kept.assign(weights)
        return {"done": tf.constant(True)}

    functions = {
        "adapt": adapt, "predict": predict, "fit_task": fit_task, "infer": infer, "reset": reset,
        "get_weights": get_weights, "set_weights": set_weights,
    }  # fmt: skip
    if isinstance(graphs, LearnerGraphs):
        functions = {"adapt_and_predict": function(*graphs.of_tasks())(graphs.adapt_and_predict), **functions}
    return functions


def _sound(result: Adapted, flat: Callable[[Sequence[tf.Tensor]], tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the flat weights and the losses, after the examples and the finiteness of all numbers were checked."""
    weights = flat(result.weights)
    finite = tf.reduce_all(tf.math.is_finite(result.losses)) & tf.reduce_all(tf.math.is_finite(weights))
    wrong = ["Expected finite losses and weights; a smaller step size may help. Received: losses", result.losses]
    with tf.control_dependencies(raise_in_graph(result.fault)):
        # After the check of faults, whose message says more.
        checked = tf.debugging.Assert(tf.identity(finite), wrong)
    with tf.control_dependencies([checked]):
        return tf.identity(weights), tf.identity(result.losses)
