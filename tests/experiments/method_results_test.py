"""Tests of maml_tf.experiments.method_results."""

import dataclasses
import json
import pathlib

from absl.testing import absltest

from maml_tf.experiments.method_results import MethodResults
from maml_tf.experiments.results import Row, read_rows


@dataclasses.dataclass(frozen=True)
class Config:
    methods: tuple[str, ...] = ()
    seed: int = 1
    checkpoint_seconds: float = 1.0


def rows(method, mean=0.5):
    return [Row(method, 5, step, "mse", mean, sd=1.0, ci95=0.08, tasks=600) for step in range(2)]


class MethodResultsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path, "results.json")

    def results(self, *methods, resume=False, experiment="sinusoid", **fields):
        return MethodResults(self.path, experiment, Config(methods, **fields), methods, resume)

    def test_every_method_is_written_at_once(self):
        results = self.results("maml", "oracle")
        self.assertFalse(self.path.exists())
        results.add("maml", rows("maml"), training_seconds=7.0)
        self.assertEqual(read_rows(self.path), rows("maml"))
        results.add("oracle", rows("oracle"), training_seconds=8.0)
        self.assertEqual(read_rows(self.path), rows("maml") + rows("oracle"))
        self.assertEqual(results.rows, rows("maml") + rows("oracle"))
        content = json.loads(self.path.read_text())
        self.assertEqual(content["training_seconds"], {"maml": 7.0, "oracle": 8.0})
        self.assertEqual(content["experiment"], "sinusoid")

    def test_rows_of_other_methods_stay(self):
        self.results("maml").add("maml", rows("maml"), training_seconds=7.0)
        self.results("oracle", checkpoint_seconds=9.0).add("oracle", rows("oracle"), training_seconds=8.0)
        self.assertEqual(read_rows(self.path), rows("maml") + rows("oracle"))
        self.assertEqual(json.loads(self.path.read_text())["training_seconds"], {"maml": 7.0, "oracle": 8.0})

    def test_a_method_that_is_measured_again_takes_its_own_place(self):
        first = self.results("maml", "oracle")
        first.add("maml", rows("maml"))
        first.add("oracle", rows("oracle"))
        self.results("maml", resume=True).add("maml", rows("maml", mean=0.4))
        self.assertEqual(read_rows(self.path), rows("maml", mean=0.4) + rows("oracle"))

    def test_results_of_before_there_was_a_field_have_its_default(self):
        self.results("maml").add("maml", rows("maml"))
        content = json.loads(self.path.read_text())
        del content["config"]["seed"]
        self.path.write_text(json.dumps(content))
        with self.assertRaisesRegex(ValueError, "differs in seed: stored 1, given 2"):
            self.results("oracle", seed=2)
        self.results("oracle").add("oracle", rows("oracle"))
        self.assertEqual(read_rows(self.path), rows("maml") + rows("oracle"))

    def test_results_of_another_configuration_are_refused(self):
        self.results("maml").add("maml", rows("maml"))
        message = r"another --logdir. Received: one that differs in seed: stored 1, given 2 from that of maml in '.*res"
        for methods, resume in ((["oracle"], False), (["oracle"], True), (["maml"], False)):
            with self.assertRaisesRegex(ValueError, message):
                self.results(*methods, seed=2, resume=resume)
        with self.assertRaisesRegex(ValueError, "experiment: stored 'sinusoid', given 'ant'"):
            self.results("oracle", experiment="ant")
        self.assertEqual(read_rows(self.path), rows("maml"))

    def test_results_of_another_experiment_are_refused_resumed_or_not(self):
        self.results("maml").add("maml", rows("maml"))
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
            with self.assertRaisesRegex(ValueError, "Expected results.* Received: others in '.*results.json'"):
                self.results("maml")

    def test_a_resumed_run_does_not_drop_what_it_does_not_measure(self):
        results = self.results("maml", "oracle")
        for method in ("maml", "oracle"):
            results.add(method, rows(method))
        with self.assertRaisesRegex(ValueError, "seed: stored 1, given 2 from that of maml, oracle in"):
            self.results("maml", seed=2, resume=True)
        self.assertEqual(read_rows(self.path), rows("maml") + rows("oracle"))

    def test_a_resumed_run_replaces_what_it_measures_alone(self):
        first = self.results("maml", "oracle")
        first.add("maml", rows("maml"))
        first.add("oracle", rows("oracle"))
        resumed = self.results("maml", "oracle", seed=2, resume=True)
        self.assertEqual(read_rows(self.path), rows("maml") + rows("oracle"))
        resumed.add("maml", rows("maml", mean=0.4))
        self.assertEqual(read_rows(self.path), rows("maml", mean=0.4))


if __name__ == "__main__":
    absltest.main()
