"""A sweep: an experiment under many settings, each from several seeds, a process a run, and one table of all of them.

Optuna draws the settings of a search. It is a library that is asked for the next one and told what came of it; Ray Tune
brings a scheduler, an object store and processes of its own, which runs that are processes with checkpoints have no use
for. What a sweep has done stands in sweep.json and in the runs' own folders, and Optuna is told of it anew before each
setting: no storage can be left locked by a kill, and what is drawn depends on the results alone.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from maml_tf import stopping
from maml_tf.configuration import differences
from maml_tf.experiments.common import processes
from maml_tf.files import exclusive, read_json, writable_directory, write_atomically
from maml_tf.results import RESULTS, VALIDATION, read_rows
from maml_tf.tables import markdown

SWEEP, LOG, USAGE = "sweep.json", "log.txt", "usage.json"
# Longer than a stopped run takes to save and end.
PATIENCE_SECONDS = 30.0
_LONGEST_NAME = 100
# The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip

# A setting: the values of the flags that differ between settings, as texts.
Setting = dict[str, str]
# From a run's flags, its folder and whether it is to be resumed, to Python's arguments for each of its processes.
Commands = Callable[[Sequence[str], pathlib.Path, bool], Sequence[Sequence[str]]]


class Range(NamedTuple):
    """The values of a flag in a search.

    Attributes:
        least: The least.
        greatest: The greatest.
        whole: Whether they are whole numbers.
        log: Whether their logarithms are drawn uniformly.
    """

    least: float
    greatest: float
    whole: bool = False
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep runs.

    Attributes:
        experiment: Name of the experiment.
        flags: Flags of every run.
        values: From a flag to its values: without `trials` all combinations are run, otherwise they are choices.
        ranges: From a flag to its range; empty without `trials`.
        trials: Number of settings of a search, None for a grid.
        seeds: A run of every setting each.

    Example:
    >>> from maml_tf.experiments.sweep import Plan
    >>> Plan("sinusoid", (), {"shots": ("5", "10"), "inner_steps": ("1", "2")}, seeds=(1, 2)).grid()[1:3]
    [{'shots': '5', 'inner_steps': '2'}, {'shots': '10', 'inner_steps': '1'}]
    """

    experiment: str
    flags: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    trials: int | None = None
    seeds: tuple[int, ...] = (1,)

    def grid(self) -> list[Setting]:
        """Lists the combinations of the values."""
        return [
            dict(zip(self.values, combination, strict=True)) for combination in itertools.product(*self.values.values())
        ]

    def identity(self) -> dict[str, Any]:
        """Lists what a resume must not change: the runs that are there would not fit, or not belong to the search."""
        searched = {"values": self.values, "ranges": self.ranges} if self.trials else {}
        kept = {"experiment": self.experiment, "flags": self.flags, "search": bool(self.trials), **searched}
        return json.loads(json.dumps(kept))


class Run(NamedTuple):
    """A run of a sweep.

    Attributes:
        name: Its folder in the sweep's directory.
        setting: Its setting.
        seed: Its seed.
    """

    name: str
    setting: Setting
    seed: int

    @property
    def flags(self) -> list[str]:
        """The flags that differ from those of other runs."""
        return [*flags_of(self.setting), f"--seed={self.seed}"]


