"""sweep: runs what a plan has, processes side by side, and stops and resumes them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from maml_tf import stopping
from maml_tf.experiments.common import processes
from maml_tf.experiments.sweep.plan import Plan
from maml_tf.experiments.sweep.search import draw, import_optuna
from maml_tf.experiments.sweep.state import USAGE, Run, Sweep
from maml_tf.experiments.sweep.table import write_table
from maml_tf.files import exclusive, writable_directory

# Longer than a stopped run takes to save and end.
PATIENCE_SECONDS = 30.0

# From a run's flags, its folder and whether it is to be resumed, to Python's arguments for each of its processes.
Commands = Callable[[Sequence[str], pathlib.Path, bool], Sequence[Sequence[str]]]


def sweep(
    plan: Plan, logdir: str | os.PathLike[str], commands: Commands, *, parallel: int = 1, resume: bool = False
) -> Sweep:
    """Runs what is not finished, and writes table.md and table.json.

    A run lies in a folder of its own, with what it said in log.txt. A run that fails is no reason to stop. A signal is
    passed on to the runs, which save and end; SIGKILL of this process makes them do the same.

    Args:
        plan: What to run.
        logdir: Directory of all runs; created if need be.
        commands: Makes the commands of a run.
        parallel: How many runs go on side by side.
        resume: Whether to go on with the sweep that is in the directory. Its finished runs are not run again.

    Returns:
        The sweep.

    Raises:
        ValueError: If settings are to be drawn and Optuna is missing, another sweep goes on in the directory, or as
            `Sweep.open`.
    """
    if plan.trials:
        import_optuna()
    if parallel > 1:  # A process would take all of a GPU's memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    directory = writable_directory(logdir)
    with exclusive(directory, "sweeps in"), stopping.stop_on_signals(PATIENCE_SECONDS):
        state = Sweep.open(directory, plan, resume)
        _await_orphans(state)
        with stopping.finishing_steps():
            try:
                _run_all(state, plan, commands, parallel)
            finally:
                write_table(state)
            if stopping.is_asked():
                done = sum(state.state(run) == "finished" for run in state.every_run())
                logging.info("%d runs are finished; --resume goes on with the others", done)
    return state


def _run_all(state: Sweep, plan: Plan, commands: Commands, parallel: int) -> None:
    upcoming = _unfinished(state, plan)
    told = False
    with contextlib.ExitStack() as held:  # Where it is left by an error, the runs' inputs close, which stops them.
        running: list[_Running] = []
        while True:
            while len(running) < parallel and not stopping.is_asked() and (run := next(upcoming, None)):
                if one := _begin(state, run, commands):
                    running.append(held.enter_context(contextlib.closing(one)))
            if not running:
                return
            if stopping.is_asked() and not told:
                told = True
                for one in running:
                    one.send_signal(stopping.asked())
            running = [one for one in running if not one.has_ended()]
            time.sleep(0.05)


def _unfinished(state: Sweep, plan: Plan) -> Iterator[Run]:
    """Yields the runs to make; draws the settings of a search as their turn comes."""
    for number in range(plan.trials or len(state.settings)):
        if number == len(state.settings):
            state.add(draw(plan, [(setting, *state.validation(i)) for i, setting in enumerate(state.settings)]))
        for run in state.runs(number):
            if state.state(run) != "finished":
                yield run


def _begin(state: Sweep, run: Run, commands: Commands) -> _Running | None:
    """Starts a run; None if it has failed because its flags do not go together, as those of a drawn setting may not."""
    folder = state.folder(run)
    resume = state.has_begun(run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        processes_of_run = commands(run.flags, folder, resume)
    except ValueError as error:
        with open(state.log(run), "a", encoding="utf-8") as log:
            log.write(f"Error: {error}\n")
        _note_end(state, run, "failed", code=1, seconds=0.0)
        return None
    logging.info("%s %s", run.name, "goes on" if resume else "begins")
    return _Running(state, run, processes_of_run)


class _Running:
    """A run that goes on: one process after the other."""

    def __init__(self, state: Sweep, run: Run, commands: Sequence[Sequence[str]]):
        self._state, self._run, self._commands = state, run, iter(commands)
        self._began = time.monotonic()
        state.note(run, "running")
        self._process = self._start(next(self._commands))

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with open(self._state.log(self._run), "ab") as log:
            log.write(f"running: python {' '.join(arguments)}\n".encode())
            log.flush()
            return processes.start(arguments, self._state.folder(self._run) / USAGE, log)

    def send_signal(self, number: int) -> None:
        """Passes a signal on."""
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        """Starts the next process where one has ended, and notes what has become of the run at its end."""
        code = self._process.poll()
        if code is None:
            return False
        self.close()
        following = next(self._commands, None) if code == 0 else None
        if following and not stopping.is_asked():
            self._process = self._start(following)
            return False
        if code == 0 and not following:
            state = "finished"
        else:
            # A process that the signal reaches before its handlers are there ends by the signal itself.
            codes = (0, 128 + stopping.asked(), -stopping.asked())
            state = "stopped" if stopping.is_asked() and code in codes else "failed"
        _note_end(self._state, self._run, state, code=code, seconds=round(time.monotonic() - self._began, 1))
        return True

    def close(self) -> None:
        """Ends the process if it still goes on."""
        self._process.stdin.close()
        self._process.wait()


def _note_end(state: Sweep, run: Run, how: str, *, code: int, seconds: float) -> None:
    state.note(run, how, code=code, seconds=seconds)
    said = "" if how == "finished" else f": {last_words(state.log(run))}"
    logging.info("%s %s after %.0f s%s", run.name, how, seconds, said)


def _await_orphans(state: Sweep) -> None:
    """Waits for what a killed sweep has left: it is saving, and ends."""
    until = time.monotonic() + PATIENCE_SECONDS
    for run in state.every_run():
        while state.state(run) == "running" and time.monotonic() < until and _is_used(state.folder(run)):
            logging.log_every_n_seconds(
                logging.INFO, "waiting for the end of %s, of a sweep that was killed", 5, run.name
            )
            time.sleep(0.1)


def _is_used(folder: pathlib.Path) -> bool:
    try:
        with exclusive(folder, "trains in"):
            return False
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def last_words(path: str | os.PathLike[str]) -> str:
    """Returns the last line of a log that says why a run ended, or its last line."""
    lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith(("Error: ", "Stopped by "))]
    return (said or lines or [""])[-1]
