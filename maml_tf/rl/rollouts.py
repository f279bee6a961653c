"""Rollouts of a policy, and the advantages of its actions, as arrays [tasks, rollouts, time, ...].

Everywhere in `maml_tf.rl`, arrays of experience have these axes: the task, the simulation of the task, the time step,
then the axes of one step. Rollouts end at different times, so `valid` is 1 for steps that count and 0 for padding.
Advantages (discounted returns, generalised advantage estimation, the linear baseline, standardisation) are computed for
each task separately, in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Rollouts(NamedTuple):
    """The rollouts of a meta-batch of tasks.

    Attributes:
        observations: Observations before each action, float32 [tasks, rollouts, time, observation].
        actions: Actions that the policy drew, not clipped, float32 [tasks, rollouts, time, action].
        rewards: Rewards after each action, float32 [tasks, rollouts, time].
        valid: 1 for steps that count, 0 for padding, float32 [tasks, rollouts, time].
        elapsed: Steps since the rollout began, int32 [tasks, rollouts, time]; 0 begins a rollout, so one row may
            hold several rollouts, one after another.
        mean: The sampling policy's mean of the action, float32 [tasks, rollouts, time, action].
        log_std: The sampling policy's log standard deviation, float32 [tasks, action].
        success: Whether the rollout has accomplished its task up to and with each step, bool [tasks, rollouts, time];
            None where the environment does not say.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    valid: np.ndarray
    elapsed: np.ndarray
    mean: np.ndarray
    log_std: np.ndarray
    success: np.ndarray | None = None

    @property
    def steps(self) -> int:
        """The number of time steps that count."""
        return int(self.valid.sum())


def continues(rollouts: Rollouts) -> np.ndarray:
    """Finds the steps after which the rollout goes on: bool [tasks, rollouts, time], False at the last time."""
    result = np.zeros(rollouts.valid.shape, bool)
    result[..., :-1] = (rollouts.valid[..., 1:] > 0) & (rollouts.elapsed[..., 1:] > 0)
    return result


def mean_returns(rollouts: Rollouts) -> np.ndarray:
    """Averages the undiscounted returns of each task's rollouts: float64 [tasks], NaN for a task without valid ones."""
    total = (rollouts.rewards * rollouts.valid).astype(np.float64).sum((1, 2))
    count = ((rollouts.elapsed == 0) * rollouts.valid).sum((1, 2))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def success_rates(rollouts: Rollouts) -> np.ndarray:
    """Computes the share of each task's rollouts that succeed in any step: float64 [tasks], NaN without valid ones.

    Args:
        rollouts: Rollouts of an environment that says what succeeds.
    """
    last = (rollouts.valid > 0) & ~continues(rollouts)
    count = last.sum((1, 2))
    total = (last & rollouts.success).sum((1, 2))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def pooled(rollouts: Rollouts) -> Rollouts:
    """Pools all tasks into one, for a policy that ignores tasks.

    Args:
        rollouts: The rollouts of one policy in all tasks.

    Returns:
        The same rollouts with axes [1, tasks * rollouts, time, ...].
    """
    merged = {
        name: leaf.reshape(1, -1, *leaf.shape[2:]) for name, leaf in rollouts._asdict().items() if leaf is not None
    }
    return Rollouts(**{**merged, "log_std": rollouts.log_std[:1]})


_LARGEST_OBSERVATION = 10.0
_TIME_SCALE = 100.0


class Advantages(NamedTuple):
    """Estimated advantages.

    Attributes:
        values: Advantages standardised in each task, 0 for padding, [tasks, rollouts, time].
        baseline_error: The baseline's mean squared error, as a fraction of the returns' variance, [tasks].
    """

    values: np.ndarray
    baseline_error: np.ndarray


def estimate_advantages(rollouts: Rollouts, discount: float = 0.99, gae_lambda: float = 1.0) -> Advantages:
    """Fits each task's baseline to its rollouts and estimates their standardised advantages.

    Args:
        rollouts: The rollouts.
        discount: Discount of later rewards.
        gae_lambda: Between 0 and 1; see `generalized_advantages`.
    """
    returns = discounted_sums(rollouts.rewards, continues(rollouts), discount)
    baseline = np.zeros_like(returns)
    # Features of one task at a time: those of all tasks would be the largest array of a meta-iteration.
    for task, counts in enumerate(rollouts.valid > 0):
        features = baseline_features(rollouts.observations[task][counts], rollouts.elapsed[task][counts])
        baseline[task][counts] = fit_baseline(features, returns[task][counts])
    advantages = generalized_advantages(rollouts, baseline, discount, gae_lambda)
    error, scale = (_moments(values, rollouts.valid)[1] for values in (returns - baseline, returns))
    return Advantages(standardized(advantages, rollouts.valid), error / np.maximum(scale, 1e-12))


