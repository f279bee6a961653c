"""Runs an experiment under many settings and seeds, and writes one table of them; a search needs the extra sweep.

    maml-tf sweep sinusoid --seeds=1,2,3 --values=inner_learning_rate:0.001,0.01 --logdir=runs/rates -- --shots=5
    maml-tf sweep omniglot --values=preset:5way_1shot,5way_5shot --values=method:maml,anil --parallel=2
    maml-tf sweep few-shot --log_range=inner_learning_rate:0.01,1 --range=inner_steps:1,5 --trials=20 -- --dataset=cub
    maml-tf sweep --table --logdir=runs/rates

Name the experiment first. Flags after -- are passed to every run. Every run is a process of the experiment's own
command in a folder of its own, with all that it writes, and log.txt with what it said. table.md and table.json have the
mean over the seeds and its 95 % interval for every setting; tensorboard --logdir shows all runs together. Without
--trials all combinations of --values are run. With it Optuna draws that many settings by what earlier ones reached on
the validation tasks; the test decides nothing. A run that fails is named in the table, and the exit code is then 1.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from maml_tf.commands import command
from maml_tf.configuration import Configuration
from maml_tf.experiments.common.runs import check_succeeded
from maml_tf.experiments.sweep.plan import Plan, Range, Setting, flags_of
from maml_tf.experiments.sweep.running import sweep
from maml_tf.experiments.sweep.state import Sweep
from maml_tf.experiments.sweep.table import write_table

EXPERIMENTS = (
    "sinusoid", "omniglot", "mini_imagenet", "few_shot", "point_navigation", "half_cheetah", "ant", "meta_rl",
    "meta_world",
)  # fmt: skip
# What the sweep sets itself.
_OWN = ("logdir", "resume", "mode", "seed", "register")


class _Parsed(NamedTuple):
    """An experiment's flags, parsed as its command parses them."""

    experiment: command.Experiment
    given: Mapping[str, Any]  # From the names of the flags that were given to absl's flags.
    values: Mapping[str, Any]  # Of all flags.


class _Flags:
    """The functions of `absl.flags`, which define flags that are not this process' own."""

    def __init__(self) -> None:
        self.values = flags.FlagValues()

    def __getattr__(self, name: str) -> Any:
        found = getattr(flags, name)
        return functools.partial(found, flag_values=self.values) if name.startswith("DEFINE") else found


def run_sweep(values: Mapping[str, Any], name: str | None, passed: Sequence[str]) -> str:
    """Runs the sweep, or writes its table."""
    if values["table"]:
        return _said(Sweep.read(values["logdir"]))
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name or "", EXPERIMENTS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"Expected an experiment first: one of {', '.join(EXPERIMENTS)}. Received: {name or 'none'}.{hint}"
        )
    plan = _plan(values, name, passed)
    _check_settings(plan)
    registered = [f"--register={path}" for path in values["register"]]
    commands = functools.partial(_commands, name, plan.flags, registered)
    state = sweep(plan, values["logdir"], commands, parallel=values["parallel"], resume=values["resume"])
    sys.stdout.write(_said(state) + "\n")
    check_succeeded([run.log for run in state.every_run() if state.state(run) == "failed"])
    return ""


def _said(state: Sweep) -> str:
    return f"{write_table(state)}\n\nWritten to {state.directory}"


