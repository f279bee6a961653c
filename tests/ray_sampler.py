"""Samples with Ray's actors and in this process, kills actors, trains and resumes with either, and compares bits.

    python -m tests.ray_sampler [--rollouts=20]

Needs the extra ray, which the tests' environment does not have. Prints a row for each comparison: how many numbers
differ from those of this process, and how many control steps a second are sampled. Fails where a number differs, a
killed actor's share does not come, or a fault does not come out as that fault.

Takes a few minutes on two cores.
"""

import argparse
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import tensorflow as tf

from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.experiments.meta_rl.config import preset
from maml_tf.experiments.meta_rl.methods import build_adaptation, build_collector
from maml_tf.rl.environments import PointNavigation
from maml_tf.rl.meta_policy import Estimation, Sampler
from maml_tf.rl.methods import build_environment, build_policy
from maml_tf.rl.policy import PurePolicy
from maml_tf.rl.ray_sampling import RayCollector
from maml_tf.rl.sampling import ProcessCollector
from tests.support.source_tree import PROJECT

_TIMES = 5
# Of what Ray would write to stderr.
_CLUTTER = ("raylet", "worker.py", "ray::", "Ray ", "Warning")


class Broken(PointNavigation):
    """An environment with a fault."""

    def _advance(self, actions, running):
        return super()._advance(actions, running)[0] / {}["a missing key"], running


def broken(config, simulations):
    environment = Broken(simulations)
    return ProcessCollector(environment, PurePolicy(build_policy("maml", config, environment)))


class Report:
    def __init__(self):
        self.failed = False
        print(f"{'':<44} {'numbers that differ':>20} {'control steps a second':>24}")

    def row(self, title, differing="", speed="", wrong=False):
        self.failed |= bool(wrong or differing)
        print(f"{'WRONG ' if wrong else ''}{title:<44} {differing!s:>20} {speed:>24}", flush=True)


def adapted(sampler, params, tasks, number):
    """Returns all numbers of two phases of rollouts and of the parameters between them, and the control steps."""
    phases, path = sampler.adapt(params, tasks, 1, (1, number))
    leaves = [leaf for phase in phases for leaf in phase.rollouts if leaf is not None]
    return [*leaves, *map(np.asarray, path[-1].values())], sum(phase.rollouts.steps for phase in phases)


def differing(found, expected):
    return sum(int(np.count_nonzero(~np.equal(*both))) for both in zip(found, expected, strict=True))


def actors():
    """Finds the processes of the actors, which Ray names; they descend from this process."""
    parents, named = {}, []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                named.append(int(folder.name))
        except OSError:  # It has ended.
            continue

    def descends(process):
        return process == os.getpid() or (process in parents and descends(parents[process]))

    return [process for process in named if descends(process)]


def compare(report, environment, rollouts):
    import ray

    config = preset(environment, rollouts=rollouts)
    count = config.meta_batch_size
    whole = build_environment("maml", config, count * rollouts)
    policy = PurePolicy(build_policy("maml", config, whole))
    adaptation, params = build_adaptation("maml", config, policy, 0.1), policy.parameters()
    tasks = whole.sample_tasks(count, 1)
    one = Sampler(whole, adaptation, Estimation())
    make = functools.partial(build_collector, "maml", config)
    expected = [adapted(one, params, tasks, number)[0] for number in range(_TIMES)]

    def measured(sampler):
        began = time.perf_counter()
        found = [adapted(sampler, params, tasks, number) for number in range(_TIMES)]
        seconds = time.perf_counter() - began
        wrong = sum(differing(leaves, expected[number]) for number, (leaves, _) in enumerate(found))
        return wrong, f"{sum(steps for _, steps in found) / seconds:,.0f}"

    report.row(f"{environment}, this process", *measured(one))
    for workers in (1, 2):
        sampler = Sampler(whole, adaptation, Estimation(), RayCollector(whole, policy, make, workers=workers))
        adapted(sampler, params, tasks, 0)  # The actors build their environments.
        report.row(f"{environment}, {workers} actor{'s' * (workers > 1)}", *measured(sampler))
        if workers == 2:
            [victim, *_] = actors()
            threading.Timer(0.1, os.kill, (victim, signal.SIGKILL)).start()
            found, _ = adapted(sampler, params, tasks, 1)
            again = victim not in actors()
            report.row(f"{environment}, one of 2 killed", differing(found, expected[1]), wrong=not again)
        ray.shutdown()


def faults(report):
    import ray

    config = preset("point_navigation")
    environment = build_environment("maml", config, 4)
    policy = PurePolicy(build_policy("maml", config, environment))
    collector = RayCollector(environment, policy, functools.partial(broken, config), workers=2)
    said = ""
    try:
        collector(policy.parameters(), (1,), own=False)
    except KeyError as error:
        said = str(error)
    right = "a missing key" in said and "in _advance" in said
    report.row("a fault comes out with its traceback", wrong=not right)
    ray.shutdown()


def trainings(report, folder):
    """Trains by the binary: in this process, with actors, and resumed with the others."""
    settings = [
        "--meta_batch_size=5", "--rollouts=4", "--evaluation_steps=2", "--evaluation_rollouts=3", "--test_tasks=3",
        "--validation_tasks=3", "--checkpoint_seconds=0",
    ]  # fmt: skip
    results, checkpoints = {}, {}
    actors = ["--sampler=ray", "--workers=3"]
    for name, parts in {
        "process": [["--iterations=4"]],
        "3 actors": [["--iterations=4", *actors]],
        "process, then 3 actors": [["--iterations=2"], ["--iterations=4", "--resume", *actors]],
        "3 actors, then process": [["--iterations=2", *actors], ["--iterations=4", "--resume"]],
    }.items():
        logdir, said = folder / name.replace(" ", "_"), ""
        for arguments in parts:
            command = [sys.executable, str(PROJECT / "bin/point_navigation.py"), f"--logdir={logdir}"]
            done = subprocess.run([*command, *settings, *arguments], capture_output=True, text=True, check=False)
            said += "".join(line for line in done.stderr.splitlines(True) if any(map(line.count, _CLUTTER)))
            if done.returncode:
                print(done.stderr)
        reader = tf.train.load_checkpoint(str(logdir / "maml" / "checkpoints" / "checkpoint-4"))
        names = [n for n in sorted(reader.get_variable_to_shape_map()) if not n.startswith(("save_counter", "_CHECK"))]
        checkpoints[name] = [reader.get_tensor(name) for name in names]
        results[name] = json.loads((logdir / "results.json").read_text())["rows"]
        same = results[name] == results["process"] and not said
        report.row(f"training, {name}", differing(checkpoints[name], checkpoints["process"]), wrong=not same)
        if said:
            print(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=20, help="Rollouts of a task.")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # As the commands do.
    report = Report()
    faults(report)
    for environment in ("point_navigation", "half_cheetah_velocity"):
        compare(report, environment, options.rollouts)
    with tempfile.TemporaryDirectory() as folder:
        trainings(report, pathlib.Path(folder))
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
