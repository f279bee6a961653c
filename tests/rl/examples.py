"""Small random experience, float64 policies and a fake environment that the tests of maml_tf.rl share."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.models import mlp
from maml_tf.rl.adaptation import TaskExperience
from maml_tf.rl.hessian_products import loss_and_gradient
from maml_tf.rl.objectives import Experience, ratio
from maml_tf.rl.policy import GaussianPolicy, PurePolicy
from maml_tf.rl.rollouts import Rollouts


def rollouts(seed=0, tasks=2, rows=3, time=5, size=2, actions=2, ends=True) -> Rollouts:
    """Random rollouts; with `ends`, of different lengths and with numbers at padding that must not matter."""
    random = np.random.default_rng(seed)
    shape = (tasks, rows, time)
    lengths = random.integers(1, time + 1, (tasks, rows, 1)) if ends else np.full((tasks, rows, 1), time)
    steps = np.broadcast_to(np.arange(time), shape)
    return Rollouts(
        random.normal(size=(*shape, size)).astype(np.float32),
        random.normal(size=(*shape, actions)).astype(np.float32),
        random.normal(size=shape).astype(np.float32),
        (steps < lengths).astype(np.float32),
        steps.astype(np.int32),
        random.normal(size=(*shape, actions)).astype(np.float32),
        random.normal(size=(tasks, actions)).astype(np.float32) / 3,
    )


def policy(seed=0, size=2, actions=2, hidden=(6,), activation="tanh", dtype="float64") -> PurePolicy:
    """A small policy, smooth and in float64 for finite differences."""
    keras.utils.set_random_seed(seed)
    network = mlp((size,), hidden, actions, activation=activation, dtype=dtype, name="network")
    return PurePolicy(GaussianPolicy(network, initial_log_std=-0.2, name="policy"))


def batch(pure, params, seed=0, steps=8, shift=0.0, padding=0, rollout=3) -> Experience:
    """Experience of one task, `rollout` steps each, sampled by the policy with these parameters, moved by `shift`."""
    random = np.random.default_rng(seed)
    dtype = next(iter(params.values())).dtype
    observations = tf.constant(random.normal(size=(steps, pure.policy.network.input_shape[-1])), dtype)
    gaussian = pure(params, observations)
    noise = tf.constant(random.normal(size=gaussian.mean.shape), dtype)
    weights = np.where(np.arange(steps) < steps - padding, 1.0 / (steps - padding), 0.0)
    return Experience(
        observations,
        gaussian.mean + shift + tf.exp(gaussian.log_std) * noise,
        tf.constant(random.normal(size=steps), dtype),
        tf.constant(weights, dtype),
        gaussian.mean + shift,
        gaussian.log_std + shift,
        tf.constant(np.arange(steps) % rollout, dtype),
    )


def tasks(adaptation, params, count=2, inner_steps=1, steps=8) -> TaskExperience:
    """Experience of several tasks, each phase sampled by the policy adapted so far; leading [tasks] axis."""
    rows = []
    for number in range(count):
        inner = []
        for step in range(inner_steps + 1):
            adapted = adaptation.adapt(params, inner)
            inner.append(batch(adaptation.policy, adapted, seed=100 * number + step, steps=steps))
        rows.append(TaskExperience(tuple(inner[:-1]), inner[-1]))
    return tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *rows)


def at_parameters(adaptation, params, blocks) -> TaskExperience:
    """The same experience, as if the policy with these parameters, adapting, had sampled its inner steps."""
    rows = []
    for number in range(blocks.outer.weights.shape[0]):
        row, inner = task(blocks, number), []
        for step, given in enumerate(row.inner):
            gaussian = adaptation.policy(adaptation.adapt(params, row.inner[:step]), given.observations)
            inner.append(given._replace(mean=gaussian.mean, log_std=gaussian.log_std))
        rows.append(row._replace(inner=tuple(inner)))
    return tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *rows)


def products_of_ratios(gaussian, batch) -> tf.Tensor:
    """What dice is at the sampling parameters: ratios to the sampling policy, multiplied over a rollout, in a loop."""
    rho = ratio(gaussian, batch)
    total, one = 0.0, tf.ones_like(rho[0])
    so_far = one
    for step in range(rho.shape[0]):
        so_far = tf.where(batch.elapsed[step] == 0, one, so_far)
        before, so_far = so_far, so_far * rho[step]
        total -= batch.weights[step] * batch.advantages[step] * (so_far - before + 1.0)
    return total


def task(blocks, number) -> TaskExperience:
    """One of several tasks."""
    return tf.nest.map_structure(lambda leaf: leaf[number], blocks)


def error_of_gradient(problem, params, task, differentiated=None) -> float:
    """Relative error of the gradient of a problem's loss, or of another's, along a direction by central differences."""
    random = np.random.default_rng(2)
    direction = {name: random.normal(size=value.shape) for name, value in params.items()}
    _, gradient, _ = loss_and_gradient(differentiated or problem, params, task)

    def at(step):
        moved = {name: value + step * direction[name] for name, value in params.items()}
        return float(problem.loss(problem.outputs(moved, task), task))

    differences = (at(1e-5) - at(-1e-5)) / 2e-5
    return abs(sum(np.sum(gradient[name] * direction[name]) for name in params) - differences) / abs(differences)


def positive_definite(size, seed=0) -> np.ndarray:
    """A random symmetric positive definite matrix."""
    factor = np.random.default_rng(seed).normal(size=(size, size))
    return factor @ factor.T + np.eye(size)
