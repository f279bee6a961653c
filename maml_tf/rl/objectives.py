"""Policy-gradient objectives: pure functions of a distribution and the experience of one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf.checks import number
from maml_tf.rl.policy import Gaussian, kl_divergence, log_probability
from maml_tf.rl.rollouts import Rollouts


class Experience(NamedTuple):
    """The steps that an objective needs, of one task, or of several with a leading [tasks] axis.

    Attributes:
        observations: [steps, observation].
        actions: [steps, action].
        advantages: [steps].
        weights: Weight of each step, [steps]: 0 for padding, with a sum of 1, so that the mean of values over the
            task's steps is the sum of weights times values.
        mean: The sampling policy's means, [steps, action].
        log_std: The sampling policy's log standard deviation, [action].
        elapsed: Steps since the step's rollout began, [steps]; the steps of a rollout follow each other. `()` if the
            order of the steps is not known, which only `dice` needs.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    advantages: tf.Tensor
    weights: tf.Tensor
    mean: tf.Tensor
    log_std: tf.Tensor
    elapsed: tf.Tensor | tuple[()] = ()


# Lengths are rounded up to eighths of the longest, so that few shapes are compiled.
_LENGTHS = 8

# (distributions of the actions, experience) -> scalar loss.
PolicyObjective = Callable[[Gaussian, Experience], tf.Tensor]


def experience(rollouts: Rollouts, advantages: np.ndarray, blocks: int = 1) -> Experience:
    """Converts rollouts to the experience that objectives take, with the steps of a task along one axis.

    Padding comes last, and is cut to the length of the longest task, rounded up.

    Args:
        rollouts: The rollouts.
        advantages: [tasks, rollouts, time].
        blocks: Number of parts to split each task's rollouts into, a divisor of their number. With the weights, the
            mean over the parts is the mean over the task's steps.

    Returns:
        Float32 experience with a leading axis [tasks * blocks].

    Raises:
        ValueError: If a task has no valid step, the advantages have another shape, or `blocks` does not divide the
            rollouts.
    """
    if np.shape(advantages) != rollouts.valid.shape:
        raise ValueError(f"Expected advantages of shape {rollouts.valid.shape}. Received: {np.shape(advantages)}")
    tasks, rows = rollouts.valid.shape[:2]
    count = rollouts.valid.sum((1, 2), dtype=np.float64)
    if not np.all(count > 0):
        raise ValueError(f"Expected valid steps in every task. Received: none in {np.flatnonzero(count == 0)}")
    weights = rollouts.valid / count[:, np.newaxis, np.newaxis]
    if rows % blocks:
        raise ValueError(f"Expected blocks to divide the {rows} rollouts of a task. Received: blocks={blocks}")

    kept = _kept_steps(rollouts.valid.reshape(tasks * blocks, -1) > 0)

    def flat(values: np.ndarray) -> np.ndarray:
        rows = values.reshape(tasks * blocks, -1, *values.shape[3:])
        return np.ascontiguousarray(
            rows if kept is None else rows[np.arange(len(rows))[:, np.newaxis], kept], np.float32
        )

    return Experience(
        flat(rollouts.observations),
        flat(rollouts.actions),
        flat(advantages),
        flat(weights * blocks),
        flat(rollouts.mean),
        np.repeat(np.asarray(rollouts.log_std, np.float32), blocks, axis=0),
        flat(rollouts.elapsed),
    )


