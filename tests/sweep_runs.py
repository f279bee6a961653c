"""Runs sweeps of the sinusoid experiment, stops, kills and resumes them, and compares bits; then looks at TensorBoard.

    python -m tests.sweep_runs [--iterations=2000]

Prints a row for each sweep: what was done to it, its exit code, the seconds until all of its runs had ended after a
signal, what it said last, and how many values of the runs' last checkpoints and results differ from those of the sweep
that was left alone. Fails where one differs, an exit code is another than expected, a run that fails is not in the
table, or TensorBoard lacks a run, its settings or a final metric.

Takes five minutes on two cores.
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy as np
import tensorflow as tf

from maml_tf.results import read_rows
from tests.support.source_tree import PROJECT
from tests.tensorboard_pages import tensorboard

RATES, SEEDS = ("0.001", "0.01"), (1, 2)
FOLDERS = [f"inner_learning_rate={rate}/seed{seed}" for rate in RATES for seed in SEEDS]
METRICS = [f"test/mse/step_{step}" for step in (0, 1, 3)]


class Sweeps:
    """Sweeps of one plan in folders of their own."""

    def __init__(self, folder, iterations):
        self.folder, self.iterations, self.failed, self.whole = folder, iterations, False, None

    def start(self, logdir, *more, values="0.001,0.01", parallel=2):
        command = [
            sys.executable, str(PROJECT / "bin" / "sweep.py"), "sinusoid", f"--seeds={','.join(map(str, SEEDS))}",
            f"--values=inner_learning_rate:{values}", f"--parallel={parallel}", f"--logdir={logdir}", *more,
            "--", f"--iterations={self.iterations}", f"--validate_every={self.iterations // 10}",
            "--validation_tasks=40", "--test_tasks=20", "--evaluation_shots=5", "--evaluation_steps=3",
            "--checkpoint_seconds=0",
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT)

    def run(self, title, name, *more, number=None, code=0, **options):
        logdir = self.folder / name
        process = self.start(logdir, *more, **options)
        seconds = 0.0
        if number:
            while not all(self._iterations(logdir / one) for one in FOLDERS[:2]) and process.poll() is None:
                time.sleep(0.05)
            began = time.monotonic()
            process.send_signal(number)
            process.wait()
            while self._alive(logdir):
                time.sleep(0.05)
            seconds = time.monotonic() - began
        said, errors = process.communicate()
        differing = self._differing(logdir) if not number and not code else ""
        bad = process.returncode != code or differing not in ("", 0)
        self.failed |= bool(bad)
        last = ([line for line in errors.splitlines() if line.startswith(("Error", "Stopped"))] or [""])[-1]
        title = f"{'WRONG ' if bad else ''}{title}"
        print(f"{title:<42} {process.returncode:>4} {seconds:6.1f} s  {differing!s:<3} {last[:170]}", flush=True)
        return said

    def check(self, claim, holds):
        self.failed |= not holds
        print(f"{'' if holds else 'WRONG '}{claim}: {holds}", flush=True)

    def _iterations(self, folder):
        return list((folder / "maml" / "checkpoints").glob("checkpoint-*.index"))

    def _alive(self, logdir):
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return any(f"--logdir={logdir}/" in line for line in listed.splitlines())

    def _differing(self, logdir):
        found = {}
        for name in (one for one in FOLDERS if (logdir / one).exists()):
            path = logdir / name / "maml" / "checkpoints" / f"checkpoint-{self.iterations}"
            reader = tf.train.load_checkpoint(str(path))
            for key in set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
                if not key.startswith("save_counter"):
                    found[name, key] = reader.get_tensor(key)
            for row in read_rows(logdir / name / "results.json"):
                found[name, row.shots, row.metric, row.step] = np.array([row.mean, row.sd, row.median])
        if self.whole is None:
            self.whole = found
        return sum(not np.array_equal(value, self.whole[key]) for key, value in found.items()) if found else "none"


def hparams(address):
    """Returns what TensorBoard's HParams shows: from each run's rate and seed to its metrics."""
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
        "colParams": [{"hparam": name} for name in ("inner_learning_rate", "seed")],
        "startIndex": 0,
        "sliceSize": 100,
    }
    request = urllib.request.Request(
        f"{address}data/plugin/hparams/session_groups", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    groups = json.loads(urllib.request.urlopen(request, timeout=60).read())["sessionGroups"]
    return {
        (group["hparams"]["inner_learning_rate"], group["hparams"]["seed"]): {
            one["name"]["tag"]: one["value"] for one in group["metricValues"]
        }
        for group in groups
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=2000, help="Iterations of a run, a multiple of 10.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweeps = Sweeps(pathlib.Path(folder), options.iterations)
        print(f"{'sweep':<42} {'code':>4} {'ended in':>8}  differing values, last words")
        print(sweeps.run("left alone", "whole"))
        first = dict(values=RATES[0])
        for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            name = signal.Signals(number).name
            sweeps.run(f"{name}, two runs at once", name, number=number, code=code, **first)
            sweeps.run("the same with --resume", name, "--resume", **first)
        sweeps.run("the same again: nothing to do", name, "--resume", **first)
        said = sweeps.run("a rate with which it diverges", "fails", values="1e30", code=1)
        print(said)
        logs = [sweeps.folder / "fails" / "inner_learning_rate=1e30" / f"seed{seed}" / "log.txt" for seed in SEEDS]
        sweeps.check("failed runs are in the table with their logs", all(f"failed: {log}" in said for log in logs))
        with tensorboard(sweeps.folder / "whole") as address:
            shown = hparams(address)
        runs = {(float(rate), float(seed)) for rate in RATES for seed in SEEDS}
        sweeps.check("TensorBoard shows each run with its settings", set(shown) == runs)
        final = all(set(METRICS) <= set(metrics) for metrics in shown.values())
        sweeps.check(f"and with {len(METRICS)} final metrics", final)
        rows = {
            (rate, seed): {
                f"test/mse/step_{row.step}": row.mean
                for row in read_rows(
                    sweeps.folder / "whole" / f"inner_learning_rate={rate}/seed{seed}" / "results.json"
                )
                if row.metric == "mse"
            }
            for rate in RATES
            for seed in SEEDS
        }
        same = all(
            np.isclose(shown[float(rate), float(seed)][tag], values[tag], rtol=1e-6)
            for (rate, seed), values in rows.items()
            for tag in METRICS
        )
        sweeps.check("which are those of results.json", same)
    return int(sweeps.failed)


if __name__ == "__main__":
    sys.exit(main())