def _plan(values: Mapping[str, Any], name: str, passed: Sequence[str]) -> Plan:
    """Makes the plan of the flags' values. The flags after -- are only parsed: they need those of a setting."""
    if not (seeds := command.seeds(values)):
        raise ValueError("Expected at least one seed. Received: --seeds=")
    experiment, given, _ = _parse(name, passed)
    if own := [flag for flag in _OWN if flag in given]:
        raise ValueError(
            f"Expected no flag that the sweep itself sets ({', '.join(_OWN)}) after --. Received: --{own[0]}"
        )
    found: dict[str, Any] = {}
    for option in ("values", "range", "log_range"):
        for text in values[option]:
            flag, colon, rest = text.partition(":")
            # The items of a list have commas between them.
            items = tuple(filter(None, rest.split(";" if ";" in rest else ",")))
            if not colon or not flag or not items or (option != "values" and len(items) not in (2, 3)):
                form = (
                    "FLAG:VALUE,VALUE,..." if option == "values" else "FLAG:LEAST,GREATEST or FLAG:LEAST,GREATEST,STEP"
                )
                raise ValueError(f"Expected --{option}={form}. Received: --{option}={text}")
            if flag in (*_OWN, *given, *found):
                where = "the sweep itself" if flag in _OWN else "another flag"
                raise ValueError(f"Expected a flag that {where} does not set. Received: --{option}={text}")
            if option == "values":
                found[flag] = tuple(dict.fromkeys(items))
            else:
                found[flag] = _range(name, experiment, flag, items, option)
    ranges = {flag: one for flag, one in found.items() if isinstance(one, Range)}
    if ranges and not values["trials"]:
        raise ValueError("Expected --trials, the number of settings to draw, with ranges. Received: none")
    if values["trials"] and not found:
        raise ValueError("Expected --values, --range or --log_range to draw from with --trials. Received: none")
    choices = {flag: items for flag, items in found.items() if flag not in ranges}
    return Plan(name, tuple(passed), choices, ranges, values["trials"], seeds)


def _range(name: str, experiment: command.Experiment, flag: str, items: Sequence[str], option: str) -> Range:
    numbers = {
        field.flag_name: field
        for field in experiment.chosen
        if field.kind in (int, float) and not field.repeated and field.flag_name not in _OWN
    }
    text = f"--{option}={flag}:{','.join(items)}"
    if flag not in numbers:
        raise ValueError(f"Expected a number of maml-tf {name}: one of {', '.join(numbers)}. Received: {text}")
    least, greatest = (numbers[flag].parse(item) for item in items[:2])
    if not least < greatest or (option == "log_range" and least <= 0):
        sign = "0 < " if option == "log_range" else ""
        raise ValueError(f"Expected {sign}LEAST < GREATEST. Received: {text}")
    whole, step = numbers[flag].kind is int, items[2] if items[2:] else "1"
    if items[2:] and not (whole and option == "range" and step.isdecimal() and 0 < int(step) <= greatest - least):
        raise ValueError(
            f"Expected whole numbers of --range with a STEP of 1 to GREATEST - LEAST, or no STEP. Received: {text}"
        )
    # The last number that is steps away from the least is the greatest that is drawn.
    greatest -= (greatest - least) % int(step) if whole else 0
    return Range(least, greatest, whole, option == "log_range", int(step))


def _check_settings(plan: Plan) -> None:
    """Checks the settings of a grid, or some of those that a search may draw."""
    for setting in plan.grid() if plan.trials is None else _corners(plan):
        for seed in plan.seeds:
            try:
                config = _configure(plan.experiment, [*plan.flags, *flags_of(setting), f"--seed={seed}"])
            except ValueError as error:
                hint = ". A range of which not all numbers fit needs a step: --range=FLAG:LEAST,GREATEST,STEP"
                raise ValueError(f"{error}{hint if any(one.whole for one in plan.ranges.values()) else ''}") from error
            methods = getattr(config, "methods", ())
            if plan.trials and len(methods) > 1:
                raise ValueError(
                    "Expected one method a run with --trials: its value on the validation tasks decides what is drawn. "
                    f"Received: {', '.join(methods)}"
                )


def _corners(plan: Plan) -> list[Setting]:
    """Lists settings of a search in which each value, each end of a range, and one whole number inside occurs."""
    ranges = {
        flag: [str(number) for number in (one.least, one.greatest, *[one.least + one.step] * one.whole)]
        for flag, one in plan.ranges.items()
    }
    choices = {**plan.values, **ranges}
    longest = max(map(len, choices.values()))
    return [{flag: texts[min(i, len(texts) - 1)] for flag, texts in choices.items()} for i in range(longest)]


