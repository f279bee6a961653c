"""A comparison of methods under one setting: each trained and tested in a process of its own, from several seeds."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maml_tf.configuration import differences, from_dict, settings, to_dict
from maml_tf.experiments.classification.config import ClassificationConfig, make_config, presets
from maml_tf.experiments.common.runs import USAGE, Job, check_succeeded, make_runs, open_runs
from maml_tf.files import read_json, write_atomically
from maml_tf.methods import label, names
from maml_tf.plotting import method_comparison, save
from maml_tf.results import CONFIG, RESULTS, TRAINING_RECORD, read_rows
from maml_tf.tables import markdown

# From method and seed to the name of the preset and the configuration.
Planned = dict[tuple[str, int], tuple[str, ClassificationConfig]]
COMPARISON = "comparison.json"
# What a method is not itself without; the rest it takes from the preset. Both need several steps, implicit MAML to come
# near its inner minimum; its validation accuracy was 64 % with weight 0.5 and 54 % with 2.
OWN = {
    "implicit_maml": {"inner_steps": 8, "evaluation_steps": 8, "proximal_weight": 0.5},
    "reptile": {"inner_steps": 5, "evaluation_steps": 5},
}
_HEAD = ("method", "accuracy, %", "seeds", "training, s", "CPU, s", "peak memory, MiB")


def configurations(
    dataset: str, preset: str, methods: Sequence[str], seeds: Sequence[int], common: Mapping[str, Any]
) -> Planned:
    """Makes the configurations of a comparison.

    Args:
        dataset: Name of a registered data set.
        preset: One of its presets; a method that has one of its own, `<preset>_<method>`, takes that.
        methods: Names of methods, or "all".
        seeds: A seed each.
        common: Fields of the configuration that all methods share.

    Returns:
        From method and seed to the name of the preset and the configuration.

    Raises:
        ValueError: If a name is unknown or a value out of range.
    """
    known = names("classification")
    if unknown := [method for method in methods if method not in (*known, "all")]:
        raise ValueError(f"Expected methods of {list(known)}, or all. Received: {unknown[0]!r}")
    methods = known if "all" in methods else tuple(dict.fromkeys(methods))
    if not methods or not seeds:
        raise ValueError(f"Expected at least one method and one seed. Received: methods={methods}, seeds={seeds}")
    found = {}
    for method in methods:
        own = f"{preset}_{method}" if f"{preset}_{method}" in presets(dataset) else preset
        for seed in dict.fromkeys(seeds):
            fields = {**OWN.get(method, {}), **common, "method": method, "seed": seed}
            found[method, seed] = own, make_config(dataset, own, **fields)
    return found


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a run measured of a method, as comparison.json holds it under "runs".

    Attributes:
        method: What the rows of the results call the method.
        seed: The seed.
        accuracy: After the last step on the test tasks, in [0, 1].
        ci95: Half-width of its 95 % interval over the tasks.
        seconds: Of the training.
        cpu_seconds: Of the training.
        peak_mebibytes: The most memory that the training held.
        setting: From each field of the configuration on which results depend to its value.
    """

    method: str
    seed: int
    accuracy: float
    ci95: float
    seconds: float
    cpu_seconds: float
    peak_mebibytes: float
    setting: Mapping[str, Any]

    @property
    def run(self) -> tuple[str, int]:
        """The method and the seed of the training; baselines measure other methods beside theirs."""
        return self.setting["method"], self.setting["seed"]


def compare(
    planned: Callable[[Sequence[str], Sequence[int]], Planned],
    methods: Sequence[str],
    seeds: Sequence[int],
    logdir: str | os.PathLike[str],
    program: Sequence[str],
) -> str:
    """Trains and tests what is not there yet, and writes comparison.md, comparison.json and comparison.png.

    A run lies in `<logdir>/<method>/seed<seed>`, with what it said in log.txt; one that comparison.json holds needs no
    folder. A comparison that was stopped goes on where it was. A run that fails is no reason to stop.

    Args:
        planned: `configurations`, of all but the methods and the seeds.
        methods: Names of methods, or "all".
        seeds: A seed each.
        logdir: Directory of all runs; created if need be.
        program: What Python runs for each: the few-shot command, and flags that all runs take.

    Returns:
        The table, in Markdown, of these runs and of all others in comparison.json.

    Raises:
        ValueError: If a run fails, or the directory holds runs of another setting.
    """
    runs = planned(methods, seeds)
    with open_runs(logdir) as directory:
        held = _held(directory / COMPARISON, planned)
        done = {one.run for one in held}
        folders = {key: directory / key[0] / f"seed{key[1]}" for key in runs if key not in done}
        for key, folder in folders.items():
            if (folder / CONFIG).exists():
                _check_same(str(folder), read_json(folder / CONFIG), runs[key][1])
        jobs = [
            Job(folder, functools.partial(_commands, folder, *runs[key], program))
            for key, folder in folders.items()
            if not (folder / RESULTS).exists()
        ]
        try:
            failed = make_runs(jobs)
        finally:
            for key, folder in folders.items():
                held += _measured(folder, runs[key][1]) if (folder / RESULTS).exists() else []
            table = _write(directory, held)
    check_succeeded(failed)
    return table


