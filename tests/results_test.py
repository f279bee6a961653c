"""Tests of maml_tf.results."""

import dataclasses
import json
import math
import pathlib
import sys
import tempfile
import types

import numpy as np
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.configuration import Configuration, setting
from maml_tf.results import MethodResults, Row, file_digest, format_table, read_rows, write_results


@dataclasses.dataclass(frozen=True)
class Config:
    alpha: float = 0.01
    shots: tuple[int, ...] = (5, 10)


def row(method="maml", shots=5, step=1, mean=0.5, **values):
    return Row(method, shots, step, "mse", mean, sd=1.0, ci95=0.08, tasks=600, **values)


class WriteResultsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), "results.json")

    def write(self, rows, **extra):
        write_results(self.path, experiment="sinusoid", config=Config(), rows=rows, seconds=1.5, **extra)
        return json.loads(self.path.read_text())

    def test_the_file_holds_everything(self):
        content = self.write([row()], iterations=7)
        self.assertEqual(
            {key: value for key, value in content.items() if key != "versions"},
            {
                "experiment": "sinusoid",
                "config": {"alpha": 0.01, "shots": [5, 10]},
                "seconds": 1.5,
                "rows": [
                    {
                        "method": "maml",
                        "shots": 5,
                        "step": 1,
                        "metric": "mse",
                        "mean": 0.5,
                        "sd": 1.0,
                        "ci95": 0.08,
                        "tasks": 600,
                    }
                ],
                "iterations": 7,
            },
        )
        # Simulators are named where they are imported, which another test may have done.
        simulators = [name for name in ("gymnasium", "metaworld", "mujoco") if name in sys.modules]
        self.assertCountEqual(content["versions"], ["python", "tensorflow", "keras", "numpy", "maml_tf", *simulators])
        self.assertEqual(content["versions"]["maml_tf"], maml_tf.__version__)

    def test_rows_are_read_as_written(self):
        rows = [row(), row(step=2, median=0.4, diverged=0), row(step=3, extra={"query": "grid"})]
        self.write(rows)
        self.assertEqual(read_rows(self.path), rows)

    def test_not_finite_is_null_in_the_file_and_nan_when_read(self):
        content = self.write([row(mean=math.inf, median=0.1, diverged=1), row(mean=np.float32("nan"))])
        self.assertEqual([written["mean"] for written in content["rows"]], [None, None])
        self.assertTrue(all(math.isnan(read.mean) for read in read_rows(self.path)))

    def test_numpy_values_are_written_as_numbers(self):
        content = self.write([row(mean=np.float32(0.5), diverged=np.int64(2), extra={"all": np.arange(2)})])
        self.assertEqual([content["rows"][0][key] for key in ("mean", "diverged", "all")], [0.5, 2, [0, 1]])

    def test_what_json_cannot_hold_leaves_the_old_file(self):
        self.write([row()])
        with self.assertRaises(TypeError):
            self.write([row(extra={"bad": object()})])
        self.assertEqual(read_rows(self.path), [row()])

    def test_an_extra_key_may_not_hide_a_field(self):
        with self.assertRaisesRegex(ValueError, r"Expected extra keys .* Received: \['mean'\]"):
            self.write([row(extra={"mean": 1})])

    def test_a_missing_file_is_an_error(self):
        with self.assertRaises(FileNotFoundError):
            read_rows(self.path)


class FileDigestTest(absltest.TestCase):
    def test_is_that_of_the_content(self):
        path = pathlib.Path(self.create_tempfile(content="abc").full_path)
        # The example of FIPS 180-4.
        expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        self.assertEqual(file_digest(path), expected)


class RowTest(absltest.TestCase):
    def test_of_a_summary(self):
        summary = types.SimpleNamespace(
            metric="mse", step=3, mean=1.0, sd=2.0, ci95=0.5, tasks=9, median=0.8, diverged=0
        )
        expected = Row("maml", 10, 3, "mse", 1.0, 2.0, 0.5, 9, 0.8, 0, {"query": "grid"})
        self.assertEqual(Row.of("maml", 10, summary, query="grid"), expected)


class FormatTableTest(parameterized.TestCase):
    def test_methods_and_shots_are_lines_and_steps_are_columns(self):
        rows = [row(step=0, mean=3.25), row(step=1), row(step=10, mean=0.0123)]
        rows += [row("pretrained", 10, 1, mean=-2.0), row("pretrained", 10, 10, mean=1.96e6)]
        expected = """\
method      shots  metric  after 0 steps   after 1 step     after 10 steps
maml            5  mse     3.250 +- 0.080  0.500 +- 0.080   0.012 +- 0.080
pretrained     10  mse     -               -2.000 +- 0.080  1.96e+06 +- 0.080"""
        self.assertEqual(format_table(rows), expected)

    @parameterized.parameters((-1.96e6, "-1.96e+06 +- 0.080"), (-9999.0, "-9999.000 +- 0.080"))
    def test_large_numbers_are_short(self, mean, expected):
        self.assertEndsWith(format_table([row(mean=mean)]), expected)

    def test_only_some_steps(self):
        expected = "method  shots  metric  after 1 step\nmaml        5  mse     0.500 +- 0.080"
        self.assertEqual(format_table([row(step=step) for step in range(4)], steps=[1]), expected)

    @parameterized.parameters(
        (dict(diverged=0, median=0.4), "nan +- 0.080"),
        (dict(diverged=2, median=0.4), "nan +- 0.080 (median 0.400, 2 of 600 diverged)"),
        (dict(diverged=2), "nan +- 0.080 (2 of 600 diverged)"),
    )
    def test_diverged_tasks_are_told(self, values, expected):
        self.assertEndsWith(format_table([row(mean=math.nan, **values)]), expected)

    def test_percent(self):
        rows = [Row("maml", 1, 3, "accuracy", 0.9871, 0.05, 0.004, 600)]
        self.assertEndsWith(format_table(rows, percent=True), "98.7 +- 0.4")


