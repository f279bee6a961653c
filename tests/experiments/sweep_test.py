"""Sweeps: what is run, what is not run again, stops and kills, the table and the search; a program stands for runs."""

import importlib.util
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from maml_tf import stopping
from maml_tf.experiments.sweep.plan import Plan, Range
from maml_tf.experiments.sweep.running import sweep
from maml_tf.experiments.sweep.search import draw
from maml_tf.experiments.sweep.state import Sweep
from maml_tf.experiments.sweep.table import format_lines, over_seeds, table_lines, write_table
from tests.support.source_tree import PROJECT

# Trains --rate for three iterations, the number of which is its checkpoint. With the file "slow" in the sweep's folder
# it takes a second each; with --rate=bad it fails.
PROGRAM = """
import json, pathlib, signal, sys, time
flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in sys.argv[1:])
folder = pathlib.Path(flags["logdir"])
top = folder.parents[len(folder.parts) - 1 - folder.parts.index("sweep") - 1]
with open(top / "calls.txt", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
done = folder / "done.txt"
if done.exists() != ("resume" in flags) and "mode" not in flags:
    sys.exit("Error: Expected --resume where there is a checkpoint, and only there")
iteration = int(done.read_text()) if done.exists() else 0
def stop(number, frame):
    print("Stopped by SIGTERM; --resume continues from iteration", iteration, file=sys.stderr)
    sys.exit(128 + number)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
done.write_text(str(iteration))
while iteration < 3:
    time.sleep(1.0 * (top / "slow").exists())
    iteration += 1
    done.write_text(str(iteration))
if flags["rate"] == "bad":
    sys.exit("Error: Expected a number")
value = float(flags["rate"]) * 10 + int(flags["seed"])
rows = [{"method": "maml", "shots": 5, "step": step, "metric": metric, "mean": value / (1 + step), "sd": 1, "ci95": 1,
         "tasks": 9} for metric in ("mse", "mse_grid") for step in (0, 1, 2)]
(folder / "results.json").write_text(json.dumps({"rows": rows}))
(folder / "validation.json").write_text(json.dumps({"metric": "val_loss", "mode": "min", "value": value}))
"""
DRIVER = """
import sys
from absl import logging
from maml_tf import stopping
from maml_tf.experiments.sweep.plan import Plan
from maml_tf.experiments.sweep.running import sweep
program, logdir, parallel, *resume = sys.argv[1:]
commands = lambda flags, folder, resume: [[program, *flags, f"--logdir={folder}", *["--resume"] * resume]]
logging.set_verbosity(logging.INFO)
with stopping.stop_on_signals():
    sweep(Plan("sinusoid", (), {"rate": ("1", "2")}), logdir, commands, parallel=int(parallel), resume=bool(resume))
"""
needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs the extra sweep")


@pytest.fixture
def program(tmp_path):
    (tmp_path / "sweep").mkdir()
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def commands(program, *more):
    def of_run(flags, folder, resume):
        run = [str(program), *flags, f"--logdir={folder}", *["--resume"] * resume]
        return [run, *([*run, flag] for flag in more)]

    return of_run


def calls(logdir):
    return (logdir / "calls.txt").read_text().splitlines()


def test_every_setting_is_run_once_from_every_seed_and_tabled(program, tmp_path):
    logdir = tmp_path / "sweep"
    plan = Plan("sinusoid", ("--shots=5",), {"rate": ("1", "2")}, seeds=(1, 2))
    program.write_text(PROGRAM + "while time.process_time() < 0.15:\n    pass\n")
    state = sweep(plan, logdir, commands(program), parallel=2)
    head, ruler, *rows = (logdir / "table.md").read_text().splitlines()
    assert head == "| rate | mse before | 1 step | last step | validation | CPU, s | seeds |"
    assert ruler == "|---|---|---|---|---|---|---|"
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [[*row[:5], row[6]] for row in cells] == [
        ["1", "11.5 +- 6.4", "5.75 +- 3.2", "3.833 +- 2.1", "11.5 +- 6.4", "2"],
        ["2", "21.5 +- 6.4", "10.75 +- 3.2", "7.167 +- 2.1", "21.5 +- 6.4", "2"],
    ]
    assert all(float(row[5].split(" +- ")[0]) >= 0.1 for row in cells), rows
    lines = json.loads((logdir / "table.json").read_text())
    assert [(line["setting"], line["metric"]) for line in lines[:2]] == [
        ({"rate": "1"}, "mse"),
        ({"rate": "1"}, "mse_grid"),
    ]
    assert lines[0]["steps"]["1"]["values"] == [5.5, 6.0]
    folder = logdir / "rate=1" / "seed2"
    assert sorted(calls(logdir))[1] == f"--rate=1 --seed=2 --logdir={folder}"
    assert (folder / "log.txt").read_text().startswith(f"running: python {program} --rate=1")

    with pytest.raises(ValueError, match=r"go on with the one that is there \(--resume\)"):
        sweep(plan, logdir, commands(program))
    with pytest.raises(ValueError, match=r"differs in flags: stored \['--shots=5'\], given \[\]"):
        sweep(Plan("sinusoid", ()), logdir, commands(program), resume=True)
    more = Plan("sinusoid", ("--shots=5",), {"rate": ("2", "3")}, seeds=(2, 3))
    sweep(more, logdir, commands(program), resume=True)
    assert [call.rpartition("/sweep/")[2] for call in calls(logdir)[4:]] == [
        "rate=2/seed3", "rate=3/seed2", "rate=3/seed3",
    ]  # fmt: skip
    assert state.directory == logdir


