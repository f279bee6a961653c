"""Collection of rollouts: policies act in environments, all in this process or in shares; nothing is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from maml_tf.core.over_tasks import over_tasks
from maml_tf.distribute import bounds
from maml_tf.rl.environments import TaskEnvironment
from maml_tf.rl.environments.task_environment import require_shape
from maml_tf.rl.policy import Gaussian, PurePolicy
from maml_tf.rl.rollouts import Rollouts, continues

# Observations [B, observation] -> means [B, action].
Act = Callable[[np.ndarray], np.ndarray]
# Each purpose has its own stream of random numbers.
TASKS, STATES, ACTIONS = range(3)


def collect(
    environment: TaskEnvironment, act: Act, log_std: np.ndarray, random: np.random.Generator, *, budget: bool = False
) -> Rollouts:
    """Lets a policy act in all simulations for the environment's horizon.

    In a share of the simulations, `environment.share`, the noise is that which they have among all.

    Args:
        environment: The environment, with its tasks set.
        act: Computes the means of the actions of all simulations.
        log_std: The policy's log standard deviation in each task, [tasks, action].
        random: Source of the actions' noise.
        budget: How rollouts that end early are counted. False: each simulation makes one rollout, padded to the
            horizon. True: each simulation makes as many steps as the horizon, in several rollouts. A rollout that the
            last step cuts short does not count, which happens more often to long rollouts. The paper's code counts
            this way in its test; in training it counts the steps of all rollouts of a task together.

    Returns:
        The rollouts, [tasks, simulations of a task, horizon, ...].

    Raises:
        ValueError: If `log_std` has another number of tasks or actions, or the means have another number of simulations
            or actions.
    """
    tasks, horizon, simulations = len(environment.tasks), environment.horizon, environment.batch_size
    size, actions_size = environment.observation_spec().shape[0], environment.action_spec().shape[0]
    require_shape("log_std of each task and action,", log_std, (tasks, actions_size))
    # The numbers of a diverged policy overflow; the environment raises an error for them.
    with np.errstate(over="ignore"):
        std = np.repeat(np.exp(log_std), simulations // tasks, axis=0)
    first, of = environment.share
    noise = random.standard_normal((horizon, of, actions_size), np.float32)[:, first : first + simulations]
    observations = np.zeros((horizon, simulations, size), np.float32)
    means, actions = np.zeros((2, *noise.shape), np.float32)
    rewards, valid = np.zeros((2, horizon, simulations), np.float32)
    elapsed = np.zeros((horizon, simulations), np.int32)
    success = np.zeros((horizon, simulations), bool)

    now, done = environment.reset_batch(), np.zeros(simulations, bool)
    since = np.zeros(simulations, np.int32)
    for time in range(horizon):
        if budget and done.any():
            now, since = environment.reset_batch(done), np.where(done, 0, since)
            done = np.zeros(simulations, bool)
        if done.all() and simulations == of:  # The other shares may go on, and padding is recorded until all end.
            break
        observations[time], valid[time], elapsed[time] = now, ~done, since
        mean = act(now)
        require_shape("means of all simulations,", mean, (simulations, actions_size))
        means[time] = mean
        with np.errstate(over="ignore", invalid="ignore"):
            actions[time] = means[time] + std * noise[time]
        now, rewards[time], done = environment.step_batch(actions[time])
        since = since + 1
        if environment.succeeded is not None:
            success[time] = environment.succeeded

    def by_task(values: np.ndarray) -> np.ndarray:
        shaped = values.reshape(horizon, tasks, simulations // tasks, *values.shape[2:])
        return np.ascontiguousarray(np.moveaxis(shaped, 0, 2))

    columns = map(by_task, (observations, actions, rewards, valid, elapsed, means))
    rollouts = Rollouts(*columns, np.asarray(log_std, np.float32))
    if environment.succeeded is not None:
        rollouts = rollouts._replace(success=by_task(success))
    return _without_unfinished(rollouts, done.reshape(tasks, -1)) if budget else rollouts


def _without_unfinished(rollouts: Rollouts, done: np.ndarray) -> Rollouts:
    """Masks the last rollout of each row, [tasks, rollouts], that is not done."""
    goes_on = continues(rollouts)
    # Backwards from the end, a step belongs to the row's last rollout as long as the rollout goes on after it.
    last = np.ones(rollouts.valid.shape, bool)
    last[..., :-1] = np.flip(np.logical_and.accumulate(np.flip(goes_on[..., :-1], -1), axis=-1), -1)
    return rollouts._replace(valid=np.where(last & ~done[..., np.newaxis], 0.0, rollouts.valid).astype(np.float32))


class Actor:
    """Computes a policy's means for simulations of several tasks, compiled once.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: PurePolicy):
        self._policy = policy
        self._size = policy.policy.network.input_shape[-1]
        self._shared: _OfVariables | None = None
        self._own: dict[int, _OfVariables] = {}

    def shared(self, params: dict[str, tf.Tensor], tasks: int) -> tuple[Act, np.ndarray]:
        """Returns `act` and `log_std` of `collect` for `tasks` tasks that share the parameters."""
        if self._shared is None:
            self._shared = _OfVariables(self._policy, params)
        compute = self._shared.fixed(params)
        log_std = compute(np.zeros([1, self._size], np.float32)).log_std.numpy()
        return lambda observations: compute(observations).mean.numpy(), np.tile(log_std, (tasks, 1))

    def own(self, params: dict[str, tf.Tensor]) -> tuple[Act, np.ndarray]:
        """Returns `act` and `log_std` of `collect` for tasks with different parameters.

        Args:
            params: The parameters, each with a leading [tasks] axis.
        """
        tasks = next(iter(params.values())).shape[0]
        if tasks not in self._own:
            self._own[tasks] = _OfVariables(self._of_tasks, params)
        compute = self._own[tasks].fixed(params)
        log_std = compute(np.zeros([tasks, 1, self._size], np.float32)).log_std.numpy()

        def act(observations: np.ndarray) -> np.ndarray:
            means = compute(observations.reshape(tasks, -1, self._size)).mean.numpy()
            return means.reshape(-1, means.shape[-1])

        return act, log_std

    def _of_tasks(self, params: Any, observations: tf.Tensor) -> Gaussian:
        return over_tasks(lambda task: self._policy(*task), (params, observations), task_map="vectorized")