@dataclasses.dataclass(frozen=True)
class RunConfig(Configuration):
    methods: tuple[str, ...] = setting((), "Methods.", role="runtime")
    seed: int = setting(1, "Seed.")
    checkpoint_seconds: float = setting(1.0, "Seconds.", role="runtime")


def rows_of(method, mean=0.5):
    return [row(method, step=step, mean=mean) for step in range(2)]


class MethodResultsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path, "results.json")

    def results(self, *methods, resume=False, experiment="sinusoid", **fields):
        return MethodResults(self.path, experiment, RunConfig(methods, **fields), methods, resume)

    def test_every_method_is_written_at_once(self):
        results = self.results("maml", "oracle")
        self.assertFalse(self.path.exists())
        results.add("maml", rows_of("maml"), training_seconds=7.0)
        self.assertEqual(read_rows(self.path), rows_of("maml"))
        results.add("oracle", rows_of("oracle"), training_seconds=8.0)
        self.assertEqual(read_rows(self.path), rows_of("maml") + rows_of("oracle"))
        self.assertEqual(results.rows, rows_of("maml") + rows_of("oracle"))
        content = json.loads(self.path.read_text())
        self.assertEqual(content["training_seconds"], {"maml": 7.0, "oracle": 8.0})
        self.assertEqual(content["experiment"], "sinusoid")

    def test_rows_of_other_methods_stay(self):
        self.results("maml").add("maml", rows_of("maml"), training_seconds=7.0)
        self.results("oracle", checkpoint_seconds=9.0).add("oracle", rows_of("oracle"), training_seconds=8.0)
        self.assertEqual(read_rows(self.path), rows_of("maml") + rows_of("oracle"))
        self.assertEqual(json.loads(self.path.read_text())["training_seconds"], {"maml": 7.0, "oracle": 8.0})

    def test_a_method_that_is_measured_again_takes_its_own_place(self):
        first = self.results("maml", "oracle")
        first.add("maml", rows_of("maml"))
        first.add("oracle", rows_of("oracle"))
        self.results("maml", resume=True).add("maml", rows_of("maml", mean=0.4))
        self.assertEqual(read_rows(self.path), rows_of("maml", mean=0.4) + rows_of("oracle"))

    def test_results_of_before_there_was_a_field_have_its_default(self):
        self.results("maml").add("maml", rows_of("maml"))
        content = json.loads(self.path.read_text())
        del content["config"]["seed"]
        self.path.write_text(json.dumps(content))
        with self.assertRaisesRegex(ValueError, "differs in seed: stored 1, given 2"):
            self.results("oracle", seed=2)
        self.results("oracle").add("oracle", rows_of("oracle"))
        self.assertEqual(read_rows(self.path), rows_of("maml") + rows_of("oracle"))

    def test_results_of_another_configuration_are_refused(self):
        self.results("maml").add("maml", rows_of("maml"))
        message = r"in '.*results.json'.* seed: stored 1, given 2 from that of maml$"
        for methods, resume in ((["oracle"], False), (["oracle"], True), (["maml"], False)):
            with self.assertRaisesRegex(ValueError, message):
                self.results(*methods, seed=2, resume=resume)
        with self.assertRaisesRegex(ValueError, "experiment: stored 'sinusoid', given 'ant'"):
            self.results("oracle", experiment="ant")
        self.assertEqual(read_rows(self.path), rows_of("maml"))

    def test_results_of_another_experiment_are_refused_resumed_or_not(self):
        self.results("maml").add("maml", rows_of("maml"))
        before = self.path.read_text()
        for resume in (False, True):
            with self.assertRaisesRegex(
                ValueError, "differs in experiment: stored 'sinusoid', given 'ant' from that of maml"
            ):
                self.results("maml", resume=resume, experiment="ant")
        self.assertEqual(self.path.read_text(), before)

    def test_a_file_that_holds_something_else_is_named(self):
        for content in ("[]", "{}", '{"rows": []}'):
            self.path.write_text(content)
            with self.assertRaisesRegex(ValueError, "results.json"):
                self.results("maml")

    def test_a_resumed_run_does_not_drop_what_it_does_not_measure(self):
        results = self.results("maml", "oracle")
        for method in ("maml", "oracle"):
            results.add(method, rows_of(method))
        with self.assertRaisesRegex(ValueError, "seed: stored 1, given 2 from that of maml, oracle$"):
            self.results("maml", seed=2, resume=True)
        self.assertEqual(read_rows(self.path), rows_of("maml") + rows_of("oracle"))

    def test_a_resumed_run_replaces_what_it_measures_alone(self):
        first = self.results("maml", "oracle")
        first.add("maml", rows_of("maml"))
        first.add("oracle", rows_of("oracle"))
        resumed = self.results("maml", "oracle", seed=2, resume=True)
        self.assertEqual(read_rows(self.path), rows_of("maml") + rows_of("oracle"))
        resumed.add("maml", rows_of("maml", mean=0.4))
        self.assertEqual(read_rows(self.path), rows_of("maml", mean=0.4))


if __name__ == "__main__":
    absltest.main()
