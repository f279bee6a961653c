"""Collection of rollouts by Ray actors: processes of this machine or of a cluster, each with its share of the tasks."""

from __future__ import annotations

import logging as stdlib_logging
import os
import signal
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging

import maml_tf
from maml_tf.checks import whole_number
from maml_tf.registry import imported_files
from maml_tf.rl.environments import NonFiniteActionsError, TaskEnvironment
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.rollouts import Rollouts
from maml_tf.rl.sampling import Actor, ProcessCollector, joined

# (number of simulations) -> their collector.
Make = Callable[[int], ProcessCollector]

# An actor that ends while it samples, such as by the kernel when memory is short, is started this often.
_ATTEMPTS = 3
_PATIENCE_SECONDS = 30.0


class RayCollector:
    """Collects rollouts in Ray actors; the same as a `ProcessCollector` in this process, bit for bit.

    An actor that was killed is started again, and its share is drawn again, the same. The actors compute on CPUs with
    one thread each, and end with this process. They share out tasks, so there are at most as many as tasks.

    Args:
        environment: An environment with as many simulations as the actors have together. It says what tasks there are
            and counts diverged simulations; the actors advance simulations of their own.
        policy: The policy.
        make: Makes the collector of a number of simulations of the same environment, with the same kind of policy; it
            is sent to the actors.
        budget: How rollouts that end early are counted, the same as for the collectors that `make` makes; see
            `maml_tf.rl.sampling.collect`.
        workers: Number of actors.
        address: Address of a cluster, as `ray.init` takes it; by default Ray starts on this machine.

    Raises:
        ImportError: If Ray is not installed.
        ConnectionError: If Ray cannot start, or the cluster cannot be reached or has other versions of Ray or Python.
        ValueError: If the environment's simulations cannot be shared out, the cluster has fewer CPUs than `workers` or
            another version of maml_tf, or Ray is connected to another cluster already.
    """

    def __init__(
        self,
        environment: TaskEnvironment,
        policy: PurePolicy,
        make: Make,
        *,
        budget: bool = False,
        workers: int = 2,
        address: str | None = None,
    ):
        _require_shares(environment, budget)
        self.environment, self._budget = environment, budget
        self._actor, self._differs = Actor(policy), False
        self._ray = _imported_ray()
        self._workers = _workers(whole_number("workers", workers, minimum=1), address)
        self._make = self._ray.cloudpickle.dumps(make)

    def __call__(self, params: dict[str, Any], seed: tuple[int, ...], *, own: bool) -> Rollouts:
        """Collects rollouts as a `maml_tf.rl.sampling.Collector`.

        Raises:
            NonFiniteActionsError: If the policy diverges. Another error of an actor has its traceback in its text.
            ChildProcessError: If an actor ends again and again.
        """
        tasks, errors = self.environment.tasks, self._ray.exceptions
        each = self.environment.batch_size // len(tasks)
        given = self._ray.put(({name: np.asarray(value) for name, value in params.items()}, tasks))
        workers = self._workers[: len(tasks)]
        shares = [(number, len(workers)) for number in range(len(workers))]
        try:
            found = self._ray.get(
                [
                    worker.collect.remote(imported_files(), self._make, given, share, each, seed, own, self._budget)
                    for worker, share in zip(workers, shares, strict=True)
                ]
            )
        except errors.RayTaskError as error:
            if isinstance(error.cause, NonFiniteActionsError):
                raise NonFiniteActionsError(str(error.cause)) from None
            raise
        except errors.RayActorError as error:
            raise ChildProcessError(
                f"Expected Ray's actors to live while they sample. Received: one that ended {_ATTEMPTS} times, last: "
                f"{' '.join(str(error).split())}"
            ) from error
        self.environment.diverged += sum(diverged for _, diverged in found)
        rollouts = joined([of_share for of_share, _ in found], self._budget)
        if not self._differs:
            self._compare(params, rollouts, own)
        return rollouts

    def _compare(self, params: dict[str, Any], rollouts: Rollouts, own: bool) -> None:
        """Warns once where the actors' processors compute other bits than this process."""
        last = int(np.flatnonzero(rollouts.valid.any((0, 1)))[-1])
        observations = np.ascontiguousarray(rollouts.observations[:, :, last])
        act, _ = self._actor.own(params) if own else self._actor.shared(params, len(observations))
        means = act(observations.reshape(-1, observations.shape[-1])).reshape(rollouts.mean[:, :, last].shape)
        self._differs = not np.array_equal(means, rollouts.mean[:, :, last])
        if self._differs:
            logging.warning(
                "Ray's actors compute other last bits than this process: its TensorFlow has other threads or a GPU, or "
                "their processors are of another kind. The results are as good, but not those of --sampler=process"
            )