def _parse(name: str, arguments: Sequence[str]) -> _Parsed:
    """Parses an experiment's flags; a ValueError says that there is no such flag, or that it has another type."""
    own = _Flags()
    found = importlib.import_module(f"maml_tf.commands.{name}").define(own, arguments)
    try:
        left = own.values(["", *arguments])[1:]
        if left:
            raise ValueError(f"Expected flags alone, each with two dashes. Received: {' '.join(left)}")
    except (flags.Error, ValueError) as error:
        raise ValueError(f"maml-tf {name} {' '.join(arguments)}: {error}") from error
    given = {flag: own.values[flag] for flag in own.values if own.values[flag].present}
    return _Parsed(found, given, own.values.flag_values_dict())


def _configure(name: str, arguments: Sequence[str]) -> Configuration:
    """Makes the configuration of all of a run's flags; a ValueError says which value is wrong, or which do not fit."""
    experiment, _, values = _parse(name, arguments)
    try:
        return experiment.configure(values)
    except ValueError as error:
        raise ValueError(f"maml-tf {name} {' '.join(arguments)}: {error}") from error


def _commands(
    name: str,
    of_all: Sequence[str],
    registered: Sequence[str],
    arguments: Sequence[str],
    folder: pathlib.Path,
    resume: bool,
) -> list[list[str]]:
    """Returns Python's arguments for each process of a run; a ValueError says why its flags do not go together."""
    program = ["-m", "maml_tf", name.replace("_", "-"), *registered, f"--logdir={folder}"]
    flags_of_run = [*of_all, *arguments]
    _configure(name, flags_of_run)
    experiment, given, _ = _parse(name, flags_of_run)
    training = [*program, *flags_of_run, *(["--resume"] if resume else [])]
    if not experiment.test_apart:
        return [training]
    # The test takes its settings from the training.
    settings = {field.flag_name for field in experiment.chosen} | {"preset"}
    others = [text for flag, one in given.items() if flag not in settings for text in one.serialize().split("\n")]
    return [training, [*program, *others, "--mode=evaluate"]]


def main() -> None:
    """Runs the command."""
    own, passed = sys.argv[1:], []
    if "--" in own:
        own, passed = own[: own.index("--")], own[own.index("--") + 1 :]
    name = own.pop(0).replace("-", "_") if own and not own[0].startswith("-") else None
    sys.argv[1:] = own
    flags.DEFINE_string("logdir", "runs/sweep", "Directory of all runs and of the table.")
    flags.DEFINE_list("seeds", ["1"], "Seeds, separated by commas. Every setting is run once from each seed.")
    flags.DEFINE_multi_string(
        "values",
        [],
        "Flag of the experiment and the values to run it with, as in inner_steps:1,5. Where a value has commas itself, "
        "separate the values by semicolons, in quotes: --values='evaluation_shots:5,10;20'.",
    )
    flags.DEFINE_multi_string(
        "range",
        [],
        "Flag of the experiment and the least and greatest number that Optuna may draw, as in inner_steps:1,5. Whole "
        "numbers may have a step, counted from the least: iterations:1000,2600,500 draws 1000, 1500, 2000 or 2500. "
        "Needs --trials.",
    )
    flags.DEFINE_multi_string(
        "log_range",
        [],
        "Like --range, on a logarithmic scale: for numbers such as learning rates, as in inner_learning_rate:0.001,1.",
    )
    flags.DEFINE_integer(
        "trials",
        None,
        "Number of settings that Optuna draws. Without --trials, all combinations of --values are run.",
        lower_bound=1,
    )
    flags.DEFINE_integer("parallel", 1, "Number of runs at the same time.", lower_bound=1)
    flags.DEFINE_bool(
        "resume", False, "Whether to go on with the sweep in --logdir; what is finished is not run again."
    )
    flags.DEFINE_bool("table", False, "Whether to write the table of the sweep in --logdir as it is now, and no more.")
    command.run(__doc__, functools.partial(run_sweep, name=name, passed=passed), tensorflow=False)