def _held(path: pathlib.Path, planned: Callable[[Sequence[str], Sequence[int]], Planned]) -> list[Measured]:
    """Reads the runs of a comparison.json, and checks that they have the planned setting."""
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # At first the file was a list, of the table's lines alone.
        held = [] if isinstance(content, list) else [Measured(**one) for one in content["runs"]]
        for one in held:
            method, seed = one.run
            _check_same(f"{method}, seed {seed}", one.setting, planned([method], [seed])[method, seed][1])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected a comparison.json of this program. Received: {str(path)!r}: {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return held


def _check_same(where: str, stored: Mapping[str, Any], config: ClassificationConfig) -> None:
    stored = from_dict(ClassificationConfig, stored).results_identity()
    if differ := differences(stored, config.results_identity()):
        raise ValueError(
            f"Expected a --logdir without runs of another setting. Received: {where!r}, which differs in {differ}"
        )


def _measured(folder: pathlib.Path, config: ClassificationConfig) -> list[Measured]:
    """Reads what a run measured of each method: the last step's accuracy."""
    used, record = read_json(folder / USAGE), folder / TRAINING_RECORD
    seconds = read_json(record)["seconds"] if record.exists() else 0.0
    rows = sorted((row for row in read_rows(folder / RESULTS) if row.metric == "accuracy"), key=lambda row: row.step)
    return [
        Measured(row.method, config.seed, row.mean, row.ci95, seconds, **used, setting=config.results_identity())
        for row in {row.method: row for row in rows}.values()
    ]


def _commands(
    folder: pathlib.Path, preset: str, config: ClassificationConfig, program: Sequence[str], resume: bool
) -> list[list[str]]:
    """Returns Python's arguments for the training and for the test."""
    defaults = to_dict(make_config(config.dataset, preset))
    fields = settings(ClassificationConfig)
    changed = {name: value for name, value in to_dict(config).items() if value != defaults[name] and value is not None}
    flags = [f"--{fields[name].flag_name}={_text(value)}" for name, value in changed.items() if name != "dataset"]
    common = [*program, f"--dataset={config.dataset}", f"--logdir={folder}"]
    test = [flag for flag in flags if flag.partition("=")[0] in ("--data_dir", "--cache_dir")]
    return [
        [*common, f"--preset={preset}", *flags, *(["--resume"] if resume else [])],
        [*common, "--mode=evaluate", *test],
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write(directory: pathlib.Path, measured: Iterable[Measured]) -> str:
    measured = sorted(measured, key=lambda one: one.seed)
    lines = _lines(measured)
    table = _table(lines)
    content = {"lines": lines, "runs": [dataclasses.asdict(one) for one in measured]}
    write_atomically(directory / COMPARISON, json.dumps(content, indent=1) + "\n")
    write_atomically(directory / "comparison.md", table + "\n")
    if lines:
        save(method_comparison({line["method"]: line["accuracies"] for line in lines}), directory / "comparison.png")
    return table


def _lines(measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Returns a line of the table for each method measured, the best first."""
    by_method: dict[str, list[Measured]] = {}
    for one in measured:
        by_method.setdefault(one.method, []).append(one)
    lines = [
        {
            "method": method,
            "label": label(method),
            "accuracies": [one.accuracy for one in runs],
            "ci95": [one.ci95 for one in runs],
            **{name: float(np.mean([getattr(one, name) for one in runs])) for name in ("seconds", "cpu_seconds")},
            "peak_mebibytes": max(one.peak_mebibytes for one in runs),
        }
        for method, runs in by_method.items()
    ]
    return sorted(lines, key=lambda line: -np.mean(line["accuracies"]))


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = [_HEAD]
    for line in lines:
        percent = [100 * value for value in line["accuracies"]]
        spread = (
            f"({min(percent):.1f} to {max(percent):.1f})" if len(percent) > 1 else f"+- {100 * line['ci95'][0]:.1f}"
        )
        numbers = [f"{line[key]:.0f}" for key in ("seconds", "cpu_seconds", "peak_mebibytes")]
        rows.append([line["label"], f"{np.mean(percent):.1f} {spread}", str(len(percent)), *numbers])
    return markdown(rows)