class Sweep:
    """A sweep and what is known of it, in sweep.json of its directory.

    Args:
        directory: The directory.
        content: What the file holds.
    """

    def __init__(self, directory: pathlib.Path, content: dict[str, Any]):
        self.directory = directory
        self._content = content

    @classmethod
    def read(cls, logdir: str | os.PathLike[str]) -> Sweep:
        """Reads the file of a sweep.

        Raises:
            FileNotFoundError: If the directory holds no sweep.
            ValueError: If the file is another program's.
        """
        path = pathlib.Path(logdir).expanduser() / SWEEP
        if not path.exists():
            raise FileNotFoundError(f"Expected the directory of a sweep, with {SWEEP}. Received: {str(logdir)!r}")
        content = read_json(path)
        if missing := {"identity", "plan", "settings", "runs"} - set(content):
            raise ValueError(f"Expected a sweep. Received: {str(path)!r} without {sorted(missing)}")
        return cls(path.parent, content)

    @classmethod
    def open(cls, logdir: str | os.PathLike[str], plan: Plan, resume: bool) -> Sweep:
        """Begins a sweep in a directory, or goes on with the one that is there.

        Raises:
            ValueError: If there is one, and `resume` is False or its experiment, flags or search are others.
        """
        directory = pathlib.Path(logdir).expanduser()
        settings: list[Setting] = []
        runs: dict[str, Any] = {}
        if (directory / SWEEP).exists():
            stored = cls.read(directory)
            if differing := differences(stored._content["identity"], plan.identity()):
                raise ValueError(
                    "Expected a --logdir without a sweep of another experiment, other flags or another search. "
                    f"Received: {str(logdir)!r}, which differs in {differing}"
                )
            if not resume:
                raise ValueError(
                    "Expected a --logdir without a sweep, or to go on with the one that is there (--resume). "
                    f"Received: {str(logdir)!r}"
                )
            settings, runs = stored.settings, stored._content["runs"]
        settings = settings if plan.trials else plan.grid()
        sweep = cls(
            directory,
            {"identity": plan.identity(), "plan": dataclasses.asdict(plan), "settings": settings, "runs": runs},
        )
        sweep.write()
        return sweep

    @property
    def settings(self) -> list[Setting]:
        """The settings; those of a search come one after the other."""
        return self._content["settings"]

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return list(self._content["plan"]["seeds"])

    def runs(self, number: int) -> list[Run]:
        """Lists the runs of a setting."""
        setting = self.settings[number]
        name = f"trial{number:03d}" if self._content["plan"]["trials"] else _name(setting)
        return [Run(f"{name}/seed{seed}" if name else f"seed{seed}", setting, seed) for seed in self.seeds]

    def state(self, run: Run) -> str:
        """Returns "finished", "failed", "stopped", "running" (so too where the sweep was killed) or "waiting"."""
        return self._content["runs"].get(run.name, {}).get("state", "waiting")

    def note(self, run: Run, state: str, **more: Any) -> None:
        """Writes what has become of a run."""
        self._content["runs"][run.name] = {"state": state, **more}
        self.write()

    def add(self, setting: Setting) -> None:
        """Adds a setting of a search."""
        self.settings.append(setting)
        self.write()

    def write(self) -> None:
        """Writes the file."""
        write_atomically(self.directory / SWEEP, json.dumps(self._content, indent=1) + "\n")

    def folder(self, run: Run) -> pathlib.Path:
        """Returns the folder of a run."""
        return self.directory / run.name

    def log(self, run: Run) -> str:
        """Returns the name of the file of what a run said."""
        return str(self.folder(run) / LOG)

    def every_run(self) -> list[Run]:
        """Lists the runs of all settings that are known."""
        return [run for number in range(len(self.settings)) for run in self.runs(number)]

    def validation(self, number: int) -> tuple[float | None, str]:
        """Returns the mean over the seeds of the best value in validation, and whether less ("min") is better.

        The value is None where a run has not finished, or its method does not validate.
        """
        found = []
        for run in self.runs(number):
            files = [*self.folder(run).glob(VALIDATION), *self.folder(run).glob(f"*/{VALIDATION}")]
            if self.state(run) != "finished" or len(files) != 1:
                return None, "min"
            found.append(read_json(files[0]))
        return float(np.mean([one["value"] for one in found])), found[0]["mode"]


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
        _import_optuna()
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


def write_table(state: Sweep) -> str:
    """Writes table.md and table.json.

    Returns:
        The table, in Markdown.
    """
    lines = table_lines(state)
    table = format_lines(lines)
    write_atomically(state.directory / "table.json", json.dumps(_without_nan(lines), indent=1) + "\n")
    write_atomically(state.directory / "table.md", table + "\n")
    return table


def _run_all(state: Sweep, plan: Plan, commands: Commands, parallel: int) -> None:
    upcoming = _unfinished(state, plan)
    told = False
    with contextlib.ExitStack() as held:  # Where it is left by an error, the runs' inputs close, which stops them.
        running: list[_Running] = []
        while True:
            while len(running) < parallel and not stopping.is_asked() and (run := next(upcoming, None)):
                running.append(held.enter_context(contextlib.closing(_Running(state, run, commands))))
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


