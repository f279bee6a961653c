"""A measured process: what it used is written, and a signal at any moment reaches it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from maml_tf.experiments.common import measured_process

# A signal just before the command's process is made, or just after, in place of the call that makes it.
PROGRAM = """
import os, runpy, subprocess, sys
program, moment, number, *sys.argv[1:] = sys.argv[1:]
popen = subprocess.Popen
def start(*arguments, **options):
    if moment == "before":
        os.kill(os.getpid(), int(number))
    process = popen(*arguments, **options)
    print(process.pid, flush=True)
    if moment == "after":
        os.kill(os.getpid(), int(number))
    return process
subprocess.Popen = start
runpy.run_path(program, run_name="__main__")
"""


def test_seconds_are_added_and_the_exit_code_is_the_commands(tmp_path):
    usage = tmp_path / "folder" / "usage.json"
    busy = "import sys, time\nwhile time.process_time() < 0.3:\n    pass\nsys.exit(3)"
    seconds = []
    for _ in range(2):
        command = [sys.executable, measured_process.__file__, usage, sys.executable, "-c", busy]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.wait() == 3
        seconds.append(json.loads(usage.read_text())["cpu_seconds"])
    assert seconds[0] >= 0.3
    assert seconds[1] >= seconds[0] + 0.3
    assert json.loads(usage.read_text())["peak_mebibytes"] > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_while_the_command_starts_ends_it(tmp_path, moment, number):
    usage = tmp_path / "usage.json"
    command = [sys.executable, "-c", PROGRAM, measured_process.__file__, moment, str(int(number)), usage, "sleep", "60"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        code = process.wait()
    assert code == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(int(said), signal.SIGKILL)
    assert usage.exists()  # It is written once the command has ended.
