"""Draws episodes of one saved pool in several processes, in memory and mapped, and compares memory, speed and bits.

    python -m tests.mapped_pools [--gib=2] [--processes=2]

Writes a pool of that many GiB of random images of 84 x 84 x 3 bytes to a temporary folder, and lets each process read
all images and draw meta-batches of mini-ImageNet's size. Prints a row for each way: how much the proportional set sizes
of the processes (of /proc/PID/smaps_rollup, shared pages counted once) have grown since before the pool was opened,
what of it is the file's (of /proc/PID/smaps), both as multiples of the pool, and the meta-batches a second of each
process; the rest is TensorFlow's graph and the drawn images. Fails where episodes differ, or where the mapped file
takes more than once its size altogether. Needs Linux.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

_IMAGE, _EACH = (84, 84, 3), 600
# 4 tasks of 5 classes with 1 + 15 images.
_DRAWN = dict(ways=5, shots=1, queries=15, meta_batch_size=4)


def pss(process, path=None):
    """Returns the proportional set size of a process, or of what it maps of a file, in bytes."""
    kibibytes, counts = 0, True
    for line in pathlib.Path(f"/proc/{process}/{'smaps' if path else 'smaps_rollup'}").read_text().splitlines():
        first, *others = line.split()
        if "-" in first and path:
            counts = others[-1] == str(path)
        elif first == "Pss:" and counts:
            kibibytes += int(others[0])
    return kibibytes * 1024


def child(path, memory_map, batches):
    """Draws, in a process of its own; answers each line of stdin."""
    from maml_tf.tasks import ClassPool

    small = ClassPool(np.zeros([100, *_IMAGE], np.uint8), np.repeat(range(5), 20))
    next(iter(small.episodes(0, **_DRAWN)))  # TensorFlow's own memory is there before.
    print("ready", flush=True)
    sys.stdin.readline()
    pool = ClassPool.load(path, memory_map=memory_map)
    total = sum(int(pool.images_of(name).sum(dtype=np.int64)) for name in pool.class_names)
    stream = iter(pool.episodes(1, **_DRAWN))
    digest = hashlib.sha256(str(total).encode())
    next(stream)
    began = time.perf_counter()
    for _ in range(batches):
        (support_x, support_y, query_x), query_y = next(stream)
        for values in (support_x, support_y, query_x, query_y):
            digest.update(values.numpy()[..., :1].tobytes())
    speed = batches / (time.perf_counter() - began)
    print(json.dumps({"digest": digest.hexdigest(), "speed": speed}), flush=True)
    sys.stdin.readline()


def measure(path, memory_map, count, batches):
    """Returns the bytes that the processes grew by, those of the file among them, their speeds and their digests."""
    command = [sys.executable, "-m", "tests.mapped_pools", f"--child={path}", f"--batches={batches}"]
    command += ["--mapped"] * memory_map
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for process in processes:
            if process.stdout.readline() != "ready\n":
                raise ValueError("Expected a process that gets ready; its message is above")
        before = [pss(process.pid) for process in processes]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(process.stdout.readline()) for process in processes]
        after = [pss(process.pid) for process in processes]
        of_file = sum(pss(process.pid, path) for process in processes)
    finally:
        for process in processes:
            process.stdin.close()
            process.wait()
    return sum(after) - sum(before), of_file, [one["speed"] for one in told], {one["digest"] for one in told}


def write_pool(path, gib):
    from maml_tf.tasks import ClassPool

    classes = max(8, round(gib * 2**30 / (_EACH * np.prod(_IMAGE))))
    images = np.lib.format.open_memmap(path.with_suffix(".raw"), "w+", np.uint8, (classes * _EACH, *_IMAGE))
    random = np.random.default_rng(0)
    for first in range(0, len(images), _EACH):
        images[first : first + _EACH] = random.integers(0, 256, (_EACH, *_IMAGE), np.uint8)
    del images
    ClassPool(np.load(path.with_suffix(".raw"), mmap_mode="r"), np.repeat(range(classes), _EACH)).save(path)
    path.with_suffix(".raw").unlink()
    return path.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0, help="Size of the pool.")
    parser.add_argument("--processes", type=int, default=2, help="Processes side by side.")
    parser.add_argument("--batches", type=int, default=200, help="Meta-batches that each process draws.")
    parser.add_argument("--child", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--mapped", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.mapped, options.batches)
        return 0
    failed, digests = False, set()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "pool")
        size = write_pool(path, options.gib)
        print(f"a pool of {size / 2**30:.2f} GiB, {options.processes} processes")
        print("images     memory of all, in pools  of the file  meta-batches/s of each")
        for name, memory_map in (("in memory", False), ("mapped", True)):
            grown, of_file, speeds, found = measure(path, memory_map, options.processes, options.batches)
            digests |= found
            told = ", ".join(f"{one:.1f}" for one in speeds)
            print(f"{name:<10} {grown / size:<24.2f} {of_file / size:<12.2f} {told}", flush=True)
            failed |= memory_map and not 0.98 < of_file / size < 1.01
    print("the same episodes" if len(digests) == 1 else "WRONG: other episodes")
    return int(failed or len(digests) != 1)


if __name__ == "__main__":
    sys.exit(main())
