"""Trains for a minute, opens what TensorBoard shows of it in a headless browser, and saves screenshots.

    python -m tests.tensorboard_pages --output=docs/figures [--pages=steps,hparams,images] [--browser=chromium]

Writes tensorboard_steps.png and so on, one for each page; those of PAGES that the documentation shows by default.
Needs Chromium.
"""

import argparse
import contextlib
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from tests.support.source_tree import PROJECT

# The training, the address within TensorBoard, and the size of the window.
PAGES = {
    "scalars": ("sinusoid", "timeseries", (1300, 900)),
    "steps": ("sinusoid", "custom_scalars", (1300, 760)),
    "hparams": ("sinusoid", "hparams", (1500, 560)),
    "text": ("sinusoid", "text", (1300, 700)),
    "histograms": ("few_shot", "histograms", (1300, 900)),
    "images": ("few_shot", "images", (1300, 900)),
}
TRAININGS = {
    "sinusoid": [
        "sinusoid", "--method=maml,maml_first_order,pretrained", "--iterations=6000", "--validate_every=500",
        "--validation_tasks=500",
    ],
    "few_shot": [
        "few-shot", "--dataset=omniglot", f"--data_dir={PROJECT / 'testdata' / 'alphabet'}",
        "--split=alphabets", "--filters=16",
        "--iterations=120", "--validate_every=20", "--iterations_per_epoch=10", "--meta_batch_size=4",
        "--validation_tasks=20", "--test_tasks=50", "--step_sizes=layer_and_step", "--inner_steps=2", "--queries=3",
        "--evaluation_queries=3",
    ],
}  # fmt: skip
# Nothing of it goes to the network but to this machine.
BROWSER = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=25000",
)  # fmt: skip


@contextlib.contextmanager
def tensorboard(logdir):
    """Runs TensorBoard; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--port={port}", "--load_fast=false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/"
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}data/runs", timeout=10).read()
                break
            time.sleep(0.5)
        time.sleep(5)  # The events are read in the background.
        yield address
    finally:
        process.terminate()
        process.wait()


def train(name, logdir):
    subprocess.run([sys.executable, "-m", "maml_tf", *TRAININGS[name], f"--logdir={logdir}"], check=True, cwd=PROJECT)
    if name == "few_shot":
        subprocess.run(
            [sys.executable, "-m", "maml_tf", *TRAININGS[name][:3], "--mode=evaluate", f"--logdir={logdir}"],
            check=True,
            cwd=PROJECT,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder of the screenshots")
    parser.add_argument("--pages", default="steps,hparams,images", help=f"of {','.join(PAGES)}, by commas")
    parser.add_argument("--browser", default="chromium", help="Chromium's program")
    parser.add_argument("--logdir", type=pathlib.Path, help="folder of trainings that are there, or are kept")
    options = parser.parse_args()
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        runs = options.logdir or pathlib.Path(temporary, "runs")
        for name in TRAININGS:
            if not (runs / name / "results.json").exists():
                train(name, runs / name)
            with tensorboard(runs / name) as address:
                for page, (training, path, (width, height)) in PAGES.items():
                    if training == name and page in options.pages.split(","):
                        file = output / f"tensorboard_{page}.png"
                        profile = pathlib.Path(temporary, f"profile_{page}")
                        subprocess.run(
                            [options.browser, *BROWSER, f"--user-data-dir={profile}", f"--screenshot={file}",
                             f"--window-size={width},{height}", f"{address}#{path}"],
                            check=True, capture_output=True, timeout=180,
                        )  # fmt: skip
                        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