class _Running:
    """A run that goes on: one process after the other."""

    def __init__(self, state: Sweep, run: Run, commands: Commands):
        self._state, self._run = state, run
        folder = state.folder(run)
        resume = state.state(run) != "waiting"
        folder.mkdir(parents=True, exist_ok=True)
        self._commands = iter(commands(run.flags, folder, resume))
        self._began = time.monotonic()
        logging.info("%s %s", run.name, "goes on" if resume else "begins")
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
            state = "stopped" if stopping.is_asked() and code in (0, 128 + stopping.asked()) else "failed"
        seconds = round(time.monotonic() - self._began, 1)
        self._state.note(self._run, state, code=code, seconds=seconds)
        said = "" if state == "finished" else f": {last_words(self._state.log(self._run))}"
        logging.info("%s %s after %.0f s%s", self._run.name, state, seconds, said)
        return True

    def close(self) -> None:
        """Ends the process if it still goes on."""
        self._process.stdin.close()
        self._process.wait()


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


def draw(plan: Plan, earlier: Sequence[tuple[Setting, float | None, str]]) -> Setting:
    """Draws the next setting of a search, by Optuna's tree-structured Parzen estimator.

    What is drawn is a function of the arguments.

    Args:
        plan: The plan, with its ranges and values.
        earlier: The settings so far, each with its value in validation, None where there is none (yet), and "min" or
            "max": which values are better.

    Returns:
        The setting.
    """
    optuna = _import_optuna()
    distributions = {
        **{flag: optuna.distributions.CategoricalDistribution(values) for flag, values in plan.values.items()},
        **{
            flag: (optuna.distributions.IntDistribution if one.whole else optuna.distributions.FloatDistribution)(
                one.least, one.greatest, log=one.log
            )
            for flag, one in plan.ranges.items()
        },
    }
    # Of all settings, where one has a value; without a value the direction does not count.
    mode = next((mode for _, value, mode in earlier if value is not None), "min")
    with warnings.catch_warnings():
        # Before Optuna 5 the option is called experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Settings that still run are taken for bad ones, so that those beside them differ.
        sampler = optuna.samplers.TPESampler(seed=len(earlier), constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction={"min": "minimize", "max": "maximize"}[mode])
    states = optuna.trial.TrialState
    for setting, value, _ in earlier:
        known = value is not None and math.isfinite(value)
        study.add_trial(
            optuna.trial.create_trial(
                state=states.COMPLETE if known else states.RUNNING,
                value=value if known else None,
                params={
                    flag: _number(text, plan.ranges[flag]) if flag in plan.ranges else text
                    for flag, text in setting.items()
                },
                distributions=distributions,
            )
        )
    return {flag: str(value) for flag, value in study.ask(distributions).params.items()}


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "Expected the extra sweep of maml_tf to be installed, which searches need: in the project's folder, run "
            f"pip install '.[sweep]'. Received: {error}"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _number(text: str, of: Range) -> float | int:
    return int(text) if of.whole else float(text)


def table_lines(state: Sweep) -> list[dict[str, Any]]:
    """Returns the lines of the table, for each setting one of each method, number of shots and metric measured.

    A line has "setting", "method", "shots", "metric"; "steps": from each number of inner steps to {"mean", "ci95",
    "values"}, the mean and the half-width of its 95 % interval (Student's t) over the seeds' values, None for one seed;
    the same of "validation" and "cpu_seconds"; "seeds", those that finished; and "unfinished": from each other seed to
    its state and its log file. A setting of which nothing has finished has one line.
    """
    lines = []
    for number, setting in enumerate(state.settings):
        runs = state.runs(number)
        finished = [run for run in runs if state.state(run) == "finished"]
        unfinished = {
            run.seed: {"state": state.state(run), "log": state.log(run)}
            for run in runs
            if state.state(run) != "finished"
        }
        measured: dict[tuple[Any, ...], dict[int, list[float]]] = {}
        for run in finished:
            for row in read_rows(state.folder(run) / RESULTS):
                measured.setdefault((row.method, row.shots, row.metric), {}).setdefault(row.step, []).append(row.mean)
        used = [read_json(state.folder(run) / USAGE)["cpu_seconds"] for run in finished]
        for (method, shots, metric), by_step in (measured or {(None, None, None): {}}).items():
            best = [
                read_json(path)["value"]
                for run in finished
                for path in (state.folder(run) / (method or "") / VALIDATION, state.folder(run) / VALIDATION)
                if path.exists()
            ]
            lines.append(
                {
                    "setting": setting,
                    "method": method,
                    "shots": shots,
                    "metric": metric,
                    "steps": {step: over_seeds(values) for step, values in sorted(by_step.items())},
                    "validation": over_seeds(best),
                    "cpu_seconds": over_seeds(used),
                    "seeds": [run.seed for run in finished],
                    "unfinished": unfinished,
                }
            )
    return lines


