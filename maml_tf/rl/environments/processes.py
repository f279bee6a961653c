"""A gymnasium vector environment whose many sub-environments run in a few worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space

from maml_tf.checks import whole_number


class ProcessVectorEnv(gymnasium.vector.VectorEnv):
    """Sub-environments of one kind in worker processes, each of which advances its share one after another.

    gymnasium's AsyncVectorEnv has a process for each sub-environment, too many for hundreds. Results are those of
    SyncVectorEnv with the autoreset mode DISABLED; of the infos, the arrays are kept. The workers end when the vector
    environment is closed or forgotten, or this process ends.

    Args:
        make: Makes a sub-environment. Pickle must find it, and the workers import its module.
        count: Number of sub-environments.
        processes: Number of worker processes; 0 for one on each processor core, or MAML_TF_SIMULATION_THREADS of the
            environment.

    Raises:
        ValueError: If a number is out of range.
        RuntimeError: If a worker fails; the message has its traceback.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012
    autoreset_mode = AutoresetMode.DISABLED

    def __init__(self, make: Callable[[], gymnasium.Env], count: int, processes: int = 0):
        self.num_envs = whole_number("count", count, minimum=1)
        processes = whole_number("processes", processes, minimum=0) or int(
            os.environ.get("MAML_TF_SIMULATION_THREADS", 0)
        )
        processes = min(processes or os.cpu_count() or 1, count)
        bounds = [number * count // processes for number in range(processes + 1)]
        self._shares = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        context = multiprocessing.get_context("spawn")  # A fork of TensorFlow's threads could hang.
        self._pipes, self._workers = [], []
        for share in self._shares:
            own, its = context.Pipe()
            worker = context.Process(target=_work, args=(its, make, share.stop - share.start), daemon=True)
            worker.start()
            its.close()
            self._pipes.append(own)
            self._workers.append(worker)
        self._end = weakref.finalize(self, _end, self._pipes, self._workers)
        [(self.single_observation_space, self.single_action_space), *_] = self._of_all("spaces")
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets all sub-environments, or those of the bool [count] in options["reset_mask"]; see gymnasium."""
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, bool))
        seeds = [None if seed is None else seed + number for number in range(self.num_envs)]
        parts = self._of_all("reset", [(seeds[share], options, mask[share]) for share in self._shares])
        return np.concatenate(parts), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advances all sub-environments by actions [count, ...]; see gymnasium."""
        parts = self._of_all("step", [(actions[share],) for share in self._shares])
        *columns, infos = zip(*parts, strict=True)
        return (*map(np.concatenate, columns), self._joined(infos))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of every sub-environment with the same arguments."""
        return self._called(name, {number: (args, kwargs) for number in range(self.num_envs)})

    def call_each(self, name: str, values: Sequence[Any]) -> tuple[Any, ...]:
        """Calls a method of every sub-environment with a value of its own, of [count]."""
        return self._called(name, {number: ((value,), {}) for number, value in enumerate(values)})

    def call_one(self, number: int, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of one sub-environment."""
        [result] = self._called(name, {number: (args, kwargs)})
        return result

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers."""
        self._end()

    def _called(self, name: str, arguments: Mapping[int, tuple[tuple[Any, ...], dict[str, Any]]]) -> tuple[Any, ...]:
        """Calls a method with the arguments of each sub-environment, by its number, in ascending order."""
        parts = self._of_all(
            "call",
            [
                (name, [(number - share.start, *given) for number, given in arguments.items() if _holds(share, number)])
                for share in self._shares
            ],
        )
        return tuple(result for part in parts for result in part)

    def _of_all(self, request: str, arguments: Sequence[tuple[Any, ...]] | None = None) -> list[Any]:
        """Sends all workers a request, each with arguments of its own, and waits for their answers."""
        answers = []
        try:
            for pipe, of_worker in zip(self._pipes, arguments or [()] * len(self._pipes), strict=True):
                pipe.send((request, of_worker))
            for pipe in self._pipes:
                answers.append(pipe.recv())
        except (EOFError, OSError) as error:
            self._end()
            codes = [worker.exitcode for worker in self._workers]
            raise RuntimeError(f"Expected all worker processes to live. Received: exit codes {codes}") from error
        for failure, _ in answers:
            if failure:
                self._end()
                raise RuntimeError(f"Expected sub-environments that do not fail. Received from a worker:\n{failure}")
        return [answer for _, answer in answers]

    def _joined(self, infos: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        examples = {key: value for info in infos for key, value in info.items() if isinstance(value, np.ndarray)}
        sizes = [share.stop - share.start for share in self._shares]
        return {
            # A key that no sub-environment of a worker has: zeros, and False in the key's mask.
            key: np.concatenate(
                [
                    info.get(key, np.zeros((size, *example.shape[1:]), example.dtype))
                    for info, size in zip(infos, sizes, strict=True)
                ]
            )
            for key, example in examples.items()
        }


def _holds(share: slice, number: int) -> bool:
    return share.start <= number < share.stop


def _end(pipes: Sequence[Connection], workers: Sequence[Any]) -> None:
    for pipe in pipes:
        pipe.close()  # A worker ends when its pipe does.
    for worker in workers:
        worker.join(5)
        if worker.is_alive():
            worker.kill()


def _work(pipe: Connection, make: Callable[[], gymnasium.Env], count: int) -> None:
    """Answers requests until the pipe ends."""
    # What stops the program is its main process's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = None
    while True:
        try:
            request, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            worker = worker or _Worker(make, count)
            answer = None, getattr(worker, request)(*arguments)
        except Exception:
            answer = traceback.format_exc(), None
        try:
            pipe.send(answer)
        except OSError:
            return


class _Worker:
    """A worker's sub-environments."""

    def __init__(self, make: Callable[[], gymnasium.Env], count: int):
        self._vector = SyncVectorEnv([make] * count, autoreset_mode=AutoresetMode.DISABLED)
        self._observations: np.ndarray | None = None

    def spaces(self) -> tuple[gymnasium.Space, gymnasium.Space]:
        return self._vector.single_observation_space, self._vector.single_action_space

    def reset(self, seeds: list[int | None], options: dict[str, Any], mask: np.ndarray) -> np.ndarray:
        if mask.any():
            options = options if mask.all() else {**options, "reset_mask": mask}
            self._observations, _ = self._vector.reset(seed=seeds, options=options)
        return self._observations

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self._observations, *rest = self._vector.step(actions)
        return self._observations, *rest

    def call(self, name: str, calls: Sequence[tuple[int, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        sub_environments = self._vector.envs
        return [sub_environments[number].get_wrapper_attr(name)(*args, **kwargs) for number, args, kwargs in calls]
