"""Implicit MAML: inner problems that stay near theta, and the meta-gradient at their minimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.algorithms.algorithm import (
    Algorithm,
    Learned,
    MetaParameters,
    Outcome,
    Task,
    require_no_learned_rule,
)
from maml_tf.algorithms.registry import algorithms
from maml_tf.checks import number, whole_number
from maml_tf.core.functional import total
from maml_tf.core.hessian import conjugate_gradient, derivatives, flatten, flattened
from maml_tf.core.over_tasks import task_gradient
from maml_tf.core.task_functions import TaskFunctions


@keras.saving.register_keras_serializable(package="maml_tf")
class ImplicitMAML(Algorithm):
    """Implicit MAML: the inner steps minimize `L(phi) + lambda / 2 |phi - theta|^2` with the loss L of the support set.

    At a minimum phi the meta-gradient is `v = (I + H / lambda)^-1 grad L_query(phi)`, where H is the Hessian of L at
    phi. It depends only on phi and not on the steps, so more steps need no more memory. Conjugate gradient finds v by
    products with H. The gradient of a parameter psi that does not adapt is
    `dL_query / dpsi - 1 / lambda d(grad L . v) / dpsi`.

    The gradient is exact if the inner steps reach the minimum and conjugate gradient converges; the paper bounds its
    error by their errors (Theorem 1). Use many small inner steps, and any update rule without meta-learned variables.
    Lambda must be larger than the steepest negative curvature of L.

    Args:
        proximal_weight: Lambda. A large value keeps a task near theta; the meta-gradient is then nearly first order.
        conjugate_gradient_steps: Number of iterations of conjugate gradient.

    Raises:
        ValueError: If a number is out of range; for a learner, if its update rule has variables or the parameters that
            adapt have different dtypes.

    Source: Rajeswaran, Finn, Kakade and Levine, Meta-Learning with Implicit Gradients, 2019, Equations 3 and 6,
    Algorithms 1 and 2. The paper uses lambda 2 and 5 iterations on Omniglot, lambda 0.5 on mini-ImageNet.

    Example:
    >>> import maml_tf
    >>> from maml_tf.algorithms import ImplicitMAML
    >>> from maml_tf.models import mlp
    >>> learner = maml_tf.MetaLearner(mlp(), "mse", ImplicitMAML(proximal_weight=1.0), 0.05, inner_steps=20)
    """

    def __init__(self, proximal_weight: float = 2.0, conjugate_gradient_steps: int = 5):
        self.proximal_weight = number("proximal_weight", proximal_weight, positive=True)
        self.conjugate_gradient_steps = whole_number("conjugate_gradient_steps", conjugate_gradient_steps, minimum=1)

    def check(self, functions: TaskFunctions) -> None:
        require_no_learned_rule(functions, "at the inner minimum nothing depends on the steps")
        dtypes = {value.dtype.name for value in functions.adapted(functions.parameters()).values()}
        if len(dtypes) > 1:
            raise ValueError(f"Expected all parameters that adapt to have one data type. Received: {sorted(dtypes)}")

    def objective(self, functions: TaskFunctions, theta: MetaParameters, support: Any) -> Callable[..., Any]:
        """Returns the inner objective: the support loss plus the weighted squared distance to theta."""
        support_loss, start = functions.objective(theta.model), functions.adapted(theta.model)

        def objective(params, batch, step, state):
            loss, state = support_loss(params, batch, step, state)
            distance = total([(params[name] - start[name]) ** 2 for name in params])
            return loss + tf.cast(self.proximal_weight / 2 * distance, loss.dtype), state

        return objective

    def gradient(
        self, functions: TaskFunctions, theta: MetaParameters, task: Task, steps: int, iteration: tf.Tensor
    ) -> tuple[tf.Tensor, MetaParameters, Outcome]:
        adapted = self.adapt(functions, theta, task.number, task.support, steps)
        at = {"adapted": adapted.params, "others": {k: v for k, v in theta.model.items() if k not in adapted.params}}

        def query_loss(at, task):
            learned = Learned(at["adapted"], adapted.state)
            whole = theta._replace(model={**theta.model, **at["others"]})
            query_x, query_y = task.query
            query = functions.loss_of(self.predict(functions, whole, learned, query_x, training=True), query_y)
            return query.loss, self.outcome(adapted, query)

        def support_loss(at):
            objective = functions.objective({**theta.model, **at["others"]})
            return objective(at["adapted"], task.support, steps, adapted.state)[0]

        loss, direct, outcome = task_gradient(query_loss, at, task)
        _, _, product = derivatives(support_loss, at)
        target, unflatten = flattened(direct["adapted"])
        still = tf.nest.map_structure(tf.zeros_like, at["others"])

        def products(vector):
            """Multiplies the Hessian's columns for the parameters that adapt by a vector, and divides by lambda."""
            found = product({"adapted": unflatten(vector), "others": still})
            return tf.nest.map_structure(lambda leaf: tf.convert_to_tensor(leaf) / self.proximal_weight, found)

        rounding = np.finfo(target.dtype.as_numpy_dtype).eps
        solution, _ = conjugate_gradient(
            lambda vector: vector + flatten(products(vector)["adapted"]),
            target,
            self.conjugate_gradient_steps,
            tolerance=rounding**2 * tf.reduce_sum(target**2),
            ends_early=False,
        )
        through = products(solution)["others"]
        others = {name: direct["others"][name] - through[name] for name in through}
        model = {**others, **unflatten(solution)}
        return loss, MetaParameters({name: model[name] for name in theta.model}, []), outcome

    def get_config(self) -> dict[str, Any]:
        return {
            "proximal_weight": self.proximal_weight,
            "conjugate_gradient_steps": self.conjugate_gradient_steps,
        }


algorithms.register("implicit_maml", ImplicitMAML())