def _require_shares(environment: TaskEnvironment, budget: bool) -> None:
    """Starts an environment as if it were a share, which raises if it cannot be one."""
    before = environment.share
    environment.share = (0, 2 * environment.batch_size)
    try:
        environment.seed(0)
        environment.reset_batch()
        if budget:
            environment.reset_batch(np.arange(environment.batch_size) == 0)
    finally:
        environment.share = before


def _imported_ray() -> ModuleType:
    settings = {
        "ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Otherwise Ray warns about GPUs, of which the actors use none.
        "IGNORE_UNHANDLED_ERRORS": "1",  # Otherwise the faults of all actors are written where one is raised.
        "worker_niceness": "0",  # Otherwise every other process has precedence over the actors.
    }
    for name, value in settings.items():
        os.environ.setdefault(f"RAY_{name}", value)
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(
            "Expected Ray, to sample in several processes: pip install 'maml_tf[ray]', or in the project's folder "
            f"pip install '.[ray]'. Received: {error}",
            name="ray",
        ) from error
    return ray


# The actors of this program, which all collectors share, and the address at which it started Ray.
_actors: list[Any] = []
_started_at: list[str | None] = []


def _workers(count: int, address: str | None) -> list[Any]:
    """Returns actors, of which the first are those of earlier calls."""
    import ray

    if not ray.is_initialized():
        _actors.clear()
        _start_ray(count, address)
        _started_at[:] = [address]
    elif address is not None and address not in _started_at:
        raise ValueError(
            f"Expected one Ray cluster in a program. Received: address={address!r} where Ray has started "
            f"{'on this machine or by other code' if _started_at in ([], [None]) else f'at {_started_at[0]!r}'}"
        )
    if count > len(_actors):
        _actors.extend(_new_actors(count - len(_actors), count))
    return _actors[:count]


def _start_ray(count: int, address: str | None) -> None:
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    where = {"address": address} if address else {"address": "local", "num_cpus": count, "include_dashboard": False}
    try:
        ray.init(**where, logging_level=stdlib_logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"Expected {f'a cluster of these versions of Ray and Python at {address}' if address else 'Ray to start'}. "
            f"Received: {' '.join(str(error).split())}"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put one of its own in the place of the program's.


def _new_actors(count: int, together: int) -> list[Any]:
    import ray

    if (cpus := ray.cluster_resources().get("CPU", 0)) < together:
        raise ValueError(f"Expected a Ray cluster of at least {together} CPUs, one a worker. Received: {cpus:.0f}")
    worker = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_ATTEMPTS - 1)(_worker())
    workers = [worker.options(scheduling_strategy="SPREAD").remote() for _ in range(count)]
    versions = [one.version.remote() for one in workers]
    if len(ray.wait(versions, num_returns=count, timeout=_PATIENCE_SECONDS)[0]) < count:
        logging.warning("waiting for %d CPUs of the Ray cluster, one a worker", count)
    for version in ray.get(versions):
        if version != maml_tf.__version__:
            raise ValueError(
                f"Expected maml_tf {maml_tf.__version__} on all machines of the Ray cluster. Received: "
                f"{'none' if version is None else version}"
            )
    return workers


def _worker() -> type:
    """Makes the actors' class.

    Ray sends the code of a class that is defined in a function, so that an actor can say that maml_tf is missing there.
    """

    class Worker:
        """One process."""

        def __init__(self):
            os.environ.update(
                CUDA_VISIBLE_DEVICES="-1", MAML_TF_SIMULATION_THREADS="1", OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3"
            )

        def version(self):
            try:
                import maml_tf
            except ImportError:
                return None
            return maml_tf.__version__

        def collect(self, *arguments):
            from maml_tf.rl.ray_actor import collect_share

            return collect_share(*arguments)

    return Worker
