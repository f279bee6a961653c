"""Files of a training that are cut, changed or gone, and disks that are full: the same bits, or one clear error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import tempfile
from typing import Any

from maml_tf.experiments.common.binary import answer_of
from maml_tf.experiments.sinusoid import evaluate
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from tests.campaign.counts import Counts, received
from tests.campaign.kills import bits, differing

SETTINGS = dict(
    iterations_per_call=10, validation_tasks=8, test_tasks=8, grid_points=10, evaluation_shots=(5,),
    evaluation_steps=1, hidden=(4,), meta_batch_size=4, checkpoint_seconds=0.0,
)  # fmt: skip
CONFIG = SinusoidConfig(iterations=20, **SETTINGS)


@contextlib.contextmanager
def files_of_at_most(size: int):
    """A disk with room for no file larger than `size`: writing more is an error, as on a full one.

    What is printed meanwhile may go to a file too, and is left out.
    """
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def cut(path: pathlib.Path, draw: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: pathlib.Path, draw: random.Random) -> None:
    os.truncate(path, 0)


def flipped(path: pathlib.Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def deleted(path: pathlib.Path, draw: random.Random) -> None:
    path.unlink()


FAULTS = (cut, emptied, flipped, deleted)


def run(options: Any) -> Counts:
    counts, draw = Counts("disk"), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        evaluate.run(CONFIG, folder / "whole", False)
        whole = bits(folder / "whole")
        files = sorted(path.relative_to(folder / "whole") for path in (folder / "whole").rglob("*") if path.is_file())
        files = [path for path in files if path.suffix not in (".png", "") or path.name == "checkpoint"]
        files = [path for path in files if "tfevents" not in path.name]
        for path in files:
            for fault in FAULTS:
                logdir = folder / "faulty"
                shutil.copytree(folder / "whole", logdir)
                fault(logdir / path, draw)
                resumed(counts, f"{path} {fault.__name__}", logdir, whole)
                shutil.rmtree(logdir)
        for size in (0, 100, 1000, 3000, 10_000):
            logdir = folder / "full"
            with files_of_at_most(size):
                result, error = received(lambda: evaluate.run(CONFIG, logdir, False))  # noqa: B023
            case = f"no room for more than {size} bytes"
            if error is None:
                counts.add("silent", case, result)
            elif (line := answer_of(error)) and str(logdir) in line and "node" not in line:
                counts.add("clear_error", case)  # What the binaries show: a line that names the file.
            else:
                counts.error(case, error)
            # Room was made.
            resumed(counts, f"{case}, then resumed", logdir, whole)
            shutil.rmtree(logdir)
        for case, logdir in (("a file", folder / "file"), ("of a read-only system", pathlib.Path("/proc/run"))):
            (folder / "file").write_text("")
            result, error = received(lambda: evaluate.run(CONFIG, logdir, False))  # noqa: B023
            if error is None:
                counts.add("silent", f"logdir {case}", result)
            else:
                counts.error(f"logdir {case}", error)
    return counts


def resumed(counts: Counts, case: str, logdir: pathlib.Path, whole: dict[str, Any]) -> None:
    _, error = received(lambda: evaluate.run(CONFIG, logdir, True))
    if error is not None:
        counts.error(case, error)
        return
    different = differing(whole, bits(logdir))
    rows = json.loads((logdir / "results.json").read_text())["rows"]
    counts.add("bits" if different else "right", case, f"{different[:4]} of {len(whole)}; {len(rows)} rows")
