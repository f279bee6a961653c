"""Trains the sinusoid binary with one, two and four workers of this machine, kills them, and compares bits.

    python -m tests.several_workers [--iterations=600]

Prints a row for each training: what was done to it, how its workers ended and in how many seconds after the signal,
what the chief said last, and in how many of the checkpoint's values it differs from one worker's. Fails where a bit
differs, a worker ends with another code than expected, or takes over a minute.

Takes ten minutes on two busy cores.
"""

import argparse
import pathlib
import signal
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

from tests.support import workers
from tests.support.source_tree import PROJECT

_LONGEST_SECONDS = 60.0


class Trainings:
    """Trainings of one configuration in folders of their own."""

    def __init__(self, folder: pathlib.Path, iterations: int):
        self.folder = folder
        self.iterations = iterations
        self.failed = False
        self.whole = None

    def run(self, title, count, *, name=None, killed=(), number=None, more=(), codes=None, flags=()):
        """Runs workers, sends those `killed` a signal in mid-run, and prints the row."""
        logdir = self.folder / (name or title)
        logs = self.folder / f"{len(list(self.folder.iterdir()))}_logs"
        logs.mkdir()
        processes = workers.start(
            count, [self._arguments(logdir, *more, *flags[k : k + 1]) for k in range(count)], logs
        )
        begin = time.monotonic()
        if number:
            self._await_iterations(logs / "err0", processes)
            begin = time.monotonic()
            for k in killed:
                processes[k].send_signal(number)
                time.sleep(0.3)
        # A worker that has stopped with the others may meet its own signal at its very end.
        ended = [143 if code == -signal.SIGTERM else code for code in workers.wait(processes)]
        seconds = time.monotonic() - begin
        last = [line for line in (logs / "err0").read_text().splitlines() if line.startswith(("Error", "Stopped"))]
        differing = "" if any(ended) else self._differing(logdir)
        expected = codes or [0] * count
        bad = ended != expected or differing not in ("", 0) or (number and seconds > _LONGEST_SECONDS)
        self.failed |= bool(bad)
        said = last[-1] if last else ""
        print(
            f"{'WRONG ' if bad else ''}{title:<44} {ended!s:<18} {seconds:6.1f} s  {differing!s:<3} {said[:150]}",
            flush=True,
        )

    def _arguments(self, logdir, *more):
        return [
            str(PROJECT / "bin" / "sinusoid.py"),
            f"--logdir={logdir}",
            f"--iterations={self.iterations}",
            f"--validate_every={self.iterations // 2}",
            "--validation_tasks=40",
            "--test_tasks=20",
            "--evaluation_shots=5",
            "--checkpoint_seconds=0",
            "--in_task_order",
            *more,
        ]

    def _await_iterations(self, log, processes):
        while "iteration " not in log.read_text() and all(process.poll() is None for process in processes):
            time.sleep(0.1)
        time.sleep(0.3)

    def _differing(self, logdir):
        reader = tf.train.load_checkpoint(str(logdir / "maml" / "checkpoints" / f"checkpoint-{self.iterations}"))
        names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
        values = {name: reader.get_tensor(name) for name in names if not name.startswith("save_counter")}
        if self.whole is None:
            self.whole = values
        return sum(not np.array_equal(value, self.whole[name]) for name, value in values.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=600, help="Iterations of each training, an even number.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainings = Trainings(pathlib.Path(folder), options.iterations)
        print(f"{'training':<36} {'exit codes':<18} {'ended in':>8}  differing values of the checkpoint, last words")
        for count in (1, 2, 4):
            trainings.run(f"{count} workers", count)
        resumed = dict(more=["--resume"])
        terms = dict(number=signal.SIGTERM, killed=[0, 1], codes=[143, 143])
        trainings.run("2 workers, SIGTERM to both", 2, name="term", **terms)
        trainings.run("the same with --resume", 2, name="term", **resumed)
        trainings.run("2 workers, SIGTERM to worker 1", 2, name="one", **{**terms, "killed": [1]})
        trainings.run("the same with --resume, 4 workers", 4, name="one", **resumed)
        for killed in (1, 0):
            codes = [-9 if k == killed else 1 for k in range(2)]
            name = f"kill{killed}"
            trainings.run(
                f"2 workers, SIGKILL to worker {killed}",
                2,
                name=name,
                number=signal.SIGKILL,
                killed=[killed],
                codes=codes,
            )
            trainings.run("the same with --resume", 2, name=name, **resumed)
        trainings.run("worker 1 with another number of shots", 2, flags=["--shots=10", "--shots=9"], codes=[1, 1])
    return int(trainings.failed)


if __name__ == "__main__":
    sys.exit(main())