class _OfVariables:
    """A compiled function of parameters, held in variables, and observations.

    A call of TensorFlow binds each tensor it is given: with the seven of a small policy that takes a third of the time.

    Args:
        function: Computes the Gaussians from the parameters and the observations.
        params: Parameters of the shapes and types of all that come.
    """

    def __init__(self, function: Callable[[Any, tf.Tensor], Gaussian], params: dict[str, Any]):
        self._variables = {name: tf.Variable(value, trainable=False) for name, value in params.items()}
        self._held: dict[str, Any] | None = None
        values = self._variables
        self._compute = tf.function(
            lambda observations: function({name: values[name].read_value() for name in values}, observations),
            autograph=False,
        )
        # To look a function up by its shape once takes a third of a small call's time.
        self._compiled: dict[tuple[int, ...], Any] = {}

    def fixed(self, params: dict[str, Any]) -> Callable[[np.ndarray], Gaussian]:
        """Returns the function of the observations alone."""
        params = dict(params)  # Later changes of the caller's are not meant.

        def call(observations: np.ndarray) -> Gaussian:
            if self._held is not params:
                for name, variable in self._variables.items():
                    variable.assign(params[name])
                self._held = params
            tensor = tf.constant(observations)
            if observations.shape not in self._compiled:
                self._compiled[observations.shape] = self._compute.get_concrete_function(tensor)
            return self._compiled[observations.shape](tensor)

        return call


