"""Tests of bin/sweep.py: what is wrong is said before anything runs, and the commands are those of the experiments."""

import json
import pathlib

from absl.testing import absltest, parameterized

from maml_tf.commands import sweep
from maml_tf.configuration import to_dict
from maml_tf.experiments.sweep.plan import Plan, Range
from maml_tf.experiments.sweep.state import Sweep
from tests.support import binary

_DEFAULTS = {
    "seeds": ["1"], "values": [], "range": [], "log_range": [], "trials": None, "parallel": 1, "resume": False,
    "table": False, "register": [],
}  # fmt: skip


class FlagsTest(parameterized.TestCase):
    @parameterized.parameters(
        (None, {}, [], "Expected an experiment first: one of sinusoid, omniglot,"),
        ("sinusoids", {}, [], "Received: sinusoids. Did you mean sinusoid?"),
        ("sinusoid", {"seeds": ["1", "a"]}, [], "Expected whole numbers by commas. Received: --seeds=a"),
        ("sinusoid", {"seeds": []}, [], "Expected at least one seed"),
        ("sinusoid", {}, ["--inner_rate=3"], "Unknown command line flag 'inner_rate'. Did you mean: inner_steps ?"),
        ("sinusoid", {}, ["more"], "Expected flags alone, each with two dashes. Received: more"),
        ("sinusoid", {}, ["--resume"], "Expected no flag that the sweep itself sets"),
        ("sinusoid", {"values": ["shots:5,0"]}, [], "Expected shots to be a whole number of at least 1."),
        ("sinusoid", {"values": ["validate_every:7"]}, ["--iterations=9"], "Expected iterations to be a multiple of"),
        ("sinusoid", {"values": ["shots"]}, [], "Expected --values=FLAG:VALUE,VALUE,.... Received: --values=shots"),
        ("sinusoid", {"values": ["seed:1,2"]}, [], "Expected a flag that the sweep itself does not set"),
        ("sinusoid", {"values": ["shots:1"]}, ["--shots=2"], "Expected a flag that another flag does not set"),
        ("sinusoid", {"range": ["shots:1,5"]}, [], "Expected --trials, the number of settings to draw, with ranges"),
        ("sinusoid", {"trials": 5}, [], "Expected --values, --range or --log_range to draw from with --trials"),
        ("sinusoid", {"range": ["shots:5"], "trials": 2}, [], "Expected --range=FLAG:LEAST,GREATEST or FLAG:LEAST,"),
        ("sinusoid", {"range": ["shots:5,1"], "trials": 2}, [], "Expected LEAST < GREATEST."),
        ("sinusoid", {"range": ["shots:0,5"], "trials": 2}, [], "Expected shots to be a whole number of at least 1"),
        ("sinusoid", {"log_range": ["inner_learning_rate:0,1"], "trials": 2}, [], "Expected 0 < LEAST < GREATEST"),
        ("sinusoid", {"range": ["shots:1,5,0"], "trials": 2}, [], "Expected whole numbers of --range with a STEP"),
        ("sinusoid", {"range": ["shots:1,5,5"], "trials": 2}, [], "Received: --range=shots:1,5,5"),
        ("sinusoid", {"range": ["inner_learning_rate:0,1,1"], "trials": 2}, [], "Expected whole numbers of --range"),
        ("sinusoid", {"log_range": ["shots:1,5,2"], "trials": 2}, [], "Expected whole numbers of --range"),
        ("sinusoid", {"range": ["iterations:1000,2500"], "trials": 2}, ["--validate_every=500"],
         "Received: iterations=1001. A range of which not all numbers fit needs a step: --range=FLAG:LEAST,"),
        ("sinusoid", {"range": ["method:1,2"], "trials": 2}, [], "Expected a number of maml-tf sinusoid: one of"),
        ("sinusoid", {"range": ["shots:1,5"], "trials": 2}, ["--method=maml,random"], "Expected one method a run with"),
        ("sinusoid", {"values": ["iterations:3000,500"]}, ["--validate_every=300"], "Expected iterations to be"),
        ("half_cheetah", {"values": ["task:fly"]}, [], "flag --task=fly: value should be one of <velocity|direction>"),
        ("few_shot", {"values": ["preset:5way"]}, ["--dataset=cub"], "value should be one of <5way_1shot|"),
        (None, {"table": True}, [], "Expected the directory of a sweep, with sweep.json"),
    )  # fmt: skip
    def test_what_is_wrong_is_one_error_before_anything_runs(self, name, given, passed, message):
        folder = pathlib.Path(self.create_tempdir().full_path)
        with self.assertRaises((ValueError, FileNotFoundError)) as raised:
            sweep.run_sweep({**_DEFAULTS, "logdir": str(folder / "sweep"), **given}, name, passed)
        self.assertIn(message, str(raised.exception))
        self.assertNotIn("\n", str(raised.exception))
        self.assertEmpty(list(folder.iterdir()))

    @parameterized.parameters(
        ("sinusoid", {"values": ["iterations:3000,6000"]}, ["--validate_every=300"]),
        ("meta_rl", {"values": ["sampler:ray"]}, ["--workers=4"]),
        ("meta_rl", {"values": ["sampler:ray"], "range": ["inner_learning_rate:0.1,1"], "trials": 2}, ["--workers=4"]),
    )
    def test_flags_of_all_runs_may_need_the_values_of_a_setting(self, name, given, passed):
        plan = sweep._plan({**_DEFAULTS, **given}, name, passed)
        sweep._check_settings(plan)
        self.assertEqual(plan.flags, tuple(passed))

    def test_an_end_of_a_range_that_is_no_step_is_the_last_step_before_it(self):
        given = {**_DEFAULTS, "range": ["iterations:1000,2600,500"], "trials": 2}
        plan = sweep._plan(given, "sinusoid", ["--validate_every=500"])
        sweep._check_settings(plan)
        self.assertEqual(plan.ranges, {"iterations": Range(1000, 2500, True, step=500)})

    @parameterized.parameters(
        ("shots:5,10,5", "shots", ("5", "10")),
        ("evaluation_shots:5,10;20;5,10", "evaluation_shots", ("5,10", "20")),
        ("evaluation_shots:5,10;", "evaluation_shots", ("5,10",)),
    )
    def test_a_value_given_twice_is_run_once_and_may_have_commas(self, text, flag, values):
        self.assertEqual(sweep._plan({**_DEFAULTS, "values": [text]}, "sinusoid", []).values, {flag: values})

    @parameterized.parameters(
        ("sinusoid", ["--shots=5"], ["--evaluation_shots=5,9"], {"shots": 5, "evaluation_shots": [5, 9]}),
        ("omniglot", ["--preset=20way_1shot"], ["--first_order=true"], {"ways": 20, "first_order": True}),
        ("few_shot", ["--dataset=cub"], ["--method=anil"], {"dataset": "cub", "adapted": "head"}),
        ("ant", ["--task=direction"], ["--hidden=8"], {"environment": "ant_direction", "hidden": 8}),
        ("point_navigation", ["--goal=square"], [], {"environment": "point_navigation_square_goal"}),
    )  # fmt: skip
    def test_a_run_is_the_experiments_own_command(self, name, of_all, own, fields):
        own = [*own, "--seed=2"]
        training, *test = sweep._commands(name, of_all, ["--register=a.py"], own, pathlib.Path("runs/x"), resume=True)
        self.assertEqual(training[:3], ["-m", "maml_tf", name.replace("_", "-")])
        self.assertEqual(training[3:], ["--register=a.py", "--logdir=runs/x", *of_all, *own, "--resume"])
        config = to_dict(sweep._configure(name, [*of_all, *own]))
        self.assertEqual({name: config[name] for name in fields}, fields)
        self.assertEqual(config["seed"], 2)
        if name in ("omniglot", "few_shot"):  # The test takes its settings from the training.
            dataset = ["--dataset=cub"] * (name == "few_shot")
            self.assertEqual(test, [[*training[:5], *dataset, "--mode=evaluate"]])
        else:
            self.assertEmpty(test)

    def test_every_experiment_is_a_command_with_flags_to_define(self):
        commands = pathlib.Path(sweep.__file__).parent.glob("*.py")
        defining = [path.stem for path in commands if "\ndef define(" in path.read_text(encoding="utf-8")]
        self.assertCountEqual(sweep.EXPERIMENTS, defining)
        for name in sweep.EXPERIMENTS:
            self.assertEqual(list(sweep._parse(name, ["--seed=3"]).given), ["seed"])
            self.assertEqual(sweep._configure(name, ["--seed=3"]).seed, 3)