def over_seeds(values: Sequence[float]) -> dict[str, Any] | None:
    """Returns the mean of some seeds' values with its 95 % interval, None of no seed.

    Example:
    >>> from maml_tf.experiments.sweep import over_seeds
    >>> over_seeds([1.0, 2.0, 3.0])["mean"], round(over_seeds([1.0, 2.0, 3.0])["ci95"], 3)
    (2.0, 2.484)
    """
    if not values:
        return None
    freedom = len(values) - 1
    half = None
    if freedom:
        quantile = _QUANTILES[freedom - 1] if freedom <= len(_QUANTILES) else 1.96 + 2.5 / freedom
        half = float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"mean": float(np.mean(values)), "ci95": half, "values": list(values)}


def format_lines(lines: Sequence[Mapping[str, Any]]) -> str:
    """Formats the lines of a table in Markdown: those of each setting's first metric, after 0, 1 and the last step."""
    first: dict[str, str | None] = {}
    for line in lines:
        first.setdefault(str(line["setting"]), line["metric"])
    shown = [line for line in lines if line["metric"] == first[str(line["setting"])]]
    flags = list(dict.fromkeys(flag for line in shown for flag in line["setting"]))
    # What is the same everywhere, or one with a flag, needs no column.
    columns = [
        name
        for name in ("method", "shots", "metric")
        if len({line[name] for line in shown if line["metric"]}) > 1
        and not all(str(line[name]) == line["setting"].get(name) for line in shown if line["metric"])
    ]
    metrics = {line["metric"] for line in shown if line["metric"]}
    unit = f"{metrics.pop()} " if len(metrics) == 1 else ""
    rows = [[*flags, *columns, f"{unit}before", "1 step", "last step", "validation", "CPU, s", "seeds"]]
    for line in shown:
        steps = line["steps"]
        last = steps[max(steps)] if steps else None
        rows.append(
            [
                *(line["setting"].get(flag, "") for flag in flags),
                *(str(line[name] or "") for name in columns),
                *(_cell(one) for one in (steps.get(0), steps.get(1), last, line["validation"], line["cpu_seconds"])),
                _seeds_text(line),
            ]
        )
    return markdown(rows)


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "-"
    return f"{one['mean']:.4g}" + ("" if one["ci95"] is None else f" +- {one['ci95']:.2g}")


def _seeds_text(line: Mapping[str, Any]) -> str:
    done, unfinished = len(line["seeds"]), line["unfinished"]
    parts = [f"{done} of {done + len(unfinished)}" if unfinished else str(done)]
    parts += [f"failed: {one['log']}" for one in unfinished.values() if one["state"] == "failed"]
    return "; ".join(parts)


def last_words(path: str | os.PathLike[str]) -> str:
    """Returns the last line of a log that says why a run ended, or its last line."""
    lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith(("Error: ", "Stopped by "))]
    return (said or lines or [""])[-1]


def flags_of(setting: Mapping[str, str]) -> list[str]:
    """Writes a setting as flags."""
    return [f"--{flag}={text}" for flag, text in setting.items()]


def _name(setting: Setting) -> str:
    """Returns the folder of a setting: its flags where they can be one."""
    name = ",".join(f"{flag}={text}" for flag, text in setting.items())
    if len(name) <= _LONGEST_NAME and re.fullmatch(r"[\w.,=+-]*", name):
        return name
    return f"setting_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _without_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
