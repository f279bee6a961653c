"""The table of a sweep: mean and 95 % interval over the seeds of each setting."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maml_tf.experiments.sweep.state import Sweep
from maml_tf.files import read_json, write_atomically
from maml_tf.results import RESULTS, VALIDATION, read_rows
from maml_tf.tables import markdown

# The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


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


def table_lines(state: Sweep) -> list[dict[str, Any]]:
    """Returns the lines of the table, for each setting one of each method, number of shots and metric measured.

    A line has "number" (of the setting), "setting", "method", "shots", "metric"; "steps": from each number of inner
    steps to {"mean", "ci95", "values"}, the mean and the half-width of its 95 % interval (Student's t) over the seeds'
    values, None for one seed; the same of "validation", and of "cpu_seconds" of the whole run, with all of its methods;
    "seeds", those that finished; and "unfinished": from each other seed to its state and its log file. A setting of
    which nothing has finished has one line.
    """
    lines = []
    for number, setting in enumerate(state.settings):
        runs = state.runs(number)
        finished = [run for run in runs if state.state(run) == "finished"]
        unfinished = {
            run.seed: {"state": state.state(run), "log": str(run.log)} for run in runs if state.state(run) != "finished"
        }
        measured: dict[tuple[Any, ...], dict[int, list[float]]] = {}
        for run in finished:
            for row in read_rows(run.folder / RESULTS):
                measured.setdefault((row.method, row.shots, row.metric), {}).setdefault(row.step, []).append(row.mean)
        used = [
            round(sum(read_json(path)["cpu_seconds"] for path in run.folder.glob("*usage.json")), 1) for run in finished
        ]
        for (method, shots, metric), by_step in (measured or {(None, None, None): {}}).items():
            best = [
                read_json(path)["value"]
                for run in finished
                for path in (run.folder / (method or "") / VALIDATION, run.folder / VALIDATION)
                if path.exists()
            ]
            lines.append(
                {
                    "number": number,
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
    >>> from maml_tf.experiments.sweep.table import over_seeds
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
    """Formats the lines of a table in Markdown: those of each setting's first metric, after 0, 1 and the last step.

    The CPU seconds of a run stand in the first of its setting's rows alone: they are those of all of its methods.
    """
    first: dict[int, Mapping[str, Any]] = {}
    for line in lines:
        first.setdefault(line["number"], line)
    shown = [line for line in lines if line["metric"] == first[line["number"]]["metric"]]
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
                *(_cell(one) for one in (steps.get(0), steps.get(1), last, line["validation"])),
                _cell(line["cpu_seconds"]) if line is first[line["number"]] else "",
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


def _without_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