def discounted_sums(values: np.ndarray, goes_on: np.ndarray, discount: float) -> np.ndarray:
    """Sums each rollout's values from every step to its end, `y_t = x_t + discount * y_{t+1}`.

    Args:
        values: [..., time].
        goes_on: Whether the rollout goes on after a step, bool [..., time].
        discount: Between 0 and 1.

    Returns:
        float64 [..., time].

    Example:
    >>> import numpy as np
    >>> from maml_tf.rl.rollouts import discounted_sums
    >>> discounted_sums(np.array([1.0, 1.0, 1.0, 8.0]), np.array([True, True, False, False]), 0.5)
    array([1.75, 1.5 , 1.  , 8.  ])
    """
    sums = np.array(values, np.float64)
    for time in reversed(range(sums.shape[-1] - 1)):
        sums[..., time] += np.where(goes_on[..., time], discount * sums[..., time + 1], 0.0)
    return sums


def generalized_advantages(
    rollouts: Rollouts, baseline: np.ndarray, discount: float = 0.99, gae_lambda: float = 1.0
) -> np.ndarray:
    """Estimates advantages, `A_t = sum_l (discount * lambda)^l delta_{t+l}` (Schulman et al., 2016, Equation 16).

    `delta_t = r_t + discount * V(s_{t+1}) - V(s_t)`, where V is 0 after a rollout's last step, whether it ended or
    reached the horizon: nothing is bootstrapped. With lambda 1 it is the discounted return minus the baseline.

    Args:
        rollouts: The rollouts.
        baseline: V, [tasks, rollouts, time].
        discount: Discount of later rewards.
        gae_lambda: Between 0 (little variance) and 1 (no bias).

    Returns:
        float64 [tasks, rollouts, time]; 0 for padding.
    """
    goes_on = continues(rollouts)
    following = np.zeros_like(baseline, np.float64)
    following[..., :-1] = np.where(goes_on[..., :-1], baseline[..., 1:], 0.0)
    deltas = rollouts.rewards + discount * following - baseline
    return discounted_sums(deltas, goes_on, discount * gae_lambda) * rollouts.valid


def baseline_features(observations: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
    """Computes the features of the linear baseline: `o, o^2, t/100, (t/100)^2, (t/100)^3, 1`, o clipped to +-10.

    Args:
        observations: o, [..., observation].
        elapsed: t, steps since the rollout began, [...].

    Returns:
        float64 [..., 2 * observation + 4].

    Source: Duan et al., Benchmarking deep reinforcement learning for continuous control, 2016.
    """
    clipped = np.clip(observations, -_LARGEST_OBSERVATION, _LARGEST_OBSERVATION).astype(np.float64)
    time = elapsed[..., np.newaxis] / _TIME_SCALE
    return np.concatenate([clipped, clipped**2, time, time**2, time**3, np.ones_like(time)], axis=-1)


def fit_baseline(features: np.ndarray, targets: np.ndarray, ridge: float = 1e-5) -> np.ndarray:
    """Fits a task's linear baseline to its steps and predicts with it, by ridge least squares.

    `(F'F + ridge I) w = F'y`; as long as there is no finite solution, ridge is multiplied by 10.

    Args:
        features: F, float64 [steps, features].
        targets: y, the discounted returns, float64 [steps].
        ridge: Weight of the penalty on the squares of w.

    Returns:
        `F w`, float64 [steps].

    Raises:
        ValueError: If features or targets are not finite.
    """
    # TensorFlow's linear algebra, because NumPy's has its own threads, and both would wait for each other.
    features = tf.constant(features)
    gram = tf.matmul(features, features, transpose_a=True).numpy()
    moments = tf.matmul(features, targets[:, np.newaxis], transpose_a=True).numpy()
    if not (np.all(np.isfinite(gram)) and np.all(np.isfinite(moments))):
        raise ValueError("Expected finite observations and returns. Received: NaN or infinity")
    return tf.matmul(features, _solve(gram, moments, ridge)).numpy()[:, 0]


def standardized(advantages: np.ndarray, valid: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """Shifts and scales each task's advantages to mean 0 and standard deviation 1 over the valid steps.

    Args:
        advantages: [tasks, rollouts, time].
        valid: 1 for steps that count, 0 for padding, of the same shape.
        epsilon: Added to the standard deviation.

    Returns:
        [tasks, rollouts, time]; 0 for padding.
    """
    mean, variance = (of_tasks[:, np.newaxis, np.newaxis] for of_tasks in _moments(advantages, valid))
    return (advantages - mean) * valid / (np.sqrt(variance) + epsilon)


def _moments(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes each task's mean and variance over the valid steps, [tasks]."""
    count = np.maximum(valid.sum((1, 2), dtype=np.float64), 1.0)
    mean = (values * valid).sum((1, 2)) / count
    deviations = (values - mean[:, np.newaxis, np.newaxis]) * valid
    return mean, (deviations**2).sum((1, 2)) / count


def _solve(gram: np.ndarray, moments: np.ndarray, ridge: float) -> np.ndarray:
    identity = np.eye(len(gram))
    for _ in range(10):
        try:
            weights = tf.linalg.solve(gram + ridge * identity, moments).numpy()
        except tf.errors.InvalidArgumentError:  # Singular.
            weights = np.full(moments.shape, np.nan)
        if np.all(np.isfinite(weights)):
            return weights
        ridge *= 10.0
    raise ValueError(f"Expected a solvable least-squares problem. Received: none with a ridge up to {ridge / 10.0:g}")
