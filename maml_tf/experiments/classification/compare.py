"""A comparison of methods under one setting: each trained and tested in a process of its own, from several seeds."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
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

# What a method is not itself without: others take the preset's numbers of steps.
OWN = {
    "implicit_maml": {"inner_steps": 8, "evaluation_steps": 8},
    "reptile": {"inner_steps": 5, "evaluation_steps": 5},
}
_HEAD = ("method", "accuracy, %", "seeds", "training, s", "CPU, s", "peak memory, MiB")


def configurations(
    dataset: str, preset: str, methods: Sequence[str], seeds: Sequence[int], common: Mapping[str, Any]
) -> dict[tuple[str, int], tuple[str, ClassificationConfig]]:
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


def compare(
    runs: Mapping[tuple[str, int], tuple[str, ClassificationConfig]],
    logdir: str | os.PathLike[str],
    program: Sequence[str],
) -> str:
    """Trains and tests what is not there yet, and writes comparison.md, comparison.json and comparison.png.

    A run lies in `<logdir>/<method>/seed<seed>`, with what it said in log.txt. A comparison that was stopped goes on
    where it was. A run that fails is no reason to stop.

    Args:
        runs: From `configurations`.
        logdir: Directory of all runs; created if need be.
        program: What Python runs for each: the few-shot command, and flags that all runs take.

    Returns:
        The table, in Markdown.

    Raises:
        ValueError: If a run fails, or the directory holds runs of another setting.
    """
    with open_runs(logdir) as directory:
        folders = {key: directory / key[0] / f"seed{key[1]}" for key in runs}
        for key, folder in folders.items():
            _check_same(folder, runs[key][1])
        jobs = [
            Job(folder, functools.partial(_commands, folder, *runs[key], program))
            for key, folder in folders.items()
            if not (folder / RESULTS).exists()
        ]
        try:
            failed = make_runs(jobs)
        finally:
            table = _write(directory, _lines(folder for folder in folders.values() if (folder / RESULTS).exists()))
    check_succeeded(failed)
    return table


def _check_same(folder: pathlib.Path, config: ClassificationConfig) -> None:
    if not (folder / CONFIG).exists():
        return
    stored = from_dict(ClassificationConfig, read_json(folder / CONFIG))
    if differ := differences(stored.results_identity(), config.results_identity()):
        raise ValueError(
            f"Expected a --logdir without runs of another setting. Received: {str(folder)!r}, which differs in {differ}"
        )


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


def _write(directory: pathlib.Path, lines: Sequence[Mapping[str, Any]]) -> str:
    table = _table(lines)
    write_atomically(directory / "comparison.json", json.dumps(lines, indent=1) + "\n")
    write_atomically(directory / "comparison.md", table + "\n")
    if lines:
        save(method_comparison({line["method"]: line["accuracies"] for line in lines}), directory / "comparison.png")
    return table


def _lines(folders: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """Returns a line of the table for each method measured, the best first."""
    accuracies: dict[str, list[float]] = {}
    intervals: dict[str, list[float]] = {}
    folders_of: dict[str, list[pathlib.Path]] = {}
    for folder in folders:
        rows = [row for row in read_rows(folder / RESULTS) if row.metric == "accuracy"]
        for name in dict.fromkeys(row.method for row in rows):
            last = max((row for row in rows if row.method == name), key=lambda row: row.step)
            accuracies.setdefault(name, []).append(last.mean)
            intervals.setdefault(name, []).append(last.ci95)
            folders_of.setdefault(name, []).append(folder)
    lines = []
    for name in sorted(accuracies, key=lambda name: -np.mean(accuracies[name])):
        used = [read_json(folder / USAGE) for folder in folders_of[name]]
        records = [folder / TRAINING_RECORD for folder in folders_of[name]]
        seconds = [read_json(record)["seconds"] for record in records if record.exists()]
        lines.append(
            {
                "method": name,
                "accuracies": accuracies[name],
                "ci95": intervals[name],
                "seconds": float(np.mean(seconds)) if seconds else 0.0,
                "cpu_seconds": float(np.mean([one["cpu_seconds"] for one in used])),
                "peak_mebibytes": float(max(one["peak_mebibytes"] for one in used)),
            }
        )
    return lines


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = [_HEAD]
    for line in lines:
        percent = [100 * value for value in line["accuracies"]]
        spread = (
            f"({min(percent):.1f} to {max(percent):.1f})" if len(percent) > 1 else f"+- {100 * line['ci95'][0]:.1f}"
        )
        numbers = [f"{line[key]:.0f}" for key in ("seconds", "cpu_seconds", "peak_mebibytes")]
        rows.append([label(line["method"]), f"{np.mean(percent):.1f} {spread}", str(len(percent)), *numbers])
    return markdown(rows)
