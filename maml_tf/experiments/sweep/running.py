"""sweep: makes the runs of a plan, and stops and resumes them."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from maml_tf import stopping
from maml_tf.experiments.common.runs import Job, make_runs, open_runs
from maml_tf.experiments.sweep.plan import Plan
from maml_tf.experiments.sweep.search import draw, import_optuna
from maml_tf.experiments.sweep.state import Sweep
from maml_tf.experiments.sweep.table import write_table

# From a run's flags, its folder and whether it is to be resumed, to Python's arguments for each of its processes.
Commands = Callable[[Sequence[str], pathlib.Path, bool], Sequence[Sequence[str]]]


def sweep(
    plan: Plan, logdir: str | os.PathLike[str], commands: Commands, *, parallel: int = 1, resume: bool = False
) -> Sweep:
    """Makes the runs that are not finished, as `make_runs` does, and writes table.md and table.json.

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
    with open_runs(logdir) as directory:
        state = Sweep.open(directory, plan, resume)
        try:
            make_runs(_unfinished(state, plan, commands), parallel, state.note)
        finally:
            write_table(state)
            if stopping.is_asked():
                done = sum(state.state(run) == "finished" for run in state.every_run())
                logging.info("%d runs are finished; --resume goes on with the others", done)
    return state


def _unfinished(state: Sweep, plan: Plan, commands: Commands) -> Iterator[Job]:
    """Yields the runs to make; draws the settings of a search as their turn comes."""
    for number in range(plan.trials or len(state.settings)):
        if number == len(state.settings):
            state.add(draw(plan, [(setting, *state.validation(i)) for i, setting in enumerate(state.settings)]))
        for run in state.runs(number):
            if state.state(run) != "finished":
                yield Job(run.folder, functools.partial(commands, run.flags, run.folder))
