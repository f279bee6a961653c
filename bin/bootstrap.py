"""Sets up a virtual environment and runs the project in it.

    python3 bin/bootstrap.py [--venv DIR] COMMAND [ARGUMENT ...]

    sinusoid   train and evaluate on sinusoid regression: bin/sinusoid.py with the arguments given
    omniglot, mini_imagenet, point_navigation, half_cheetah, ant, few_shot, compare, meta_rl, evaluate,
    evaluate_policy, export, serve, publish, import_original, prepare_mini_imagenet, benchmark, sweep
               another binary in the same way: the one of that name in bin/
    meta_world train on Meta-World, in .venv_meta_world: bin/meta_world.py with the arguments given
    demo       show a page in the browser to try what there is: bin/demo.py with the arguments given
    test       run the tests: pytest with the arguments given; --thorough adds those of all pairs of models and rules
    lowest     the same with the oldest packages that setup.py allows, in .venv_lowest (Python 3.10 or 3.11)
    campaign   try what users and machines do wrong, by the hundred: python -m tests.campaign with the arguments given
    docs       build the documentation into build/docs, in .venv_docs: sphinx-build with the arguments given
    test_meta_world
               test what needs Meta-World: python -m tests.meta_world with the arguments given
    lint       ruff's checks and formatting; with --fix, mend what ruff can mend

Needs Python 3.10 to 3.13 and pip's package index, nothing else. The first run installs the packages (a minute
or more); later runs start at once, until setup.py or Python changes.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)
TOO_NEW_PYTHON = (3, 14)
EXPERIMENTS = {
    "sinusoid": [],
    "omniglot": [],
    "mini_imagenet": [],
    "point_navigation": ["rl"],
    "half_cheetah": ["rl"],
    "ant": ["rl"],
    "few_shot": [],
    "compare": [],
    "meta_rl": ["rl"],
    "meta_world": ["metaworld"],
    "evaluate": [],
    "evaluate_policy": ["rl"],
    "export": [],
    "serve": ["serve"],
    "publish": [],
    "import_original": [],
    "prepare_mini_imagenet": [],
    "benchmark": [],
    "sweep": ["rl", "sweep"],
    "demo": ["demo", "rl"],
}
TESTED = ["demo", "rl", "serve", "sweep", "test"]
EXTRAS = {
    **EXPERIMENTS,
    "test": TESTED,
    "lowest": TESTED,
    "campaign": TESTED,
    "docs": ["docs", "rl"],
    "lint": ["test"],
    "test_meta_world": ["metaworld"],
}
# What has an environment of its own: packages of other versions than the tests'.
OWN_VENVS = {
    "lowest": ".venv_lowest",
    "docs": ".venv_docs",
    "meta_world": ".venv_meta_world",
    "test_meta_world": ".venv_meta_world",
}
# tf-agents 0.19 asks for an old version of typing-extensions and runs with newer ones, which these need: asked for
# both at once, pip finds no versions that fit, or tries dozens of old ones for minutes.
INSTALLED_LAST = {"docs", "sweep"}
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Written first and completed last: its presence says that the folder is ours, its content what is installed.
MARKER = "maml_tf_bootstrap.json"
# What rl and metaworld leave out on these Pythons, because pip would not find what it asks for; see the file.
WITHOUT_DEPENDENCIES = PROJECT / "requirements_tf_agents.txt"
NEEDS_IT = (3, 12)


def main(arguments):
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--venv DIR] COMMAND [ARGUMENT ...]",
        description=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--venv", type=pathlib.Path, help="default: .venv in the project; lowest, docs and meta_world have their own"
    )
    parser.add_argument("command", metavar="COMMAND", type=underscored, choices=sorted(EXTRAS), help="see above")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="passed through")
    options = parser.parse_args(arguments)
    if any(argument.split("=")[0] == "--venv" for argument in options.arguments):
        parser.error(f"--venv must stand before {options.command}")
    if options.command == "lint" and options.arguments not in ([], ["--fix"]):
        parser.error(f"lint takes no argument but --fix. Received: {shlex.join(options.arguments)}")

    check_python(sys.version_info)
    lowest = options.command == "lowest"
    folder = options.venv or PROJECT / OWN_VENVS.get(options.command, ".venv")
    venv = Venv(folder.absolute(), lowest_versions() if lowest else [])
    venv.prepare(EXTRAS[options.command])
    if options.command in EXPERIMENTS:
        return become([venv.python, PROJECT / "bin" / f"{options.command}.py", *options.arguments])
    return COMMANDS[options.command](venv, options.arguments)


def underscored(name):
    return name.replace("-", "_")


def test(venv, arguments):
    # Tests differ in length by a factor of thousands: "worksteal" keeps both processes busy to the end.
    return become([venv.python, "-m", "pytest", "-n", "2", "--dist", "worksteal", *arguments], cwd=PROJECT)


def campaign(venv, arguments):
    return run([venv.python, "-m", "tests.campaign", *arguments], cwd=PROJECT)


def test_meta_world(venv, arguments):
    return become([venv.python, "-m", "tests.meta_world", *arguments], cwd=PROJECT)


def lint(venv, arguments):
    fix = arguments == ["--fix"]
    ruff = [venv.python, "-m", "ruff"]
    checked = run([*ruff, "check", *(["--fix"] if fix else []), "."], cwd=PROJECT)
    formatted = run([*ruff, "format", *([] if fix else ["--check"]), "."], cwd=PROJECT)
    return checked or formatted


def docs(venv, arguments):
    build = PROJECT / "build" / "docs"
    sphinx = [venv.python, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-d", build / "doctrees", *arguments]
    code = run([*sphinx, "docs", build / "html"], cwd=PROJECT)
    if not code:
        say(f"open {(build / 'html' / 'index.html').as_uri()}")
    return code


COMMANDS = {
    "test": test,
    "lowest": test,
    "campaign": campaign,
    "docs": docs,
    "lint": lint,
    "test_meta_world": test_meta_world,
}


class Venv:
    """A virtual environment with the project installed in it, in place, with some of its extras.

    `constraints` are the versions that its packages must have, such as "numpy==1.26".
    """

    def __init__(self, folder, constraints=()):
        self.folder = folder
        self.constraints = list(constraints)
        self.marker = folder / MARKER
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def prepare(self, extras):
        """Creates, repairs or completes the environment, or does nothing where all of it is there."""
        installed = self.installed()
        if self.is_current(installed, extras):
            return
        extras = sorted({*extras, *installed.get("extras", [])})
        self.create()
        # An interrupted installation leaves a marker that claims nothing, so the next run repeats it.
        self.mark({})
        names = "[{}]".format(",".join(extras)) if extras else ""
        say(f"installing maml_tf{names} and what it needs: a minute or more, once")
        quiet = [] if sys.stdout.isatty() else ["--quiet"]
        pip = [self.python, "-m", "pip", "install", "--disable-pip-version-check", *quiet]
        constraints = self.folder / "constraints.txt"
        constraints.write_text("\n".join(self.constraints))
        last = [extra for extra in extras if extra in INSTALLED_LAST]
        code = self.install(pip, constraints, [extra for extra in extras if extra not in INSTALLED_LAST])
        if not code and last:
            code = self.install([*pip, "--no-warn-conflicts"], constraints, last)
        if not code and {"rl", "metaworld"} & {*extras} and sys.version_info[:2] >= NEEDS_IT:
            code = run([*pip, "--no-deps", "--requirement", WITHOUT_DEPENDENCIES])
        if code:
            fail(
                "pip could not install the packages (its message is above). Is the package index within "
                "reach, and is there room on the disk? Run the same command again to go on.",
                code,
            )
        self.mark(self.state(extras))

    def install(self, pip, constraints, extras):
        requirement = "." + ("[{}]".format(",".join(extras)) if extras else "")
        return run([*pip, "--constraint", constraints, "--editable", requirement], cwd=PROJECT)

    def installed(self):
        """Returns what the marker says: a dictionary that is empty unless an installation was completed."""
        try:
            return json.loads(self.marker.read_text())
        except (OSError, ValueError):
            return {}

    def is_current(self, installed, extras):
        return (
            bool(installed)
            and set(extras) <= set(installed["extras"])
            and self.works()
            and installed == self.state(installed["extras"])
        )

    def state(self, extras):
        """Returns what an installation depends on."""
        read = (PROJECT / "setup.py").read_bytes() + WITHOUT_DEPENDENCIES.read_bytes()
        digest = hashlib.sha256(read).hexdigest()
        version = subprocess.check_output([str(self.python), "--version"], stdin=subprocess.DEVNULL)
        return {
            "project": str(PROJECT),
            "setup.py": digest,
            "python": version.decode().strip(),
            "constraints": self.constraints,
            "extras": sorted(extras),
        }

    def works(self):
        """Returns whether the environment has a Python and a pip that run."""
        try:
            pip = [str(self.python), "-m", "pip", "--version"]
            return subprocess.call(pip, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
        except OSError:
            return False

    def create(self):
        if self.works():
            return
        if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
            fail(
                "this Python cannot create virtual environments: its module venv or ensurepip is missing. On "
                f"Debian and Ubuntu: apt-get install python3-venv. Received: {sys.executable}"
            )
        if self.folder.exists() and not self.marker.exists():
            if not self.folder.is_dir() or any(self.folder.iterdir()):
                fail(
                    "--venv must name a new folder, an empty one or a working virtual environment. Received: "
                    f"{self.folder}"
                )
        say(f"creating the virtual environment {self.folder}")
        if self.folder.exists():
            shutil.rmtree(str(self.folder))
        self.mark({})
        code = run([sys.executable, "-m", "venv", self.folder])
        if code:
            fail("python -m venv failed: its message is above", code)

    def mark(self, state):
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.marker.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(state, indent=2) + "\n")
        os.replace(str(temporary), str(self.marker))


def lowest_versions():
    """Returns the oldest version of every package that setup.py allows, as pip's constraints."""
    text = (PROJECT / "setup.py").read_text(encoding="utf-8")
    return [f"{name}=={version}" for name, version in re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', text)]


def check_python(version):
    if not OLDEST_PYTHON <= tuple(version[:2]) < TOO_NEW_PYTHON:
        fail(
            "maml_tf needs Python 3.10, 3.11, 3.12 or 3.13: start this script with one of them, as in "
            "`python3.11 bin/bootstrap.py`. Received: Python {}.{} ({})".format(*version[:2], sys.executable)
        )


def run(command, cwd=None):
    """Runs a command to its end and returns its exit code, as a shell would: 128 + n for signal n.

    Signals pass to the command, which ends in its own way.
    """
    command = [str(part) for part in command]
    say(shlex.join(command))
    received = []
    process = None

    def forward(number, frame):
        received.append(number)
        if process:
            process.send_signal(number)

    handlers = {number: signal.signal(number, forward) for number in SIGNALS if is_heeded(number)}
    try:
        process = subprocess.Popen(command, cwd=cwd)
        for number in tuple(received):
            process.send_signal(number)
        code = process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def is_heeded(number):
    """Returns whether a signal is not ignored, as SIGHUP is under nohup."""
    return signal.getsignal(number) != signal.SIG_IGN


def become(command, cwd=None):
    """Becomes a command: whatever ends this process, SIGKILL too, ends the command, and signals reach it alone."""
    if os.name == "nt":
        return run(command, cwd)
    command = [str(part) for part in command]
    say(shlex.join(command))
    os.chdir(cwd or os.curdir)
    os.execv(command[0], command)


def say(message):
    print("bootstrap: " + message, flush=True)


def fail(message, code=1):
    print("bootstrap: error: " + message, file=sys.stderr, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