def reinforce(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes the policy-gradient loss, the scalar `-mean(log pi(a | s) A)` (Equation 4; gradient by Williams, 1992).

    Its gradient at the sampling parameters is unbiased. Its second derivative is biased, as in the paper's code.
    """
    return -tf.reduce_sum(log_probability(gaussian, batch.actions) * batch.advantages * batch.weights)


def likelihood_ratio(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes the surrogate loss, the scalar `-mean(pi(a | s) / pi_sampling(a | s) A)`.

    It is the outer loss of TRPO. As an inner loss, it has the gradient of `reinforce` at the sampling parameters, and
    the second derivative of `low_variance_curvature`.

    Source: Schulman et al., Trust region policy optimization, 2015, Equation 14; as an inner loss Rothfuss et al.,
    ProMP: Proximal meta-policy search, 2019 (J^LR).
    """
    return -tf.reduce_sum(ratio(gaussian, batch) * batch.advantages * batch.weights)


def low_variance_curvature(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes an inner loss, the scalar `-mean(pi(a | s) / stop(pi(a | s)) A)`, stop() a constant to derivatives.

    Its gradient is that of `reinforce`, at all parameters. Its second derivative holds the products of the scores of
    the same time step, which `reinforce` lacks, and not those of different time steps, which only `dice` has. So it
    is biased if rollouts are longer than one step, with less variance than `dice`.

    Source: Rothfuss et al., ProMP: Proximal meta-policy search, 2019 (J^LVC).
    """
    return -tf.reduce_sum(tf.exp(_change(gaussian, batch)) * batch.advantages * batch.weights)


def dice(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes an inner loss all of whose derivatives are unbiased, where the advantages are.

    The scalar `-mean((box(a_0 .. a_t) - box(a_0 .. a_{t-1}) + 1) A_t)`, box() the product over a rollout's actions of
    `pi(a | s) / stop(pi(a | s))`, stop() a constant to derivatives. With the sums of later rewards as the advantages
    its derivatives are those of `-sum_t box(a_0 .. a_t) r_t`; a baseline of the state leaves them unbiased.

    Raises:
        ValueError: If the experience does not say where rollouts begin.

    Source: Foerster et al., DiCE: The infinitely differentiable Monte Carlo estimator, 2018; with advantages
    Farquhar et al., Loaded DiCE, 2019.
    """
    if isinstance(batch.elapsed, tuple):
        raise ValueError(
            "Expected experience whose rollouts are whole, with elapsed, for the inner objective dice. Received: "
            "elapsed=(); use another inner objective, or every time step (curvature_stride=1)"
        )
    change = _change(gaussian, batch)
    before = tf.cumsum(change, exclusive=True)
    # At padding a rollout may seem to begin before the first step.
    began = tf.maximum(tf.range(tf.size(change)) - tf.cast(batch.elapsed, tf.int32), 0)
    earlier = before - tf.gather(before, began)
    boxes = tf.exp(earlier + change) - tf.exp(earlier) + 1.0
    return -tf.reduce_sum(boxes * batch.advantages * batch.weights)


class ClippedSurrogate:
    """The loss of proximal policy optimisation, `-mean(min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A))`.

    Args:
        epsilon: The distance from 1 up to which a ratio rho can lower the loss.

    Raises:
        ValueError: If epsilon is not positive.

    Source: Schulman et al., Proximal policy optimization algorithms, 2017, Equation 7.
    """

    def __init__(self, epsilon: float = 0.2):
        self.epsilon = number("epsilon", epsilon, positive=True)

    def __call__(self, gaussian: Gaussian, batch: Experience) -> tf.Tensor:
        """Computes the loss, a scalar."""
        rho = ratio(gaussian, batch)
        clipped = tf.clip_by_value(rho, 1.0 - self.epsilon, 1.0 + self.epsilon)
        return -tf.reduce_sum(tf.minimum(rho * batch.advantages, clipped * batch.advantages) * batch.weights)


def ratio(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes the likelihood ratio of the actions, `pi(a | s) / pi_sampling(a | s)`, [steps]."""
    difference = log_probability(gaussian, batch.actions) - log_probability(sampling(batch), batch.actions)
    # The states of padding are arbitrary: an overflow there would make the loss 0 * inf.
    return tf.exp(tf.where(batch.weights > 0, difference, tf.zeros_like(difference)))


def _change(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes `log pi(a | s)` minus itself as a constant, [steps]: zeros with derivatives, none at padding."""
    log_pi = log_probability(gaussian, batch.actions)
    return tf.where(batch.weights > 0, log_pi - tf.stop_gradient(log_pi), tf.zeros_like(log_pi))


def mean_divergence(gaussian: Gaussian, batch: Experience) -> tf.Tensor:
    """Computes the scalar `mean KL(pi_sampling(. | s) || pi(. | s))`, which the trust region bounds."""
    return tf.reduce_sum(kl_divergence(sampling(batch), gaussian) * batch.weights)


def sampling(batch: Experience) -> Gaussian:
    """Returns the distributions that the actions were drawn from: mean [steps, action], log std [action]."""
    return Gaussian(batch.mean, batch.log_std)


def _kept_steps(valid: np.ndarray) -> np.ndarray | None:
    """Returns indices of the steps, bool [blocks, steps], to keep, valid ones first; None keeps all unchanged."""
    steps = valid.shape[1]
    share = -(-steps // _LENGTHS)
    length = share * -(-int(valid.sum(axis=1).max()) // share)
    if length >= steps:
        return None
    return np.argsort(~valid, axis=1, kind="stable")[:, :length]
