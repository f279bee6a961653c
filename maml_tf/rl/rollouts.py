"""What a policy did in its environments: arrays [tasks, rollouts, time, ...], with a mask of what counts.

Everywhere in `maml_tf.rl`, arrays of experience have these axes: the task, the simulation of the task, the time
step, then what one step holds. Rollouts end at different times, so `valid` is 1 where a step counts and 0 at padding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rollouts(NamedTuple):
    """The rollouts of a meta-batch of tasks.

    Attributes:
        observations: Before each action, float32 [tasks, rollouts, time, observation].
        actions: As the policy drew them, float32 [tasks, rollouts, time, action].
        rewards: After each action, float32 [tasks, rollouts, time].
        valid: 1 where a step counts, 0 at padding, float32 [tasks, rollouts, time].
        elapsed: Steps since the rollout began, int32 [tasks, rollouts, time]; 0 begins a rollout, so one row may
            hold several rollouts, one after another.
        mean: The sampling policy's mean of the action, float32 [tasks, rollouts, time, action].
        log_std: The sampling policy's log standard deviation, float32 [tasks, action].
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    valid: np.ndarray
    elapsed: np.ndarray
    mean: np.ndarray
    log_std: np.ndarray

    @property
    def steps(self) -> int:
        """The number of time steps that count."""
        return int(self.valid.sum())


def continues(rollouts: Rollouts) -> np.ndarray:
    """Finds the steps whose rollout goes on at the next one: bool [tasks, rollouts, time], False at the last time."""
    result = np.zeros(rollouts.valid.shape, bool)
    result[..., :-1] = (rollouts.valid[..., 1:] > 0) & (rollouts.elapsed[..., 1:] > 0)
    return result


def mean_returns(rollouts: Rollouts) -> np.ndarray:
    """Averages the undiscounted returns of each task's rollouts: float64 [tasks], NaN where none of a task's counts."""
    total = (rollouts.rewards * rollouts.valid).astype(np.float64).sum((1, 2))
    count = ((rollouts.elapsed == 0) * rollouts.valid).sum((1, 2))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def pooled(rollouts: Rollouts) -> Rollouts:
    """Makes one task of all, what a policy that ignores tasks learns from.

    Args:
        rollouts: The rollouts of one policy in all tasks.

    Returns:
        The same rollouts with axes [1, tasks * rollouts, time, ...].
    """
    merged = (leaf.reshape(1, -1, *leaf.shape[2:]) for leaf in rollouts[:-1])
    return Rollouts(*merged, rollouts.log_std[:1])
