"""Builds the wheel, installs it in an empty environment outside of the project, and runs what it brings.

    python -m tests.wheel [--venv=DIR] [--extras=rl,serve]

Prints the size of the wheel, the seconds of the installation, and for each command its exit code and seconds. Fails
where the wheel is over 20 MB, holds a file that is not the package's, or a command fails. Downloads TensorFlow.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

from tests.support.source_tree import PROJECT

LARGEST_MEGABYTES = 20
WHAT_SETUP_READS = ("maml_tf", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def build(folder):
    """Builds the wheel of a copy, so that nothing of an earlier build gets in; returns its path."""
    source = folder / "source"
    for name in WHAT_SETUP_READS:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy2
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(PROJECT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def check(wheel):
    megabytes = wheel.stat().st_size / 1e6
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    strangers = [name for name in names if not name.startswith(("maml_tf/", "maml_tf-")) or "__pycache__" in name]
    print(json.dumps({"wheel": wheel.name, "megabytes": round(megabytes, 2), "files": len(names)}))
    if megabytes > LARGEST_MEGABYTES or strangers:
        raise SystemExit(f"Expected at most {LARGEST_MEGABYTES} MB of the package alone. Received: {strangers[:5]}")


def timed(name, command, cwd):
    """Runs a command without the project on its path, prints what came out, and returns its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    began = time.monotonic()
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    print(json.dumps({"command": name, "code": done.returncode, "seconds": round(time.monotonic() - began, 2)}))
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=pathlib.Path, help="a new folder for the environment, which is kept")
    parser.add_argument("--extras", default="", help="extras to install too, such as rl,serve")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        wheel = build(folder)
        check(wheel)
        venv = (options.venv or folder / "venv").absolute()
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        bin_folder, work = venv / "bin", folder / "work"
        work.mkdir()
        requirement = f"{wheel}[{options.extras}]" if options.extras else wheel
        timed("pip install", [bin_folder / "pip", "install", "--quiet", requirement], work)
        program = "import maml_tf; print(maml_tf.__file__, maml_tf.MAML.__name__)"
        where = timed("import maml_tf", [bin_folder / "python", "-c", program], work)
        if not pathlib.Path(where.split()[0]).is_relative_to(venv):
            raise SystemExit(f"Expected the package of the environment. Received: {where}")
        timed("maml-tf", [bin_folder / "maml-tf"], work)
        timed("maml-tf few-shot --help", [bin_folder / "maml-tf", "few-shot", "--dataset=cifar_fs", "--help"], work)
        run = ["sinusoid", "--iterations=200", "--logdir=sinusoid"]
        print(timed("maml-tf sinusoid --iterations=200", [bin_folder / "maml-tf", *run], work))
        rows = json.loads((work / "sinusoid" / "results.json").read_text())["rows"]
        print(json.dumps({"rows": len(rows)}))


if __name__ == "__main__":
    main()
