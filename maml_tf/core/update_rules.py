"""Inner update rules: small, differentiable, composable; learned rules own Keras variables."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from maml_tf.checks import number, whole_number
from maml_tf.core.adaptation import Params
from maml_tf.core.functional import total

_GRANULARITIES = ("weight", "layer", "layer_and_step")
_register = keras.saving.register_keras_serializable(package="maml_tf")


class UpdateRule(keras.layers.Layer):
    """Base class: maps gradients to updates, and subtracts the updates from the parameters.

    A subclass defines `updates(gradients, params, step)`, a pure function of tensors. A rule that carries state from
    step to step, such as a velocity, defines `initial_state(params)` and `stateful_updates(gradients, params, step,
    state)` instead. A rule is a Keras layer: it is saved, loaded and tracked with the model that holds it, and its
    variables are meta-learned.
    """

    def __call__(self, params: Params, gradients: Params, step: int | tf.Tensor = 0, state: Any = None) -> Any:
        """Takes a step: `params - updates`.

        Args:
            params: Nest of float tensors.
            gradients: Nest of the same structure.
            step: Number of the inner step, from 0.
            state: The state that the previous step returned, `initial_state(params)` for the first step; None for a
                single step.

        Returns:
            The new parameters, a nest of the same structure; with `state`, the new parameters and the new state.
        """
        before = self.initial_state(params) if state is None else state
        updates, after = self.stateful_updates(gradients, params, step, before)
        params = tf.nest.map_structure(lambda value, update: value - update, params, updates)
        return params if state is None else (params, after)

    def initial_state(self, params: Params) -> Any:
        """Returns the state before the first step, a nest of tensors; `()` for a rule without state."""
        return ()

    def stateful_updates(self, gradients: Params, params: Params, step: int | tf.Tensor, state: Any) -> Any:
        """Maps gradients to the updates to subtract from the parameters, and the state to that of the next step."""
        return self.updates(gradients, params, step), state

    def updates(self, gradients: Params, params: Params, step: int | tf.Tensor) -> Params:
        """Maps gradients to the updates to subtract from the parameters.

        Args:
            gradients: Nest of float tensors.
            params: Nest of the same structure.
            step: Number of the inner step, from 0.

        Returns:
            A nest of the same structure.

        Raises:
            TypeError: If a subclass does not define it.
        """
        raise TypeError(f"Expected {type(self).__name__} to define updates(gradients, params, step). Received: none")

    def build(self, params: Params) -> None:
        """Creates the rule's variables, if it has any, for parameters of these shapes.

        Args:
            params: Nest of the tensors or variables to adapt, keyed by their paths.
        """
        self.built = True

    def get_build_config(self) -> None:
        return None  # The rule's owner builds it again; Keras would save the parameters' values.


@_register
class SGD(UpdateRule):
    """Gradient descent: `theta - alpha * gradient`, Equation 1 (Section 2.2).

    Args:
        learning_rate: The step size alpha, or one for each inner step; later steps use the last one.

    Raises:
        ValueError: If a step size is negative or the sequence is empty.

    Example:
    >>> from maml_tf import SGD
    >>> [float(value) for value in SGD([0.5, 0.25])([1.0], [1.0], step=1)]
    [0.75]
    """

    def __init__(self, learning_rate: float | Sequence[float] = 0.01, **kwargs):
        super().__init__(**kwargs)
        rates = learning_rate if isinstance(learning_rate, (list, tuple)) else [learning_rate]
        if not rates:
            raise ValueError(f"Expected at least one step size. Received: learning_rate={learning_rate!r}")
        self.learning_rates = tuple(number("learning_rate", rate, minimum=0) for rate in rates)

    def updates(self, gradients, params, step):
        return tf.nest.map_structure(
            lambda gradient: at_step(self.learning_rates, step, gradient) * gradient, gradients
        )

    def get_config(self):
        return {**super().get_config(), "learning_rate": list(self.learning_rates)}


@_register
class ClipByValue(UpdateRule):
    """Clips every element of the gradients to `[-limit, limit]`.

    Args:
        limit: Positive bound.

    Raises:
        ValueError: If the bound is not positive.
    """

    def __init__(self, limit: float, **kwargs):
        super().__init__(**kwargs)
        self.limit = number("limit", limit, positive=True)

    def updates(self, gradients, params, step):
        return tf.nest.map_structure(lambda gradient: tf.clip_by_value(gradient, -self.limit, self.limit), gradients)

    def get_config(self):
        return {**super().get_config(), "limit": self.limit}


@_register
class ClipByGlobalNorm(UpdateRule):
    """Scales the gradients together so that their joint Euclidean norm is at most `norm`.

    Args:
        norm: Positive bound.

    Raises:
        ValueError: If the bound is not positive.
    """

    def __init__(self, norm: float, **kwargs):
        super().__init__(**kwargs)
        self.norm = number("norm", norm, positive=True)

    def updates(self, gradients, params, step):
        square = total([gradient**2 for gradient in tf.nest.flatten(gradients)])
        # The square root is not differentiable at 0, so it is taken of the bounded square only.
        scale = self.norm / tf.sqrt(tf.maximum(square, self.norm**2))
        return tf.nest.map_structure(lambda gradient: tf.cast(scale, gradient.dtype) * gradient, gradients)

    def get_config(self):
        return {**super().get_config(), "norm": self.norm}


@_register
class Chain(UpdateRule):
    """Composes rules: each one maps the updates of the previous one.

    Args:
        rules: `UpdateRule`s, first to last, such as `[ClipByValue(10.0), SGD(0.01)]`.

    Raises:
        ValueError: If there is no rule or one is not an `UpdateRule`.

    Example:
    >>> from maml_tf import SGD, Chain, ClipByValue
    >>> [float(value) for value in Chain([ClipByValue(1.0), SGD(0.5)])([0.0], [8.0])]
    [-0.5]
    """

    def __init__(self, rules: Sequence[UpdateRule], **kwargs):
        super().__init__(**kwargs)
        if not rules or not all(isinstance(rule, UpdateRule) for rule in rules):
            raise ValueError(f"Expected at least one update rule. Received: {rules!r}")
        self.rules = list(rules)

    def build(self, params):
        for rule in self.rules:
            rule.build(params)
        self.built = True

    def initial_state(self, params):
        return [rule.initial_state(params) for rule in self.rules]

    def stateful_updates(self, gradients, params, step, state):
        after = []
        for rule, of_rule in zip(self.rules, state, strict=True):
            gradients, of_rule = rule.stateful_updates(gradients, params, step, of_rule)
            after.append(of_rule)
        return gradients, after

    def get_config(self):
        rules = [keras.saving.serialize_keras_object(rule) for rule in self.rules]
        return {**super().get_config(), "rules": rules}

    @classmethod
    def from_config(cls, config):
        rules = [keras.saving.deserialize_keras_object(rule) for rule in config["rules"]]
        return cls(**{**config, "rules": rules})


@_register
class Momentum(UpdateRule):
    """Replaces gradients by their velocity, `v_{k+1} = decay * v_k + gradient`, from `v_0 = 0`.

    Put it before the rule that scales: `Chain([Momentum(0.9), SGD(0.01)])`.

    Args:
        decay: Fraction of the velocity that is kept at each step, from 0 to 1.

    Raises:
        ValueError: If `decay` is out of range.

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.

    Example:
    >>> import maml_tf
    >>> rule = maml_tf.Chain([maml_tf.Momentum(0.5), maml_tf.SGD(1.0)])
    >>> params, state = rule([8.0], [2.0], 0, rule.initial_state([8.0]))
    >>> params, state = rule(params, [2.0], 1, state)
    >>> [float(value) for value in params]  # 8 - 2 - (1 + 2)
    [3.0]
    """

    def __init__(self, decay: float = 0.9, **kwargs):
        super().__init__(**kwargs)
        self.decay = number("decay", decay, minimum=0, maximum=1)

    def initial_state(self, params):
        return tf.nest.map_structure(tf.zeros_like, params)

    def stateful_updates(self, gradients, params, step, state):
        velocity = tf.nest.map_structure(lambda old, gradient: self.decay * old + gradient, state, gradients)
        return velocity, velocity

    def get_config(self):
        return {**super().get_config(), "decay": self.decay}


@_register
class Adam(UpdateRule):
    """Replaces gradients by `m / sqrt(v + epsilon**2)`, with their bias-corrected moving mean m and mean square v.

    Put it before the rule that scales: `Chain([Adam(), SGD(0.001)])`. Epsilon is inside the square root, which has no
    derivative at 0: otherwise a gradient of 0 would make the meta-gradient NaN.

    Args:
        beta_1: Decay of the moving mean, from 0 to less than 1.
        beta_2: Decay of the moving mean square, from 0 to less than 1.
        epsilon: Positive lower bound of the square root.

    Raises:
        ValueError: If a number is out of range.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, Algorithm 1.

    Example:
    >>> import maml_tf
    >>> [round(float(value), 4) for value in maml_tf.Chain([maml_tf.Adam(), maml_tf.SGD(0.5)])([1.0], [1e-3])]
    [0.5]
    """

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, **kwargs):
        super().__init__(**kwargs)
        self.beta_1, self.beta_2 = _decay("beta_1", beta_1), _decay("beta_2", beta_2)
        self.epsilon = number("epsilon", epsilon, positive=True)

    def initial_state(self, params):
        return [tf.nest.map_structure(tf.zeros_like, params) for _ in range(2)]

    def stateful_updates(self, gradients, params, step, state):
        means, squares = (
            tf.nest.map_structure(lambda old, new, beta=beta: beta * old + (1 - beta) * new, moving, values)
            for beta, moving, values in (
                (self.beta_1, state[0], gradients),
                (self.beta_2, state[1], tf.nest.map_structure(tf.square, gradients)),
            )
        )

        def update(mean, square):
            number_of_steps = tf.cast(step, mean.dtype) + 1
            mean /= 1 - self.beta_1**number_of_steps
            square /= 1 - self.beta_2**number_of_steps
            return mean / tf.sqrt(square + self.epsilon**2)

        return tf.nest.map_structure(update, means, squares), [means, squares]

    def get_config(self):
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


class LearnedRule(UpdateRule):
    """Base class of rules with meta-learned variables, made for each adapted parameter.

    A subclass defines `variables_of(path, value)`, which names a parameter's variables, and reads them by `value_of`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._learned: dict[str, keras.Variable] = {}

    def variables_of(self, path: str, value: Any) -> dict[str, tuple[tuple[int, ...], Callable[..., tf.Tensor]]]:
        """Maps the name of each of a parameter's variables to its shape and `(shape, dtype) -> initial value`."""
        raise TypeError(f"Expected {type(self).__name__} to define variables_of(path, value). Received: none")

    def value_of(self, name: str) -> tf.Tensor:
        """Reads a variable.

        Raises:
            ValueError: If the rule is not built.
        """
        if not self.built:
            raise ValueError(f"Expected build(params) to have been called. Received: an unbuilt {type(self).__name__}")
        return tf.convert_to_tensor(self._learned[name])

    def build(self, params):
        if not isinstance(params, dict):
            raise ValueError(f"Expected a dictionary from variable path to value. Received: {type(params).__name__}")
        needed = {
            name: (shape, first, keras.backend.standardize_dtype(value.dtype))
            for path, value in params.items()
            for name, (shape, first) in self.variables_of(path, value).items()
        }
        made = {name: tuple(variable.shape) for name, variable in self._learned.items()}
        if self.built and any(made.get(name) != shape for name, (shape, *_) in needed.items()):
            raise ValueError(
                f"Expected a separate {type(self).__name__} for each model. "
                f"Received: {self.name!r}, built for {list(made)}, and a model with {list(needed)}"
            )
        for name, (shape, first, dtype) in needed.items():
            if name not in self._learned:
                self._learned[name] = self.add_weight(
                    shape=shape, initializer=first, dtype=dtype, name=name.replace("/", ".")
                )
        self.built = True


