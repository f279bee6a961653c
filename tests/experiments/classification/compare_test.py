"""The comparison of methods: what is run, what is not run again, and the table; a program stands for trainings."""

import functools
import json
import os
import pathlib
import shutil

import pytest

from maml_tf.configuration import to_dict
from maml_tf.experiments.classification.compare import compare, configurations
from maml_tf.stopping import Stopped

# Writes what bin/few_shot.py would, of flags alone.
PROGRAM = """
import json, pathlib, sys
flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in sys.argv[1:])
folder = pathlib.Path(flags["logdir"])
with open(folder.parents[1] / "calls.txt", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
if flags.get("fail") == folder.parent.name:
    sys.exit("Error: Expected luck")
if flags.get("mode") == "evaluate":
    method, seed = folder.parent.name, int(folder.name.removeprefix("seed"))
    mean = {"maml": 0.9, "reptile": 0.5, "random": 0.25}[method] + 0.01 * seed
    rows = [{"method": method, "shots": 1, "step": step, "metric": "accuracy", "mean": mean * (step > 0), "sd": 0.1,
             "ci95": 0.02, "tasks": 6} for step in (0, 3)]
    (folder / "results.json").write_text(json.dumps({"rows": rows}))
else:
    folder.mkdir(parents=True, exist_ok=True)
    configs = json.loads((folder.parents[1] / "configs.json").read_text())
    (folder / "config.json").write_text(json.dumps(configs[folder.parent.name + folder.name]))
    if "random" not in flags["preset"]:
        (folder / "training.json").write_text(json.dumps({"seconds": 12.0}))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


def compared(logdir, program, methods, seeds, *flags, **common):
    """Compares by the program, to which the configurations are given in a file."""
    planned = functools.partial(configurations, "omniglot", "5way_1shot", common=common)
    configs = {
        f"{method}seed{seed}": to_dict(config) for (method, seed), (_, config) in planned(methods, seeds).items()
    }
    logdir.mkdir(exist_ok=True)
    (logdir / "configs.json").write_text(json.dumps(configs))
    return compare(planned, methods, seeds, logdir, [program, *flags])


def calls(logdir):
    return (logdir / "calls.txt").read_text().splitlines()


def test_each_method_is_trained_and_tested_once_from_each_seed(program, tmp_path):
    logdir = tmp_path / "runs"
    common = {"iterations": 20, "filters": 8, "data_dir": "/data", "first_order": False}
    methods, flag = ["maml", "reptile", "random"], "--register=own.py"

    table = compared(logdir, program, methods, [1, 2], flag, **common)

    lines = table.splitlines()
    assert lines[0] == "| method | accuracy, % | seeds | training, s | CPU, s | peak memory, MiB |"
    assert [line.split(" | ")[:4] for line in lines[2:]] == [
        ["| MAML", "91.5 (91.0 to 92.0)", "2", "12"],
        ["| Reptile", "51.5 (51.0 to 52.0)", "2", "12"],
        ["| random weights", "26.5 (26.0 to 27.0)", "2", "0"],
    ]
    assert (logdir / "comparison.md").read_text() == table + "\n"
    assert (logdir / "comparison.png").exists()
    memory = [line["peak_mebibytes"] for line in json.loads((logdir / "comparison.json").read_text())["lines"]]
    assert all(5 < peak < 200 for peak in memory)  # A bare Python's.
    made = calls(logdir)
    assert len(made) == 12
    start = f"--register=own.py --dataset=omniglot --logdir={logdir}/maml/seed1 --preset=5way_1shot --"
    assert made[0].startswith(start)
    assert set(made[0].split()) >= {"--iterations=20", "--data_dir=/data", "--filters=8"}
    assert "--seed=2" in made[2].split() and "--method=reptile" in made[4].split()
    assert "--preset=5way_1shot_random" in made[8].split()
    assert made[1].split()[-2:] == ["--mode=evaluate", "--data_dir=/data"]

    (logdir / "comparison.json").write_text("[]")  # As the file was when it had the table alone.
    assert compared(logdir, program, methods, [1, 2], flag, **common) == table
    assert len(calls(logdir)) == 12
    (logdir / "maml" / "seed1" / "results.json").unlink()
    (logdir / "comparison.json").unlink()
    compared(logdir, program, methods, [1, 2], flag, **common)
    assert "--resume" in calls(logdir)[12].split()


def test_a_published_table_goes_on_without_the_folders_of_its_runs(program, tmp_path):
    first, logdir = tmp_path / "first", tmp_path / "runs"
    compared(first, program, ["maml", "reptile"], [1, 2], filters=8)
    logdir.mkdir()
    shutil.copy(first / "comparison.json", logdir)

    table = compared(logdir, program, ["random", "maml"], [2, 3], filters=8, data_dir="/elsewhere")

    assert [line.split(" | ")[:3] for line in table.splitlines()[2:]] == [
        ["| MAML", "92.0 (91.0 to 93.0)", "3"],
        ["| Reptile", "51.5 (51.0 to 52.0)", "2"],
        ["| random weights", "27.5 (27.0 to 28.0)", "2"],
    ]
    made = [call.split("--logdir=")[1].split()[0].removeprefix(f"{logdir}/") for call in calls(logdir)]
    assert made == ["random/seed2", "random/seed2", "random/seed3", "random/seed3", "maml/seed3", "maml/seed3"]
    runs = json.loads((logdir / "comparison.json").read_text())["runs"]
    assert {(run["method"], run["seed"]) for run in runs} == {
        *(("maml", seed) for seed in (1, 2, 3)), *(("reptile", seed) for seed in (1, 2)),
        *(("random", seed) for seed in (2, 3)),
    }  # fmt: skip
    assert runs[0]["accuracy"] == 0.91 and runs[0]["ci95"] == 0.02 and runs[0]["seconds"] == 12.0
    assert runs[0]["setting"]["filters"] == 8 and "data_dir" not in runs[0]["setting"]
    assert compared(logdir, program, ["maml"], [1], filters=8) == table
    assert len(calls(logdir)) == 6


def test_runs_of_another_setting_are_refused_before_anything_runs(program, tmp_path):
    logdir = tmp_path / "runs"
    compared(logdir, program, ["maml"], [1], filters=8)
    table = logdir / "comparison.json"
    for methods in (["maml"], ["reptile"]):
        with pytest.raises(
            ValueError, match=rf"{table}: .*'maml, seed 1', which differs in filters: stored 8, given 9"
        ):
            compared(logdir, program, methods, [1], filters=9)
    table.unlink()
    with pytest.raises(ValueError, match=r"maml/seed1', which differs in filters: stored 8, given 9"):
        compared(logdir, program, ["maml"], [1], filters=9)
    assert len(calls(logdir)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"runs": [', "Expected a comparison.json of this program. .*Expecting value"),
        ('{"rows": []}', "Expected a comparison.json of this program. .*KeyError"),
        ('{"runs": [{"method": "maml"}]}', "Expected a comparison.json of this program. .*missing"),
    ],
)
def test_a_file_that_is_no_comparison_is_refused_and_stays(program, tmp_path, content, message):
    logdir = tmp_path / "runs"
    logdir.mkdir()
    (logdir / "comparison.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        compared(logdir, program, ["maml"], [1])
    assert (logdir / "comparison.json").read_text() == content


def test_a_run_that_fails_is_told_when_the_others_are_done(program, tmp_path):
    logdir = tmp_path / "runs"
    log = logdir / "maml" / "seed1" / "log.txt"
    with pytest.raises(ValueError, match=f"1 that failed, such as {log}: Error: Expected luck"):
        compared(logdir, program, ["maml", "reptile"], [1], "--fail=maml")
    assert "| Reptile |" in (logdir / "comparison.md").read_text()
    assert [call.split("seed1 ")[1][:9] for call in calls(logdir)] == ["--preset=", "--preset=", "--mode=ev"]
    assert len(compared(logdir, program, ["maml", "reptile"], [1]).splitlines()) == 4
    assert len(calls(logdir)) == 5 and "--resume" in calls(logdir)[3].split()


def test_a_comparison_that_is_stopped_goes_on(program, tmp_path):
    logdir = tmp_path / "runs"
    stop = f"    if flags.get('method') == 'reptile':\n        os.kill({os.getpid()}, 15)\n        signal.pause()\n"
    pathlib.Path(program).write_text(f"import os, signal\n{PROGRAM}{stop}")
    with pytest.raises(Stopped):
        compared(logdir, program, ["maml", "reptile"], [1])
    assert "| MAML |" in (logdir / "comparison.md").read_text()
    pathlib.Path(program).write_text(PROGRAM)
    assert "| Reptile |" in compared(logdir, program, ["maml", "reptile"], [1])
    assert [call.split()[-1] for call in calls(logdir)[2:]].count("--resume") == 1
    assert len(calls(logdir)) == 5


def test_names_and_values_are_checked_before_anything_runs():
    for methods, seeds, common, message in (
        (["mamml"], [1], {}, "or all. Received: 'mamml'"),
        ([], [1], {}, "at least one method"),
        (["maml"], [], {}, "at least one method and one seed"),
        (["maml"], [1], {"filters": 0}, "Received: filters=0"),
    ):
        with pytest.raises(ValueError, match=message):
            configurations("omniglot", "5way_1shot", methods, seeds, common)
    whole = configurations("omniglot", "5way_1shot", ["all"], [1], {})
    assert whole["implicit_maml", 1][1].inner_steps == 8
    assert whole["pretrained", 1][0] == "5way_1shot_pretrained"