def test_a_run_that_fails_is_in_the_table_and_is_run_again(program, tmp_path):
    logdir = tmp_path / "sweep"
    plan = Plan("sinusoid", (), {"rate": ("bad", "2")})
    state = sweep(plan, logdir, commands(program))
    log = logdir / "rate=bad" / "seed1" / "log.txt"
    rows = (logdir / "table.md").read_text().splitlines()
    assert rows[2] == f"| bad | - | - | - | - | - | 0 of 1; failed: {log} |"
    assert rows[3].startswith("| 2 | 21 | 10.5 | 7 | 21 | ")
    assert log.read_text().splitlines()[-1] == "Error: Expected a number"
    assert [state.state(run) for run in state.every_run()] == ["failed", "finished"]
    program.write_text(PROGRAM.replace('== "bad"', '== "worse"').replace('float(flags["rate"])', "7"))
    state = sweep(plan, logdir, commands(program), resume=True)
    assert [state.state(run) for run in state.every_run()] == ["finished", "finished"]
    assert calls(logdir)[-1].endswith("seed1 --resume")


def test_a_run_whose_flags_do_not_go_together_has_failed_and_the_others_go_on(program, tmp_path):
    logdir = tmp_path / "sweep"

    def of_run(flags, folder, resume):
        if "--rate=2" in flags:
            raise ValueError("Expected another rate. Received: rate=2")
        return commands(program)(flags, folder, resume)

    plan = Plan("sinusoid", (), {"rate": ("1", "2", "3")})
    for resume in (False, True):
        state = sweep(plan, logdir, of_run, resume=resume)
        assert [state.state(run) for run in state.every_run()] == ["finished", "failed", "finished"]
    log = logdir / "rate=2" / "seed1" / "log.txt"
    assert log.read_text().splitlines()[-1] == "Error: Expected another rate. Received: rate=2"
    assert f"| 2 | - | - | - | - | - | 0 of 1; failed: {log} |" in (logdir / "table.md").read_text()
    assert len(calls(logdir)) == 2


def test_a_run_whose_results_were_deleted_is_run_again(program, tmp_path):
    logdir = tmp_path / "sweep"
    plan = Plan("sinusoid", (), {"rate": ("1", "2")})
    sweep(plan, logdir, commands(program))
    (logdir / "rate=1" / "seed1" / "results.json").unlink()
    assert "| 1 | - | - | - | - | - | 0 of 1 |" in write_table(Sweep.read(logdir))
    sweep(plan, logdir, commands(program), resume=True)
    assert calls(logdir)[2:] == [f"--rate=1 --seed=1 --logdir={logdir / 'rate=1' / 'seed1'} --resume"]
    assert "| 1 | 11 | 5.5 | 3.667 | 11 |" in (logdir / "table.md").read_text()


