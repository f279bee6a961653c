"""Trainings that are killed at random moments and resumed, and end with the bits of one that was never stopped."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import tempfile
import time
from typing import Any, NamedTuple

import h5py
import numpy as np
import tensorflow as tf

from tests.campaign.counts import Counts
from tests.support import binary
from tests.support.source_tree import PROJECT

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# What a killed process may exit with: as Python says it of a signal, or as a shell does.
CODES = {number: (-number, 128 + number) for number in SIGNALS}


class Training(NamedTuple):
    """A binary, small flags, and its part of the moments."""

    binary: str
    share: int
    flags: tuple[str, ...]


_META_RL = (
    "--meta_batch_size=2", "--rollouts=2", "--hidden=8", "--conjugate_gradient_iterations=2", "--evaluation_steps=1",
    "--evaluation_rollouts=2", "--test_tasks=2", "--validation_tasks=2", "--checkpoint_seconds=0", "--iterations=6",
    "--videos=none",
)  # fmt: skip
_IMAGES = (
    "--iterations=12", "--iterations_per_epoch=2", "--validate_every=4", "--validation_tasks=2", "--meta_batch_size=2",
    "--queries=1", "--evaluation_queries=1", "--test_tasks=2", "--inner_steps=1", "--evaluation_steps=1",
)  # fmt: skip
TRAININGS = (
    Training("sinusoid", 4, (
        "--iterations=2000", "--validate_every=50", "--validation_tasks=20", "--test_tasks=10",
        "--grid_points=20", "--evaluation_shots=5", "--evaluation_steps=2", "--checkpoint_seconds=0",
    )),
    Training("omniglot", 4, (
        *_IMAGES, f"--data_dir={PROJECT / 'testdata' / 'alphabet'}", "--split=alphabets", "--network=dense",
        "--cache_dir=CACHE",
    )),
    Training("mini_imagenet", 4, (
        *_IMAGES, f"--data_dir={PROJECT / 'testdata' / 'mini_imagenet'}", "--preset=5way_1shot_first_order_paper",
        "--filters=2", "--cache_dir=CACHE",
    )),
    Training("point_navigation", 8, tuple(flag for flag in _META_RL if flag != "--videos=none")),
    Training("half_cheetah", 4, ("--task=direction", *_META_RL)),
    Training("ant", 4, ("--task=direction", *_META_RL)),
)  # fmt: skip


def bits(logdir: pathlib.Path) -> dict[str, Any]:
    """Returns all that a training leaves: newest checkpoints, weights and rows of results, by name."""
    found = {}
    newest = {}
    for index in sorted(logdir.rglob("checkpoint-*.index"), key=lambda path: int(path.stem.rpartition("-")[2])):
        newest[index.parent] = index
    for index in newest.values():
        reader = tf.train.load_checkpoint(str(index.with_suffix("")))
        for name in reader.get_variable_to_shape_map():
            # How often it was saved is another number.
            if not name.startswith(("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")):
                found[f"{index.relative_to(logdir)}:{name}"] = reader.get_tensor(name)
    for path in sorted(logdir.rglob("*.weights.h5")):
        with h5py.File(path) as file:

            def keep(name, item, path=path):
                if isinstance(item, h5py.Dataset):
                    found[f"{path.relative_to(logdir)}:{name}"] = np.asarray(item)

            file.visititems(keep)
    for path in sorted(logdir.rglob("results.json")):
        found[str(path.relative_to(logdir))] = json.dumps(json.loads(path.read_text())["rows"])
    return found


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Lists the names under which two trainings differ."""
    shared = one.keys() & other.keys()
    return sorted((one.keys() ^ other.keys()) | {name for name in shared if not np.array_equal(one[name], other[name])})


def kill_and_resume(
    counts: Counts, training: Training, kills: int, folder: pathlib.Path, whole: dict[str, Any], seconds: float,
    draw: random.Random,
) -> None:  # fmt: skip
    """Kills one training several times on its way, lets it end, and compares it with the one never stopped."""
    logdir, moments, flags = folder / f"broken{draw.randrange(10**9)}", [], []
    for _ in range(4 * kills):
        if len(moments) == kills:
            break
        process = binary.Running(training.binary, *training.flags, f"--logdir={logdir}", *flags)
        number, delay = draw.choice(SIGNALS), draw.uniform(0.1, 0.9) * seconds
        process_end = time.monotonic() + delay
        while time.monotonic() < process_end and process.code is None:
            time.sleep(0.01)
        if process.code is None:
            process.send_signal(number)
        finished = process.finish()
        flags = ["--resume"]
        if finished.code == 0:
            break
        moment = f"{training.binary}: {number.name} after {delay:.2f} of {seconds:.2f} s"
        moments.append(moment)
        if finished.code not in CODES[number] or (number != signal.SIGKILL and "Traceback" in finished.stderr):
            counts.add("stack", moment, f"exit code {finished.code}: {finished.stderr[-1500:]}")
            moments.pop()
    finished = binary.run(training.binary, *training.flags, f"--logdir={logdir}", *flags)
    if finished.code:
        counts.add("stack", "; ".join(moments), f"--resume: exit code {finished.code}: {finished.stderr[-1500:]}")
        return
    different = differing(whole, bits(logdir))
    left = [path.name for path in logdir.rglob(".unfinished*")]
    for moment in moments:
        if different:
            counts.add("bits", moment, f"{len(different)} of {len(whole)} differ: {different[:5]}")
        elif left:
            counts.add("silent", moment, f"left behind: {left}")
        else:
            counts.add("right", moment)


def run(options: Any) -> Counts:
    counts, draw = Counts("kills"), random.Random(options.seed)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    total = sum(training.share for training in TRAININGS)
    with tempfile.TemporaryDirectory() as name:
        for training in TRAININGS:
            folder = pathlib.Path(name, training.binary)
            flags = tuple(flag.replace("CACHE", f"{folder}/cache") for flag in training.flags)
            training = training._replace(flags=flags)
            folder.mkdir()
            begin = time.monotonic()
            finished = binary.run(training.binary, *training.flags, f"--logdir={folder / 'whole'}")
            seconds = time.monotonic() - begin
            if finished.code:
                counts.add("refused", f"{training.binary} {' '.join(training.flags)}", finished.stderr[-1500:])
                continue
            whole = bits(folder / "whole")
            # A round ends early where a resumed training has little left to do.
            wanted = counts.trials + max(1, round(options.moments * training.share / total))
            for _ in range(20):
                if counts.trials >= wanted:
                    break
                kill_and_resume(counts, training, min(4, wanted - counts.trials), folder, whole, seconds, draw)
            else:
                counts.add("refused", training.binary, "too few of 20 trainings were running when the signal came")
    return counts
