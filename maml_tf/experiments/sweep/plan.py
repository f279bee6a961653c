"""Plan: what a sweep runs, the settings of a grid or of a search."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

# A setting: the values of the flags that differ between settings, as texts.
Setting = dict[str, str]


class Range(NamedTuple):
    """The values of a flag in a search.

    Attributes:
        least: The least.
        greatest: The greatest.
        whole: Whether they are whole numbers.
        log: Whether their logarithms are drawn uniformly.
        step: The distance of whole numbers, counted from the least; the greatest is one of them.
    """

    least: float
    greatest: float
    whole: bool = False
    log: bool = False
    step: int = 1


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
    >>> from maml_tf.experiments.sweep.plan import Plan
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
        # Without a step as sweeps were stored before there were steps.
        ranges = {flag: one if one.step > 1 else one[:-1] for flag, one in self.ranges.items()}
        searched = {"values": self.values, "ranges": ranges} if self.trials else {}
        kept = {"experiment": self.experiment, "flags": self.flags, "search": bool(self.trials), **searched}
        return json.loads(json.dumps(kept))


def flags_of(setting: Mapping[str, str]) -> list[str]:
    """Writes a setting as flags."""
    return [f"--{flag}={text}" for flag, text in setting.items()]
