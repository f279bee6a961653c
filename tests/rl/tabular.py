"""A decision problem whose rollouts can all be listed, and its exact meta-gradients beside those of maml_tf.rl.

Two states, two actions; an action is the next state, and a rollout has `horizon` steps. The policy is a softmax of one
logit for each state and action. Returns are mean rewards of a step, so that losses that average over time steps are
minus their expectations.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import NamedTuple
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from tests.support import with_rl  # noqa: F401

# isort: split
import maml_tf
from maml_tf.rl import e_maml, objectives
from maml_tf.rl.adaptation import PolicyAdaptation, TaskExperience
from maml_tf.rl.e_maml import SamplingCorrection
from maml_tf.rl.hessian_products import loss_and_gradient
from maml_tf.rl.objectives import Experience
from maml_tf.rl.policy import GaussianPolicy, PurePolicy

_REWARDS = np.array([[0.2, -1.0], [1.5, 0.6]])
_LOGITS = np.array([[0.3, -0.4], [-0.2, 0.5]])


class Rollouts(NamedTuple):
    """All rollouts: states and actions [rollouts, time], the sums of later rewards [rollouts, time]."""

    states: np.ndarray
    actions: np.ndarray
    later: np.ndarray


class Decisions:
    """The problem, with inner steps of one size.

    Args:
        horizon: Steps of a rollout.
        step_size: Inner step size.
        baseline: Subtracted from the sums of later rewards, one number for each state.
    """

    def __init__(self, horizon: int, step_size: float, baseline=(0.0, 0.0)):
        self.horizon, self.step_size = horizon, step_size
        actions = np.array(list(itertools.product((0, 1), repeat=horizon)))
        states = np.concatenate([np.zeros([len(actions), 1], int), actions[:, :-1]], axis=1)
        rewards = _REWARDS[states, actions]
        later = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
        self.returns = later[:, 0] / horizon
        self.rollouts = Rollouts(states, actions, later - np.array(baseline)[states])
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False, dtype="float64")])
        self.policy = PurePolicy(GaussianPolicy(network, name="policy"))
        [self.name] = [name for name in self.policy.parameters() if "kernel" in name]
        self.params = {**self.policy.parameters(), self.name: tf.constant(_LOGITS)}

    def adaptation(self, objective, first_order=False) -> PolicyAdaptation:
        """The library's adaptation of the logits."""
        return PolicyAdaptation(
            self.policy, self.step_size, objective=objective, adapted=maml_tf.matching("kernel"),
            first_order=first_order,
        )  # fmt: skip

    # Exact, written from the definitions.

    def probabilities(self, logits):
        """The probability of each rollout, [..., rollouts], with logits [..., 2, 2]."""
        log_pi = tf.reshape(tf.nn.log_softmax(logits), [*logits.shape[:-2], 4])
        taken = tf.gather(log_pi, 2 * self.rollouts.states + self.rollouts.actions, axis=-1)
        return tf.exp(tf.reduce_sum(taken, axis=-1))

    def value(self, logits):
        """The expected return, [...], with logits [..., 2, 2]."""
        return tf.reduce_sum(self.probabilities(logits) * self.returns, axis=-1)

    def after_exact_step(self, logits):
        """The expected return after one step of the exact gradient: what many rollouts of the inner step come to."""
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = self.value(logits)
        return self.value(logits + self.step_size * tape.gradient(value, logits))

    def after_sampled_step(self, logits, count):
        """The expected return after one step on `count` rollouts, over these too."""
        states, actions, later = self.rollouts
        pi = tf.nn.softmax(logits)
        scores = tf.one_hot(actions, 2, dtype=tf.float64) - tf.gather(pi, states)
        at_states = tf.one_hot(states, 2, dtype=tf.float64)
        gradients = tf.einsum("rts,rta,rt->rsa", at_states, scores, tf.constant(later)) / self.horizon
        batches = self.batches(count)
        steps = tf.reduce_mean(tf.gather(gradients, batches), axis=1)
        probabilities = tf.reduce_prod(tf.gather(self.probabilities(logits), batches), axis=1)
        return tf.reduce_sum(probabilities * self.value(logits + self.step_size * steps))

    def batches(self, count) -> np.ndarray:
        """Every choice of `count` rollouts, in order, [batches, count]."""
        return np.array(list(itertools.product(range(len(self.returns)), repeat=count)))

    def gradient(self, function) -> np.ndarray:
        """The gradient of a function of the logits at those of `params`."""
        logits = self.params[self.name]
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = tf.function(function, autograph=False)(logits)
        return tape.gradient(value, logits).numpy()

    # Experience as the library takes it.

    def experience(self, batches, weights, logits) -> Experience:
        """Experience of batches of rollouts, numbers [tasks, count], sampled with logits [tasks, 2, 2].

        Args:
            batches: Rollouts of each task.
            weights: Weight of each rollout, [tasks, count], with a sum of 1.
            logits: Of the sampling policy.
        """
        states, actions, later = (values[batches].reshape(len(batches), -1) for values in self.rollouts)
        observations = np.eye(2)[states]
        elapsed = np.tile(np.arange(self.horizon, dtype=float), (len(batches), np.shape(batches)[1]))
        values = (
            observations, np.eye(2)[actions], later, np.repeat(weights, self.horizon, axis=1) / self.horizon,
            np.einsum("nts,nsa->nta", observations, logits), np.zeros([len(batches), 2]), elapsed,
        )  # fmt: skip
        return Experience(*map(tf.constant, values))

    def in_the_limit(self, objective, first_order=False) -> np.ndarray:
        """The library's meta-gradient from infinitely many rollouts, which weigh what they are probable."""
        everything, logits = np.arange(len(self.returns))[np.newaxis], self.params[self.name]
        adapted = logits + self.step_size * self.gradient(self.value)
        inner, outer = (
            self.experience(everything, self.probabilities(at).numpy()[np.newaxis], at.numpy()[np.newaxis])
            for at in (logits, adapted)
        )
        problem = self.adaptation(objective, first_order).problem()
        return self._meta_gradients(problem, TaskExperience((inner,), outer))[0]

    def of_samples(self, objective, count, correction=None) -> tuple[np.ndarray, np.ndarray]:
        """The library's meta-gradients from `count` inner rollouts and one after the step.

        Args:
            objective: The inner objective.
            count: Rollouts of the inner step.
            correction: Weight of E-MAML's sampling correction; None leaves it out.

        Returns:
            The meta-gradient of every case, [cases, 2, 2], and its probability, [cases].
        """
        each = len(self.returns)
        batches = self.batches(count)
        logits, adaptation = self.params[self.name].numpy(), self.adaptation(objective)
        probabilities = np.prod(self.probabilities(logits).numpy()[batches], axis=1)
        inner = self.experience(
            batches, np.full(batches.shape, 1 / count), np.broadcast_to(logits, (len(batches), 2, 2))
        )
        with softmax_policies():
            adapted = _over_tasks(lambda batch: adaptation.adapt(self.params, [batch])[self.name], inner)
        outer_probabilities = self.probabilities(adapted).numpy()
        outer = self.experience(
            np.tile(np.arange(each), len(batches))[:, np.newaxis], np.ones([each * len(batches), 1]),
            np.repeat(adapted, each, axis=0),
        )  # fmt: skip
        blocks = TaskExperience(
            (tf.nest.map_structure(lambda leaf: tf.repeat(leaf, each, axis=0), inner),), outer,
            tf.constant(np.tile(self.returns, len(batches))),
        )  # fmt: skip
        of_path = None if correction is None else SamplingCorrection(correction)
        gradients = self._meta_gradients(adaptation.problem(of_path=of_path), blocks)
        return gradients, (probabilities[:, np.newaxis] * outer_probabilities).reshape(-1)

    def _meta_gradients(self, problem, blocks: TaskExperience) -> np.ndarray:
        """Minus the gradient of the outer loss in the logits, of each task."""
        with softmax_policies():
            return -_over_tasks(lambda task: loss_and_gradient(problem, self.params, task)[1][self.name], blocks)


def _over_tasks(function, tasks) -> np.ndarray:
    return tf.function(lambda tasks: tf.vectorized_map(function, tasks), autograph=False)(tasks).numpy()


@contextlib.contextmanager
def softmax_policies():
    """The library's losses take `Gaussian.mean` as logits, and actions as vectors with a single 1."""

    def log_probability(gaussian, actions):
        return tf.reduce_sum(actions * tf.nn.log_softmax(gaussian.mean), axis=-1)

    with (
        mock.patch.object(objectives, "log_probability", log_probability),
        mock.patch.object(e_maml, "log_probability", log_probability),
    ):
        yield


def bias(mean: np.ndarray, exact: np.ndarray) -> float:
    """The length of the difference, as a share of the exact gradient's."""
    return float(np.linalg.norm(mean - exact) / np.linalg.norm(exact))


def moments(gradients: np.ndarray, probabilities: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """The bias and the standard deviation of an estimator, as shares of the exact gradient's length."""
    mean = np.einsum("n,nij->ij", probabilities, gradients)
    variance = np.sum(probabilities * np.sum((gradients - mean) ** 2, axis=(1, 2)))
    return bias(mean, exact), float(np.sqrt(variance) / np.linalg.norm(exact))
