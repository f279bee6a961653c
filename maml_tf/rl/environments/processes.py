"""A gymnasium vector environment whose many sub-environments run in a few worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.util
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space

from maml_tf.checks import whole_number
from maml_tf.registry import import_file, imported_files
from maml_tf.rl.environments.threads import default_threads
from maml_tf.stopping import SIGNALS


class ProcessVectorEnv(gymnasium.vector.VectorEnv):
    """Sub-environments of one kind in worker processes, each of which advances its share one after another.

    gymnasium's AsyncVectorEnv has a process for each sub-environment, too many for hundreds. Results are those of
    SyncVectorEnv with the autoreset mode DISABLED, where observations are arrays. The workers end when the vector
    environment is closed or forgotten, or this process ends; SIGINT, SIGTERM and SIGHUP do not end them, so that a
    program that is stopped can finish its step.

    A program of one's own makes it under `if __name__ == "__main__":`, because each worker imports the program's file.

    Args:
        make: Makes a sub-environment: a function or a class that stands at the top of a module, or a
            `functools.partial` of one. The workers import that module, and the files of --register.
        count: Number of sub-environments.
        processes: Number of worker processes; 0 for one on each processor core, or MAML_TF_SIMULATION_THREADS of the
            environment.

    Raises:
        ValueError: If a number is out of range, or the workers cannot import `make`.
        RuntimeError: If a worker fails; the message has its traceback.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012
    autoreset_mode = AutoresetMode.DISABLED

    def __init__(self, make: Callable[[], gymnasium.Env], count: int, processes: int = 0):
        self.num_envs = whole_number("count", count, minimum=1)
        processes = whole_number("processes", processes, minimum=0) or default_threads()
        processes = min(processes or os.cpu_count() or 1, count)
        pickled = _pickled(make)
        bounds = [number * count // processes for number in range(processes + 1)]
        self._shares = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        context = multiprocessing.get_context("spawn")  # A fork of TensorFlow's threads could hang.
        self._pipes, self._workers = [], []
        # Where a program exits, multiprocessing waits for its processes after the finalizers of its own. One of weakref
        # may come later, and these workers, which wait for requests, do not heed the SIGTERM that it sends.
        self._end = multiprocessing.util.Finalize(self, _end, (self._pipes, self._workers), exitpriority=0)
        for share in self._shares:
            own, its = context.Pipe()
            self._pipes.append(own)
            worker = context.Process(
                target=_work, args=(its, imported_files(), pickled, share.stop - share.start), daemon=True
            )
            worker.start()
            its.close()
            self._workers.append(worker)
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
        observations, infos = zip(*parts, strict=True)
        return np.concatenate(observations), self._joined(infos)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advances all sub-environments by actions [count, ...]; see gymnasium."""
        parts = self._of_all("step", [(actions[share],) for share in self._shares])
        *columns, infos = zip(*parts, strict=True)
        return (*map(np.concatenate, columns), self._joined(infos))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of every sub-environment with the same arguments; without any, also reads an attribute."""
        return self._called(name, {number: (args, kwargs) for number in range(self.num_envs)})

    def call_each(self, name: str, values: Sequence[Any]) -> tuple[Any, ...]:
        """Calls a method of every sub-environment with a value of its own, of [count]."""
        return self._called(name, {number: ((value,), {}) for number, value in enumerate(self._one_each(values))})

    def call_one(self, number: int, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of one sub-environment."""
        [result] = self._called(name, {number: (args, kwargs)})
        return result

    def is_method(self, name: str) -> bool:
        """Whether `name` of the sub-environments, which must have it, can be called."""
        return self._of_all("is_method", [(name,)] * len(self._shares))[0]

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute of every sub-environment, or what a method without arguments returns; see gymnasium."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute of every sub-environment: a list or tuple has one value for each, all else is for all."""
        values = self._one_each(values) if isinstance(values, (list, tuple)) else [values] * self.num_envs
        self._of_all("set_attr", [(name, values[share]) for share in self._shares])

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers."""
        self._end()

    def _one_each(self, values: Sequence[Any]) -> Sequence[Any]:
        if len(values) != self.num_envs:
            raise ValueError(
                f"Expected a value for each of {self.num_envs} sub-environments. Received: {len(values)} values"
            )
        return values

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
        # All are pickled before the first is sent: otherwise an error would leave answers in the pipes.
        requests = [pickle.dumps((request, of_worker)) for of_worker in arguments or [()] * len(self._pipes)]
        answers = []
        try:
            for pipe, of_worker in zip(self._pipes, requests, strict=True):
                pipe.send_bytes(of_worker)
            for pipe in self._pipes:
                answers.append(pickle.loads(pipe.recv_bytes()))
        except (EOFError, OSError) as error:
            self._end()
            codes = [worker.exitcode for worker in self._workers]
            raise RuntimeError(
                f"Expected all worker processes to live. Received: exit codes {codes}. A program that makes them at "
                'its start needs `if __name__ == "__main__":`, because each of them imports it'
            ) from error
        for failure, _ in answers:
            if failure:
                self._end()
                raise RuntimeError(f"Expected sub-environments that do not fail. Received from a worker:\n{failure}")
        return [answer for _, answer in answers]

    def _joined(self, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Joins the infos of the workers; those of a key that a worker does not have are zeros, or None for objects."""
        sizes = [share.stop - share.start for share in self._shares]
        joined = {}
        for key in dict.fromkeys(itertools.chain(*infos)):
            [example, *_] = (info[key] for info in infos if key in info)
            if isinstance(example, dict):
                joined[key] = self._joined([info.get(key, {}) for info in infos])
                continue
            absent = None if example.dtype == object else 0
            joined[key] = np.concatenate(
                [
                    info[key] if key in info else np.full((size, *example.shape[1:]), absent, example.dtype)
                    for info, size in zip(infos, sizes, strict=True)
                ]
            )
        return joined


def _pickled(make: Callable[[], gymnasium.Env]) -> bytes:
    try:
        return pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "Expected make to be a function or a class at the top of a module, which worker processes can import. "
            f"Received: {make!r}"
        ) from error


def _holds(share: slice, number: int) -> bool:
    return share.start <= number < share.stop


def _end(pipes: Sequence[Connection], workers: Sequence[Any]) -> None:
    for pipe in pipes:
        pipe.close()  # A worker ends when its pipe does.
    for worker in workers:
        worker.join(5)
        if worker.is_alive():
            worker.kill()
            worker.join()


def _work(pipe: Connection, files: Sequence[str], make: bytes, count: int) -> None:
    """Answers requests until the pipe ends."""
    # What stops the program is its main process's to decide: a terminal and `timeout` signal all of its processes.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    worker = None
    while True:
        try:
            received = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            worker = worker or _Worker(files, make, count)
            request, arguments = pickle.loads(received)
            answer = pickle.dumps((None, getattr(worker, request)(*arguments)))
        except Exception:
            answer = pickle.dumps((traceback.format_exc(), None))
        try:
            pipe.send_bytes(answer)
        except OSError:
            return


class _Worker:
    """A worker's sub-environments."""

    def __init__(self, files: Sequence[str], make: bytes, count: int):
        for path in files:  # Pickle finds what these define only after they are imported.
            import_file(path)
        self._vector = SyncVectorEnv([pickle.loads(make)] * count, autoreset_mode=AutoresetMode.DISABLED)
        self._observations: np.ndarray | None = None

    def spaces(self) -> tuple[gymnasium.Space, gymnasium.Space]:
        return self._vector.single_observation_space, self._vector.single_action_space

    def reset(
        self, seeds: list[int | None], options: dict[str, Any], mask: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        infos = {}
        if mask.any():
            options = options if mask.all() else {**options, "reset_mask": mask}
            self._observations, infos = self._vector.reset(seed=seeds, options=options)
        return self._observations, infos

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self._observations, *rest = self._vector.step(actions)
        return self._observations, *rest

    def is_method(self, name: str) -> bool:
        return callable(self._vector.envs[0].get_wrapper_attr(name))

    def set_attr(self, name: str, values: list[Any]) -> None:
        self._vector.set_attr(name, list(values))

    def call(self, name: str, calls: Sequence[tuple[int, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        results = []
        for number, args, kwargs in calls:
            found = self._vector.envs[number].get_wrapper_attr(name)
            if not callable(found) and (args or kwargs):
                raise TypeError(f"Expected a method, to call it with arguments. Received: the attribute {name!r}")
            results.append(found(*args, **kwargs) if callable(found) else found)
        return results