@_register
class LearnedStepSizes(LearnedRule):
    """Gradient descent with meta-learned step sizes: `theta - alpha_j * gradient`, alpha_j trained with theta.

    Args:
        initial: Initial step size.
        granularity: "weight", one step size for every scalar weight (Meta-SGD); "layer", one for every layer;
            "layer_and_step", one for every layer and inner step.
        steps: With "layer_and_step", the number of inner steps that have their own step sizes; later steps use those
            of the last one.

    Raises:
        ValueError: If the granularity is unknown, a number is out of range, or the rule is built for a second model.

    Source: Section 2.2 ("the step size alpha may be fixed as a hyperparameter or meta-learned"); per weight: Li et
    al., Meta-SGD, 2017; per layer and step: Antoniou et al., How to train your MAML, 2019.

    Example:
    >>> from maml_tf import LearnedStepSizes
    >>> rule = LearnedStepSizes(0.5, granularity="layer")
    >>> rule.build({"dense/kernel": keras.ops.ones((2, 3)), "dense/bias": keras.ops.ones((3,))})
    >>> [variable.path for variable in rule.trainable_variables]
    ['learned_step_sizes/dense']
    """

    def __init__(self, initial: float = 0.01, granularity: str = "weight", steps: int = 1, **kwargs):
        super().__init__(**kwargs)
        if granularity not in _GRANULARITIES:
            raise ValueError(f"Expected granularity to be one of {_GRANULARITIES}. Received: {granularity!r}")
        self.initial, self.granularity = number("initial", initial, minimum=0), granularity
        self.steps = whole_number("steps", steps, minimum=1)

    def variables_of(self, path, value):
        # Keras' Constant initializer rounds to float32.
        first = lambda shape, dtype: tf.fill(shape, tf.constant(self.initial, dtype))  # noqa: E731
        return {self._key(path): (self._shape(value), first)}

    def updates(self, gradients, params, step):
        return {path: self._step_size(path, step, gradient) * gradient for path, gradient in gradients.items()}

    def get_config(self):
        own = {"initial": self.initial, "granularity": self.granularity, "steps": self.steps}
        return {**super().get_config(), **own}

    def _key(self, path: str) -> str:
        return path if self.granularity == "weight" else path.rpartition("/")[0]

    def _shape(self, value: Any) -> tuple[int, ...]:
        return {"weight": tuple(value.shape), "layer": (), "layer_and_step": (self.steps,)}[self.granularity]

    def _step_size(self, path: str, step: int | tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        size = self.value_of(self._key(path))
        return at_step(size, step, gradient) if self.granularity == "layer_and_step" else size


@_register
class MetaCurvature(LearnedRule):
    """Multiplies gradients by meta-learned matrices, one for each kind of dimension of a layer's kernel.

    The gradient G [d, inputs, outputs] of a kernel, where d counts the positions of a filter and is 1 for dense layers,
    becomes `G x_3 M_f x_2 M_i x_1 M_o`, mode products with M_o [outputs, outputs], M_i [inputs, inputs] and M_f [d, d].
    The gradient of a vector, such as a bias, is multiplied by a vector. All start as the identity, and every inner step
    uses the same ones. Put the rule before the one that scales: `Chain([MetaCurvature(), SGD(0.01)])`. A dimension of
    size n adds n * n meta-learned numbers.

    Raises:
        ValueError: If the rule is built for a second model.

    Source: Park and Oliva, Meta-Curvature, 2019, Section 3.2.

    Example:
    >>> import maml_tf
    >>> from maml_tf.models import conv_net
    >>> rule = maml_tf.Chain([maml_tf.MetaCurvature(), maml_tf.SGD(0.4)])
    >>> learner = maml_tf.MAML(conv_net((8, 8, 1), filters=4, blocks=2), "mse", rule)
    >>> [tuple(variable.shape) for variable in rule.trainable_variables][:3]  # Of conv1's outputs, inputs and 3 x 3.
    [(4, 4), (1, 1), (9, 9)]
    """

    def variables_of(self, path, value):
        shape = tuple(value.shape)
        if len(shape) < 2:
            return {f"{path}/scale": (shape, tf.ones)}
        modes = {"outputs": shape[-1], "inputs": shape[-2]}
        if len(shape) > 2:
            modes["filter"] = math.prod(shape[:-2])
        return {f"{path}/{kind}": ((size, size), _identity) for kind, size in modes.items()}

    def updates(self, gradients, params, step):
        return {path: self._curved(path, gradient) for path, gradient in gradients.items()}

    def _curved(self, path: str, gradient: tf.Tensor) -> tf.Tensor:
        shape = gradient.shape
        if shape.rank < 2:
            return self.value_of(f"{path}/scale") * gradient
        curved = tf.reshape(gradient, [-1, *shape[-2:]])
        kinds = ("filter", "inputs", "outputs") if shape.rank > 2 else ("inputs", "outputs")
        for axis, kind in zip(range(3 - len(kinds), 3), kinds, strict=True):
            curved = _mode_product(curved, self.value_of(f"{path}/{kind}"), axis)
        return tf.reshape(curved, shape)


def _mode_product(tensor: tf.Tensor, matrix: tf.Tensor, axis: int) -> tf.Tensor:
    """Multiplies the vectors along an axis of [a, b, c] by a matrix, as one product of matrices.

    In TensorFlow 2.21, oneDNN's float32 kernels compute wrong products of batches with one transposed matrix, merged
    over tasks.
    """
    order = [*(other for other in range(3) if other != axis), axis]
    moved = tf.transpose(tensor, order)
    product = tf.matmul(tf.reshape(moved, [-1, matrix.shape[0]]), matrix, transpose_b=True)
    return tf.transpose(tf.reshape(product, moved.shape), [order.index(place) for place in range(3)])


def _identity(shape: Sequence[int], dtype: Any) -> tf.Tensor:
    return tf.eye(*shape, dtype=dtype)


def at_step(values: Sequence[float] | tf.Tensor, step: int | tf.Tensor, like: tf.Tensor) -> Any:
    """Picks the value of an inner step; later steps use the last value.

    Args:
        values: Numbers, or a tensor [steps].
        step: Number of the inner step, from 0.
        like: Tensor whose dtype numbers get if `step` is a tensor.

    Returns:
        A number or a scalar tensor.
    """
    last = (values.shape[0] if tf.is_tensor(values) else len(values)) - 1
    if last == 0 or isinstance(step, int):
        return values[0 if last == 0 else min(step, last)]
    # Python numbers are converted directly to the gradient's dtype: float32 in between would lose digits of float64.
    at_each_step = values if tf.is_tensor(values) else tf.constant(values, like.dtype)
    return tf.gather(at_each_step, tf.minimum(step, last))


def as_update_rule(rule: float | Sequence[float] | UpdateRule) -> UpdateRule:
    """Converts an inner learning rate given by a user to an update rule.

    Args:
        rule: A step size, a sequence with one for each step, or an update rule.

    Raises:
        TypeError: If `rule` is something else.
    """
    if isinstance(rule, UpdateRule):
        return rule
    if _is_number(rule) or (isinstance(rule, (list, tuple)) and all(_is_number(rate) for rate in rule)):
        return SGD(rule)
    raise TypeError(
        "Expected inner_learning_rate to be a number, a sequence of numbers (one for each step) or a maml_tf rule "
        "(SGD, LearnedStepSizes, MetaCurvature, ClipByValue, ClipByGlobalNorm, Momentum, Adam, Chain). "
        f"Received: {rule!r}"
    )


def _decay(name: str, value: float) -> float:
    if number(name, value, minimum=0, maximum=1) == 1:
        raise ValueError(f"Expected {name} to be less than 1. Received: {value}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