class SweepTest(absltest.TestCase):
    def test_the_table_is_shown_and_a_failure_is_the_exit_code(self):
        logdir = pathlib.Path(self.create_tempdir().full_path)
        plan = Plan("sinusoid", (), {"shots": ("5", "10")})
        state = Sweep.open(logdir, plan, resume=False)
        for run, name in zip(state.every_run(), ("finished", "waiting"), strict=True):
            run.folder.mkdir(parents=True)
            row = {
                "method": "maml",
                "shots": 5,
                "step": 1,
                "metric": "mse",
                "mean": 0.5,
                "sd": 1,
                "ci95": 1,
                "tasks": 9,
            }
            (run.folder / "results.json").write_text(json.dumps({"rows": [row]}))
            (run.folder / "usage.json").write_text(json.dumps({"cpu_seconds": 7.1}))
            state.note(run.folder, name)
        finished = binary.run("sweep", "--table", f"--logdir={logdir}")
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertEqual(finished.stdout.splitlines()[2:4], [
            "| 5 | - | 0.5 | 0.5 | - | 7.1 | 1 |", "| 10 | - | - | - | - | - | 0 of 1 |",
        ])  # fmt: skip
        self.assertTrue((logdir / "table.md").exists())
        # What is registered is registered in every run; here that fails.
        own = pathlib.Path(self.create_tempdir().full_path, "own.py")
        own.write_text("import sys\nif 'sinusoid' in sys.argv[0]:\n    sys.exit('Error: of my own')\n")
        flags = ["--values=shots:5,10", "--resume", f"--register={own}", f"--logdir={logdir}"]
        failed = binary.run("sweep", "sinusoid", *flags)
        log = logdir / "shots=10" / "seed1" / "log.txt"
        self.assertEqual(failed.code, 1)
        self.assertIn(f"| 10 | - | - | - | - | - | 0 of 1; failed: {log} |", failed.stdout)
        self.assertLen(failed.errors, 1)
        self.assertEndsWith(failed.errors[0], f"1 that failed, such as {log}: Error: of my own")


if __name__ == "__main__":
    absltest.main()