class Collector(Protocol):
    """What collects rollouts in an environment whose tasks are set."""

    def __call__(self, params: dict[str, Any], seed: tuple[int, ...], *, own: bool) -> Rollouts:
        """Lets a policy act.

        Args:
            params: The policy's parameters.
            seed: Seed of the initial states and of the actions.
            own: Whether each task has its own parameters, with a leading [tasks] axis.
        """


class ProcessCollector:
    """Collects rollouts in this process: of all tasks, or of the share of them that its environment simulates.

    A share's rollouts are those that the tasks have among all, bit for bit. The last bits of a product of matrices
    depend on its number of rows, so a share computes the policy's means with the rows of all simulations, the others
    zero, which costs a hundredth of a simulated step. With parameters of each task's own the products are batched,
    and alike from two tasks on.

    Args:
        environment: The environment.
        policy: The policy.
        budget: How rollouts that end early are counted; see `collect`.

    Attributes:
        environment: The argument.
        budget: The argument.
    """

    def __init__(self, environment: TaskEnvironment, policy: PurePolicy, budget: bool = False):
        self.environment, self._actor, self.budget = environment, Actor(policy), budget

    def __call__(self, params: dict[str, Any], seed: tuple[int, ...], *, own: bool) -> Rollouts:
        tasks = len(self.environment.tasks)
        acting = self._actor.own(params) if own else self._actor.shared(params, tasks)
        return self._collect(acting, seed)

    def of_share(
        self, params: dict[str, Any], tasks: Any, share: tuple[int, int], seed: tuple[int, ...], *, own: bool
    ) -> Rollouts:
        """Collects the rollouts of the k-th of n shares of the tasks.

        Args:
            params: The policy's parameters; with `own` those of all tasks.
            tasks: All tasks. The environment has the simulations of the share's, `maml_tf.distribute.bounds`.
            share: k and n, from 0.
            seed: As without shares.
            own: As without shares.
        """
        environment = self.environment
        begin, end = bounds(len(tasks), share)
        environment.set_tasks(tasks[begin:end])
        each = environment.batch_size // (end - begin)
        first, of = environment.share = begin * each, len(tasks) * each
        if own:
            chosen = [*range(begin, end)] * (2 if end - begin == 1 < len(tasks) else 1)
            params = {name: np.asarray(value)[chosen] for name, value in params.items()}
            rows, before = each * len(chosen), 0
        else:
            rows, before = of, first
        params = tf.nest.map_structure(tf.convert_to_tensor, params)  # Once, not at each time step.
        act, log_std = self._actor.own(params) if own else self._actor.shared(params, end - begin)

        def padded(observations: np.ndarray) -> np.ndarray:
            among = np.zeros((rows, observations.shape[1]), np.float32)
            among[before : before + len(observations)] = observations
            return act(among)[before : before + len(observations)]

        return self._collect((padded, log_std[: end - begin]), seed)

    def _collect(self, acting: tuple[Act, np.ndarray], seed: tuple[int, ...]) -> Rollouts:
        self.environment.seed((*seed, STATES))
        random = np.random.default_rng((*seed, ACTIONS))
        return collect(self.environment, *acting, random, budget=self.budget)


def joined(shares: Sequence[Rollouts], budget: bool) -> Rollouts:
    """Joins the rollouts of all shares to those of one process.

    Args:
        shares: The rollouts of each share, in order.
        budget: Whether they were counted in steps; see `collect`.
    """
    *columns, success = zip(*shares, strict=True)
    rollouts = Rollouts(*map(np.concatenate, columns))
    padded = [rollouts.observations, rollouts.actions, rollouts.elapsed, rollouts.mean]
    if any(of_share is not None for of_share in success):
        whole = [np.zeros(one.valid.shape, bool) if one.success is None else one.success for one in shares]
        rollouts = rollouts._replace(success=np.concatenate(whole))
        padded.append(rollouts.success)
    if not budget:  # One process stops when all simulations are done.
        ended = int(np.flatnonzero(rollouts.valid.any((0, 1)))[-1]) + 1
        for leaf in padded:
            leaf[:, :, ended:] = 0
    return rollouts
