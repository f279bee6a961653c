"""Sweep: what is known of a sweep, kept in a file so that a stopped sweep goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from maml_tf.configuration import differences
from maml_tf.experiments.common.runs import LOG
from maml_tf.experiments.sweep.plan import Plan, Setting, flags_of
from maml_tf.files import read_json, write_atomically
from maml_tf.results import RESULTS, VALIDATION

SWEEP = "sweep.json"  # In the directory of a sweep.
_LONGEST_NAME = 100


class Run(NamedTuple):
    """A run of a sweep.

    Attributes:
        folder: Its folder.
        setting: Its setting.
        seed: Its seed.
    """

    folder: pathlib.Path
    setting: Setting
    seed: int

    @property
    def log(self) -> pathlib.Path:
        """The file of what it said."""
        return self.folder / LOG

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
        return [Run(self.directory / name / f"seed{seed}", setting, seed) for seed in self.seeds]

    def state(self, run: Run) -> str:
        """Returns "finished", "failed", "stopped", "running" (so too where the sweep was killed) or "waiting".

        A run whose results were deleted is "waiting" again.
        """
        noted = self._content["runs"].get(self._key(run.folder), {}).get("state", "waiting")
        return "waiting" if noted == "finished" and not (run.folder / RESULTS).exists() else noted

    def note(self, folder: pathlib.Path, state: str) -> None:
        """Writes what has become of the run in a folder."""
        self._content["runs"][self._key(folder)] = {"state": state}
        self.write()

    def _key(self, folder: pathlib.Path) -> str:
        return folder.relative_to(self.directory).as_posix()

    def add(self, setting: Setting) -> None:
        """Adds a setting of a search."""
        self.settings.append(setting)
        self.write()

    def write(self) -> None:
        """Writes the file."""
        write_atomically(self.directory / SWEEP, json.dumps(self._content, indent=1) + "\n")

    def every_run(self) -> list[Run]:
        """Lists the runs of all settings that are known."""
        return [run for number in range(len(self.settings)) for run in self.runs(number)]

    def validation(self, number: int) -> tuple[float | None, str]:
        """Returns the mean over the seeds of the best value in validation, and whether less ("min") is better.

        The value is None where a run has not finished.

        Raises:
            ValueError: If a finished run has no value in validation, or several.
        """
        found = []
        for run in self.runs(number):
            if self.state(run) != "finished":
                return None, "min"
            files = [*run.folder.glob(VALIDATION), *run.folder.glob(f"*/{VALIDATION}")]
            if len(files) != 1:
                raise ValueError(
                    f"Expected every run of a search to write one {VALIDATION}, by which the next setting is drawn: "
                    "one method a run, and one that is trained and validated. "
                    f"Received: {len(files)} in {str(run.folder)!r}"
                )
            found.append(read_json(files[0]))
        return float(np.mean([one["value"] for one in found])), found[0]["mode"]


def _name(setting: Setting) -> str:
    """Returns the folder of a setting: its flags where they can be one."""
    name = ",".join(f"{flag}={text}" for flag, text in setting.items())
    if len(name) <= _LONGEST_NAME and re.fullmatch(r"[\w.,=+-]*", name):
        return name
    return f"setting_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
