"""Tests of maml_tf.experiments.sinusoid.evaluate."""

import dataclasses
import json
import pathlib
import tempfile
from unittest import mock

import keras
import numpy as np
from absl.testing import absltest

from maml_tf import results
from maml_tf.evaluation import evaluate
from maml_tf.experiments.sinusoid import config as sinusoid_config
from maml_tf.experiments.sinusoid import evaluate as sinusoid
from maml_tf.experiments.sinusoid import train as sinusoid_train
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from maml_tf.learner import MAML
from maml_tf.results import Row
from maml_tf.tasks.sinusoid import Sinusoids, with_task_input
from tests.support.keras_warnings import ignore_array_copy

CONFIG = SinusoidConfig(
    methods=("random", "oracle"),
    iterations=20,
    iterations_per_call=10,
    hidden=(8,),
    evaluation_shots=(5, 3),
    evaluation_steps=2,
    test_tasks=6,
    grid_points=9,
    validation_tasks=5,
)


class RunTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ignore_array_copy()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.rows = sinusoid.run(CONFIG, str(cls.folder))

    def setUp(self):
        super().setUp()
        ignore_array_copy()

    def values(self, **fields):
        return [row for row in self.rows if all(getattr(row, key) == value for key, value in fields.items())]

    def tasks(self, shots, grid):
        return Sinusoids().draw(
            CONFIG.stream(sinusoid_config.TEST), 0, tasks=6, shots=shots, queries=9 if grid else shots,
            query_grid=grid,
        )  # fmt: skip

    def test_rows_are_those_of_the_file(self):
        read = results.read_rows(self.folder / "results.json")
        self.assertEqual([row.to_dict() for row in read], [row.to_dict() for row in self.rows])
        content = json.loads((self.folder / "results.json").read_text())
        self.assertEqual(content["experiment"], "sinusoid")
        self.assertEqual(list(content["training_seconds"]), ["random", "oracle"])
        self.assertEqual(content["training_seconds"]["random"], 0)
        self.assertGreater(content["training_seconds"]["oracle"], 0)

    def test_the_oracle_has_nothing_to_adapt_to_and_is_told_the_task(self):
        network = keras.models.load_model(self.folder / "oracle" / "network.keras", compile=False)
        for shots in (5, 3):
            for metric, grid in (("mse", False), ("mse_grid", True)):
                [row] = self.values(method="oracle", shots=shots, metric=metric)
                self.assertEqual(row.step, 0)
                episode = with_task_input(self.tasks(shots, grid))
                errors = [
                    np.mean((np.asarray(network(x)) - np.asarray(y)) ** 2)
                    for x, y in zip(episode.query_x, episode.query_y, strict=True)
                ]
                self.assertAlmostEqual(row.mean, np.mean(errors), places=4)
                self.assertAlmostEqual(row.sd, np.std(errors, ddof=1), places=4)

    def test_an_adapting_methods_errors_are_on_the_test_tasks_with_the_step_size_stated(self):
        network = keras.models.load_model(self.folder / "random" / "network.keras", compile=False)
        for shots in (5, 3):
            for metric, grid in (("mse", False), ("mse_grid", True)):
                rows = self.values(method="random", shots=shots, metric=metric)
                self.assertEqual([row.step for row in rows], [0, 1, 2])
                [step_size] = {row.extra["step_size"] for row in rows}
                data = self.tasks(shots, grid).episode.keras_data()
                (values,) = evaluate(MAML(network, "mse", step_size), [data], 2).values.values()
                np.testing.assert_allclose([row.mean for row in rows], values.mean(axis=1), rtol=1e-4)

    def test_the_table_has_a_line_a_method_number_of_shots_and_metric(self):
        header, *lines = sinusoid.table(self.rows).splitlines()
        self.assertRegex(header, r"^method +shots +metric +after 0 steps +after 1 step +after 2 steps$")
        self.assertEqual(
            [line.split()[:3] for line in lines],
            [[m, k, metric] for m in ("random", "oracle") for k in ("5", "3") for metric in ("mse", "mse_grid")],
        )

    def test_a_second_run_in_the_same_directory_is_refused_before_it_trains(self):
        with self.assertRaisesRegex(ValueError, "with checkpoints in 'oracle/checkpoints'"):
            sinusoid.run(CONFIG, str(self.folder))

    def test_results_of_other_methods_stay_and_those_of_another_configuration_are_refused(self):
        logdir = self.create_tempdir().full_path
        for method in ("random", "maml"):
            rows = sinusoid.run(dataclasses.replace(CONFIG, methods=(method,)), logdir)
        self.assertEqual(list(dict.fromkeys(row.method for row in rows)), ["random", "maml"])
        self.assertEqual(results.read_rows(pathlib.Path(logdir, "results.json")), rows)
        self.assertEqual([row for row in rows if row.method == "random"], self.values(method="random"))
        with self.assertRaisesRegex(ValueError, "differs in test_tasks: stored 6, given 7 from that of random, maml"):
            sinusoid.run(dataclasses.replace(CONFIG, methods=("oracle",), test_tasks=7), logdir)
        self.assertFalse(pathlib.Path(logdir, "oracle").exists())

    def test_a_run_that_is_killed_keeps_the_results_of_the_methods_it_finished(self):
        logdir = self.create_tempdir().full_path

        interrupted = mock.patch.object(sinusoid_train.Oracle, "train", side_effect=KeyboardInterrupt)
        with interrupted, self.assertRaises(KeyboardInterrupt):
            sinusoid.run(CONFIG, logdir)
        self.assertEqual(results.read_rows(pathlib.Path(logdir, "results.json")), self.values(method="random"))

    def test_a_finished_run_resumed_has_the_same_results(self):
        seconds = json.loads((self.folder / "results.json").read_text())["training_seconds"]
        self.assertEqual(sinusoid.run(CONFIG, str(self.folder), resume=True), self.rows)
        self.assertEqual(json.loads((self.folder / "results.json").read_text())["training_seconds"], seconds)


class TableTest(absltest.TestCase):
    def test_the_steps_are_table_2s_and_the_last(self):
        rows = [Row("maml", 5, step, "mse", 1.0, 1.0, 0.1, 6) for step in range(13)]
        header = sinusoid.table(rows).splitlines()[0]
        steps = [int(words.split()[1]) for words in header.split("  ") if words.strip().startswith("after")]
        self.assertEqual(steps, [0, 1, 5, 10, 12])


class StepSizesTest(absltest.TestCase):
    def test_maml_keeps_the_step_size_it_was_trained_with(self):
        for method in ("maml", "maml_first_order"):
            self.assertEqual(sinusoid_train.build_method(method, CONFIG).step_sizes(), {5: 0.01, 3: 0.01})


if __name__ == "__main__":
    absltest.main()
