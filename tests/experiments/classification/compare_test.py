"""The comparison of methods: what is run, what is not run again, and the table; a program stands for trainings."""

import json

import pytest

from maml_tf.experiments.classification.compare import compare, configurations

# Writes what bin/few_shot.py would, of flags alone.
PROGRAM = """
import json, pathlib, sys
flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in sys.argv[1:])
folder = pathlib.Path(flags["logdir"])
with open(folder.parents[1] / "calls.txt", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
if "fail" in flags:
    sys.exit(3)
if flags.get("mode") == "evaluate":
    method, seed = folder.parent.name, int(folder.name.removeprefix("seed"))
    mean = {"maml": 0.9, "reptile": 0.5, "random": 0.25}[method] + 0.01 * seed
    rows = [{"method": method, "shots": 1, "step": step, "metric": "accuracy", "mean": mean * (step > 0), "sd": 0.1,
             "ci95": 0.02, "tasks": 6} for step in (0, 3)]
    (folder / "results.json").write_text(json.dumps({"rows": rows}))
else:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"seed": int(flags.get("seed", 1)), "filters": 8}))
    if "random" not in flags["preset"]:
        (folder / "training.json").write_text(json.dumps({"seconds": 12.0}))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


def calls(logdir):
    return (logdir / "calls.txt").read_text().splitlines()


def test_each_method_is_trained_and_tested_once_from_each_seed(program, tmp_path, monkeypatch):
    logdir = tmp_path / "runs"
    logdir.mkdir()
    common = {"iterations": 20, "filters": 8, "data_dir": "/data", "first_order": False}
    runs = configurations("omniglot", "5way_1shot", ["maml", "reptile", "random"], [1, 2], common)
    monkeypatch.setattr("maml_tf.experiments.classification.compare._check_same", lambda *_: None)

    table = compare(runs, logdir, [program, "--register=own.py"])

    lines = table.splitlines()
    assert lines[0] == "| method | accuracy, % | seeds | training, s | CPU, s | peak memory, MiB |"
    assert [line.split(" | ")[:4] for line in lines[2:]] == [
        ["| MAML", "91.5 (91.0 to 92.0)", "2", "12"],
        ["| Reptile", "51.5 (51.0 to 52.0)", "2", "12"],
        ["| random weights", "26.5 (26.0 to 27.0)", "2", "0"],
    ]
    assert (logdir / "comparison.md").read_text() == table + "\n"
    assert (logdir / "comparison.png").exists()
    memory = [line["peak_mebibytes"] for line in json.loads((logdir / "comparison.json").read_text())]
    assert all(5 < peak < 200 for peak in memory)  # A bare Python's.
    made = calls(logdir)
    assert len(made) == 12
    start = f"--register=own.py --dataset=omniglot --logdir={logdir}/maml/seed1 --preset=5way_1shot --"
    assert made[0].startswith(start)
    assert set(made[0].split()) >= {"--iterations=20", "--data_dir=/data", "--filters=8"}
    assert "--seed=2" in made[2].split() and "--method=reptile" in made[4].split()
    assert "--preset=5way_1shot_random" in made[8].split()
    assert made[1].split()[-2:] == ["--mode=evaluate", "--data_dir=/data"]

    assert compare(runs, logdir, [program]) == table
    assert len(calls(logdir)) == 12
    (logdir / "maml" / "seed1" / "results.json").unlink()
    (logdir / "maml" / "seed1" / "checkpoints").mkdir()
    (logdir / "maml" / "seed1" / "checkpoints" / "checkpoint-9.index").touch()
    compare(runs, logdir, [program])
    assert "--resume" in calls(logdir)[12].split()


def test_another_setting_and_a_run_that_fails_are_told(program, tmp_path):
    logdir = tmp_path / "runs"
    runs = configurations("omniglot", "5way_1shot", ["maml"], [1], {"filters": 8})
    logdir.mkdir()
    with pytest.raises(RuntimeError, match=r"exit code 3 of .*--fail=1"):
        compare(runs, logdir, [program, "--fail=1"])
    compare(runs, logdir, [program])
    other = configurations("omniglot", "5way_1shot", ["maml"], [1], {"filters": 9})
    with pytest.raises(ValueError, match=r"which differs in .*filters: stored 8, given 9"):
        compare(other, logdir, [program])


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