def test_a_run_that_a_signal_ends_before_it_has_handlers_is_stopped(tmp_path, monkeypatch):
    start = subprocess.Popen

    def start_and_stop(arguments, stdin, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return start(["sleep", "60"], stdin=stdin)

    monkeypatch.setattr(subprocess, "Popen", start_and_stop)
    with pytest.raises(stopping.Stopped):
        sweep(Plan("sinusoid", ()), tmp_path / "sweep", commands("program"))
    state = Sweep.read(tmp_path / "sweep")
    assert [state.state(run) for run in state.every_run()] == ["stopped"]


def test_the_test_follows_a_training_that_succeeds(program, tmp_path):
    logdir = tmp_path / "sweep"
    sweep(Plan("omniglot", (), {"rate": ("1", "bad")}), logdir, commands(program, "--mode=evaluate"))
    assert [call.partition("/seed1")[2] for call in calls(logdir)] == ["", " --mode=evaluate", ""]


def start(program, logdir, *more):
    return subprocess.Popen([sys.executable, "-c", DRIVER, program, logdir, *more], cwd=PROJECT, stderr=subprocess.PIPE)


def await_file(path, text=""):
    until = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < until, path
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_runs_end_where_the_sweep_ends_and_go_on_with_it(program, tmp_path, number):
    logdir = tmp_path / "sweep"
    (logdir / "slow").touch()
    process = start(program, logdir, "2")
    folders = [logdir / f"rate={rate}" / "seed1" for rate in (1, 2)]
    for folder in folders:
        await_file(folder / "done.txt", "1")
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == (143 if number == signal.SIGTERM else -number), said
    for folder in folders:
        await_file(folder / "log.txt", "Stopped by SIGTERM; --resume continues from iteration ")
    states = {run["state"] for run in json.loads((logdir / "sweep.json").read_text())["runs"].values()}
    assert states == {"stopped" if number == signal.SIGTERM else "running"}
    if number == signal.SIGTERM:
        assert b"0 runs are finished; --resume goes on with the others" in said
        assert "| 1 | - | - | - | - | - | 0 of 1 |" in (logdir / "table.md").read_text()
    (logdir / "slow").unlink()
    process = start(program, logdir, "1", "resume")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert [call.rpartition(" ")[2] for call in calls(logdir)[2:]] == ["--resume"] * 2
    assert "| 1 | 11 | 5.5 | 3.667 | 11 |" in (logdir / "table.md").read_text()


def test_one_sweep_at_a_time(program, tmp_path):
    logdir = tmp_path / "sweep"
    (logdir / "slow").touch()
    process = start(program, logdir, "1")
    await_file(logdir / "rate=1" / "seed1" / "done.txt")
    with pytest.raises(ValueError, match="where one does"):
        sweep(Plan("sinusoid", (), {"rate": ("1", "2")}), logdir, commands(program), resume=True)
    # What there is so far can be shown meanwhile.
    assert "| 1 | - | - | - | - | - | 0 of 1 |" in write_table(Sweep.read(logdir))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130


def test_other_files_are_no_sweep(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"with sweep.json"):
        Sweep.read(tmp_path)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(ValueError, match="Expected a sweep"):
        Sweep.read(tmp_path)


def test_folders_have_flags_as_names_where_they_can():
    def names(setting):
        content = {"plan": {"trials": None, "seeds": [3]}, "settings": [setting], "runs": {}}
        return [str(run.folder) for run in Sweep(pathlib.Path(), content).runs(0)]

    assert names({}) == ["seed3"]
    assert names({"a": "1e-3", "b": "x,y"}) == ["a=1e-3,b=x,y/seed3"]
    # AtomicCheckpoint takes no wildcards, and a slash would part the name.
    for text in ("/data/a", "a*", "x" * 200):
        (name,) = names({"a": text})
        assert name.startswith("setting_") and name.endswith("/seed3") and len(name) == 22
    assert names({"a": "/data/a"}) != names({"a": "/data/b"})


def test_the_interval_is_students():
    """Of four values from 95 % of samples the mean lies within; with the normal distribution's 1.96 of 85.5 %."""
    values = np.random.default_rng(0).normal(5.0, 3.0, [4000, 4])
    intervals = [over_seeds(list(row)) for row in values]
    share = np.mean([abs(one["mean"] - 5.0) < one["ci95"] for one in intervals])
    assert abs(share - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 4000)
    assert over_seeds([0.0, 2.0])["ci95"] == pytest.approx(12.706)
    assert over_seeds([3.0])["ci95"] is None
    # From 31 degrees of freedom on by a formula: 2.0003 at 60.
    many = over_seeds([0.0] * 30 + [1.0] * 31)["ci95"] / np.std([0.0] * 30 + [1.0] * 31, ddof=1) * math.sqrt(61)
    assert many == pytest.approx(2.0003, abs=2e-3)


def test_columns_that_say_nothing_are_left_out():
    def line(setting, method, shots, **more):
        step = {"mean": 1.0, "ci95": None, "values": [1.0]}
        return {"number": 0, "setting": setting, "method": method, "shots": shots, "metric": "accuracy",
                "steps": {0: step, 5: step}, "validation": None, "cpu_seconds": step, "seeds": [1], "unfinished": {},
                **more}  # fmt: skip

    heads = [
        format_lines(lines).splitlines()[0]
        for lines in (
            [line({"method": "maml"}, "maml", 1), line({"method": "anil"}, "anil", 1, number=1)],
            [line({"ways": "5"}, "maml", 1), line({"ways": "5"}, "nearest_neighbour", 5)],
        )
    ]
    last = "accuracy before | 1 step | last step | validation | CPU, s | seeds |"
    assert heads == [f"| method | {last}", f"| ways | method | shots | {last}"]
    # The CPU seconds are those of a run with all of its methods; two trials may draw the same setting.
    lines = [line({"ways": "5"}, method, 1, number=number) for number in (0, 1) for method in ("maml", "anil")]
    assert [row.split(" | ")[-2] for row in format_lines(lines).splitlines()[2:]] == ["1", "", "1", ""]


@needs_optuna
def test_a_search_comes_nearer_to_the_best_and_repeats_itself():
    ranges = {"rate": Range(1e-4, 1.0, log=True), "steps": Range(1, 9, True, step=2)}
    plan = Plan("sinusoid", (), {"method": ("a", "b")}, ranges, 30)

    def error(setting):
        return (
            abs(math.log10(float(setting["rate"]) / 0.01)) + abs(int(setting["steps"]) - 3) + (setting["method"] == "b")
        )

    for mode, sign in (("min", 1), ("max", -1)):
        earlier = []
        for _ in range(30):
            setting = draw(plan, earlier)
            assert draw(plan, earlier) == setting
            assert 1e-4 <= float(setting["rate"]) <= 1 and int(setting["steps"]) in (1, 3, 5, 7, 9)
            earlier.append((setting, sign * error(setting), mode))
        errors = [sign * value for _, value, _ in earlier]
        assert np.mean(errors[20:]) < 0.6 * np.mean(errors[:10]), errors
    # Those that still run, or diverged, have no value; they count as bad ones.
    drawn = draw(plan, [*earlier[:20], (earlier[20][0], None, "min"), (earlier[21][0], float("inf"), "max")])
    assert drawn not in [setting for setting, *_ in earlier[:22]]


@needs_optuna
def test_a_search_that_is_resumed_is_one_that_was_not_stopped(program, tmp_path):
    plan = Plan("sinusoid", (), {}, {"rate": Range(0.5, 9.0)}, 3)
    sweep(plan, tmp_path / "sweep", commands(program))
    settings = Sweep.read(tmp_path / "sweep").settings
    (tmp_path / "other" / "sweep").mkdir(parents=True)
    short = Plan("sinusoid", (), {}, {"rate": Range(0.5, 9.0)}, 1)
    sweep(short, tmp_path / "other" / "sweep", commands(program))
    sweep(plan, tmp_path / "other" / "sweep", commands(program), resume=True)
    assert Sweep.read(tmp_path / "other" / "sweep").settings == settings
    assert [run.folder for run in Sweep.read(tmp_path / "sweep").runs(2)] == [tmp_path / "sweep" / "trial002" / "seed1"]
    # As it is stored by versions without steps.
    assert plan.identity()["ranges"] == {"rate": [0.5, 9.0, False, False]}
    with pytest.raises(ValueError, match="differs in ranges"):
        sweep(
            Plan("sinusoid", (), {}, {"rate": Range(0.5, 8.0)}, 3), tmp_path / "sweep", commands(program), resume=True
        )


@needs_optuna
@pytest.mark.parametrize("files", [(), ("maml/validation.json", "anil/validation.json")])
def test_a_search_by_no_value_or_several_is_one_error(program, tmp_path, files):
    lines = PROGRAM.splitlines()
    assert "validation.json" in lines[-1]
    written = [
        f'(folder / "{name}").parent.mkdir()\n(folder / "{name}").write_text(\'{{"value": 1}}\')' for name in files
    ]
    program.write_text("\n".join([*lines[:-1], *written]))
    with pytest.raises(ValueError, match=rf"to write one validation.json, .* Received: {len(files)} in '.*trial000"):
        sweep(Plan("sinusoid", (), {}, {"rate": Range(0.5, 8.0)}, 3), tmp_path / "sweep", commands(program))
    assert len(calls(tmp_path / "sweep")) == 1


def test_a_search_without_optuna_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"Expected the extra sweep .* pip install '.\[sweep\]'. Received: .*optuna"):
        sweep(Plan("sinusoid", (), {}, {"rate": Range(0.5, 8.0)}, 3), tmp_path / "sweep", None)
    assert not (tmp_path / "sweep").exists()


def test_lines_hold_what_is_not_a_number(program, tmp_path):
    logdir = tmp_path / "sweep"
    program.write_text(PROGRAM.replace('"mean": value / (1 + step)', '"mean": None'))
    state = sweep(Plan("sinusoid", (), {"rate": ("1",)}), logdir, commands(program))
    assert math.isnan(table_lines(state)[0]["steps"][0]["mean"])
    assert json.loads((logdir / "table.json").read_text())[0]["steps"]["0"]["mean"] is None
