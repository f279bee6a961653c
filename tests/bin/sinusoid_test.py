"""Tests of bin/sinusoid.py, run as a process; the processes are few and shared, as each takes seconds."""

import json
import pathlib
import random
import re
import signal
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.configuration import settings
from maml_tf.experiments.sinusoid.config import METHODS, SinusoidConfig
from maml_tf.files import open_logdir
from maml_tf.results import read_rows
from tests.support import binary

ITERATIONS = 400
SETTINGS = (
    f"--iterations={ITERATIONS}",
    "--validate_every=10",
    "--validation_tasks=20",
    "--test_tasks=10",
    "--grid_points=20",
    "--evaluation_shots=5",
    "--evaluation_steps=2",
    "--multi_task_networks=2",
    "--multi_task_iterations=10",
)
ROW_KEYS = {"method", "shots", "step", "metric", "mean", "sd", "ci95", "tasks", "median", "diverged", "step_size"}


def saved_iterations(folder):
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("checkpoint-*.index"))


def is_saving(folder):
    """Whether some of a checkpoint is there and not its index, which TensorFlow writes last."""
    names = {path.name for path in folder.iterdir()}
    parts = {name.partition(".")[0].removesuffix("_temp") for name in names if name.startswith("checkpoint-")}
    return any(f"{part}.index" not in names for part in parts)


def kill(process, folder, now):
    """Sends SIGKILL as soon as `now()` holds; the process is held still while it is asked the second time."""
    while True:
        if process.code is not None:
            raise RuntimeError(f"ended before the kill: {process.finish()}")
        if folder.is_dir() and now():
            process.send_signal(signal.SIGSTOP)
            if now():
                process.send_signal(signal.SIGKILL)
                return process.finish()
            process.send_signal(signal.SIGCONT)
        time.sleep(0.0005)


def tensors(folder):
    """Returns all that the newest checkpoint holds: weights, the best weights, the optimizer."""
    reader = tf.train.load_checkpoint(str(folder))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


class AllMethodsTest(absltest.TestCase):
    """One run of all methods; another that is killed in the middle of a save, then at a random moment, and resumed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.whole, cls.broken = pathlib.Path(folder.name, "whole"), pathlib.Path(folder.name, "broken")
        whole = binary.Running("sinusoid", "--method=all", f"--logdir={cls.whole}", *SETTINGS)
        cls.addClassCleanup(whole.kill)

        checkpoints = cls.broken / "maml" / "checkpoints"
        arguments = ("sinusoid", "--method=maml", f"--logdir={cls.broken}", *SETTINGS)
        cls.killed, cls.saved, cls.saving = [], [], []
        # Chosen by the system's randomness, so that over many test runs the kill comes at many moments.
        iteration, delay = random.SystemRandom().randrange(50, 300), random.SystemRandom().uniform(0, 0.05)
        cls.moment = f"killed {delay:.4f} s after iteration {iteration}"

        def past_the_moment():
            if not saved_iterations(checkpoints) or saved_iterations(checkpoints)[-1] < iteration:
                return False
            time.sleep(delay)
            return True

        for flags, now in (
            ([], lambda: saved_iterations(checkpoints) and is_saving(checkpoints)),
            (["--resume"], past_the_moment),
        ):
            process = binary.Running(*arguments, "--checkpoint_seconds=0", *flags)
            cls.addClassCleanup(process.kill)
            cls.killed.append(kill(process, checkpoints, now))
            cls.saved.append(saved_iterations(checkpoints))
            cls.saving.append(is_saving(checkpoints))
        cls.files_after_the_kill = {path.name for path in (cls.broken / "maml").iterdir()}
        cls.resumed = binary.run(*arguments, "--resume")
        cls.finished = whole.finish()
        if cls.finished.code:
            raise RuntimeError(cls.finished.stderr)
        cls.results = json.loads((cls.whole / "results.json").read_text())

    def test_rows_are_all_there_in_the_common_form(self):
        rows = self.results["rows"]
        expected = [
            (method, 5, metric, step)
            for method in METHODS
            for metric in ("mse", "mse_grid")
            for step in range(1 if method == "oracle" else 3)
        ]
        self.assertEqual([(row["method"], row["shots"], row["metric"], row["step"]) for row in rows], expected)
        for row in rows:
            self.assertEqual(set(row), ROW_KEYS)
            self.assertEqual(row["tasks"], 10)
            self.assertGreater(row["mean"], 0)
            self.assertAlmostEqual(row["ci95"], 1.96 * row["sd"] / 10**0.5)

    def test_results_say_how_they_came_about(self):
        self.assertContainsSubset(
            {"experiment", "config", "versions", "seconds", "rows", "training_seconds"}, self.results
        )
        self.assertEqual(self.results["experiment"], "sinusoid")
        self.assertEqual(self.results["config"]["iterations"], ITERATIONS)
        self.assertEqual(self.results["config"]["methods"], list(METHODS))
        self.assertEqual(self.results["versions"]["tensorflow"], tf.__version__)
        self.assertEqual(list(self.results["training_seconds"]), list(METHODS))
        best = json.loads((self.whole / "maml" / "validation.json").read_text())
        self.assertEqual((best["metric"], best["mode"]), ("val_loss", "min"))
        self.assertBetween(best["iteration"], 10, ITERATIONS)
        self.assertFalse((self.whole / "random" / "validation.json").exists())

    def test_training_changes_the_networks_and_each_method_in_its_own_way(self):
        kernels = {
            method: keras.models.load_model(self.whole / method / "network.keras", compile=False).get_weights()[0]
            for method in METHODS
        }
        self.assertEqual({method: kernel.shape for method, kernel in kernels.items()},
                         {method: (3 if method == "oracle" else 1, 40) for method in METHODS})  # fmt: skip
        first_rows = [tuple(kernel[0]) for kernel in kernels.values()]
        self.assertLen(set(first_rows), len(METHODS))

    def test_figures_are_images(self):
        self.assertEqual(
            {path.name for path in self.whole.glob("*.png")},
            {"figure2_fits.png", "figure6_learning_curves.png", "figure7_more_fits.png"},
        )
        for path in self.whole.glob("*.png"):
            self.assertTrue(binary.is_png(path), path)

    def test_events_for_tensorboard_are_written(self):
        for folder in ("maml", "pretrained", "multi_task", "figures"):
            self.assertNotEmpty(list((self.whole / folder).glob("events.out.tfevents.*")), folder)

    def test_the_table_is_on_stdout(self):
        header, *lines = self.finished.stdout.splitlines()
        self.assertEqual(
            header.split("  ")[0:1] + [step in header for step in ("after 0 steps", "after 1 step", "after 2 steps")],
            ["method", True, True, True],
        )
        self.assertEqual([line.split()[0] for line in lines[: 2 * len(METHODS)]], list(np.repeat(METHODS, 2)))
        self.assertIn(f"{self.results['rows'][0]['mean']:.3f} +- ", lines[0])
        self.assertEqual(lines[-1], f"Written to {self.whole}")

    def test_the_kills_came_in_the_middle_of_a_save_and_of_the_training(self):
        self.assertEqual([finished.code for finished in self.killed], [-signal.SIGKILL] * 2)
        self.assertTrue(self.saving[0])
        for saved in self.saved:
            self.assertNotEmpty(saved)
            self.assertLess(saved[-1], ITERATIONS, self.moment)
        self.assertNotIn("network.keras", self.files_after_the_kill)

    def test_a_killed_and_resumed_training_ends_as_if_never_stopped(self):
        self.assertEqual(self.resumed.code, 0, (self.moment, self.resumed.stderr))
        networks = [
            keras.models.load_model(folder / "maml" / "network.keras", compile=False).get_weights()
            for folder in (self.whole, self.broken)
        ]
        for whole, resumed in zip(*networks, strict=True):
            np.testing.assert_array_equal(whole, resumed, self.moment)
        whole, resumed = (tensors(folder / "maml" / "checkpoints") for folder in (self.whole, self.broken))
        self.assertEqual(set(whole), set(resumed))
        self.assertTrue(any(name.startswith("best/") for name in whole), sorted(whole))
        for name, value in whole.items():
            # The count of saves, and the record of the objects, tell how often it was saved.
            if not name.startswith(("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")):
                np.testing.assert_array_equal(value, resumed[name], name)

    def test_a_killed_and_resumed_run_has_the_same_results(self):
        rows = json.loads((self.broken / "results.json").read_text())["rows"]
        self.assertEqual(rows, [row for row in self.results["rows"] if row["method"] == "maml"])


# All that a method of one's own takes: meta-learning without adaptation in training, tested with a smaller step.
OWN_METHOD = """
from maml_tf.methods import Method, methods

def build(name, config):
    import maml_tf
    from maml_tf.experiments.sinusoid.train import MetaLearning

    class Plain(maml_tf.Algorithm):
        def loss(self, functions, theta, task, steps, iteration):
            return super().loss(functions, theta, task, 0, iteration)

    class Toy(MetaLearning):
        def learner(self, step_size=0.01):
            return maml_tf.MetaLearner(self.network, "mse", Plain(), step_size)

        def step_sizes(self):
            return {shots: 0.005 for shots in self.config.evaluation_shots}

    return Toy(name, config)

methods.register("toy", Method("Toy", {"sinusoid": {"hidden": (8,)}}, {"sinusoid": build}))
"""


class OwnMethodTest(absltest.TestCase):
    def test_a_method_in_a_file_of_the_users_is_trained_tested_and_drawn(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "own.py").write_text(OWN_METHOD)
        finished = binary.run(
            "sinusoid", f"--register={folder / 'own.py'}", "--method=toy,random", *SETTINGS, f"--logdir={folder}",
            "--iterations=200", "--validate_every=100",
        )  # fmt: skip
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertRegex(finished.stdout, r"\ntoy +5 +mse_grid +\d")
        rows = read_rows(folder / "results.json")
        self.assertEqual({row.extra["step_size"] for row in rows if row.method == "toy"}, {0.005})
        self.assertTrue(binary.is_png(folder / "figure6_learning_curves.png"))
        network = keras.models.load_model(folder / "toy" / "network.keras", compile=False)
        self.assertEqual(network.get_weights()[0].shape, (1, 8))
        # Trained: it predicts better before adaptation than random weights do.
        before = {row.method: row.mean for row in rows if (row.metric, row.step) == ("mse_grid", 0)}
        self.assertLess(before["toy"], before["random"])


class CommandLineTest(absltest.TestCase):
    def test_help_lists_a_flag_for_every_field_of_the_configuration(self):
        finished = binary.run("sinusoid", "--help")
        self.assertEqual(finished.code, 0)
        listed = set(re.findall(r"^ *--(?:\[no\])?(\w+)", finished.stdout, re.MULTILINE))
        fields = {field.flag_name for field in settings(SinusoidConfig).values()}
        self.assertContainsSubset(fields | {"logdir", "resume", "task_a_thread"}, listed)
        self.assertIn("Section 5.1", finished.stdout)

    def test_a_bad_flag_is_one_clear_error(self):
        with tempfile.TemporaryDirectory() as folder:
            finished = binary.run("sinusoid", "--hidden=40,many", f"--logdir={folder}/run")
            self.assertFalse(pathlib.Path(folder, "run").exists())
        self.assertEqual(finished.code, 1)
        [error] = finished.errors
        self.assertIn("Received: hidden='many'", error)
        self.assertNotIn("Traceback", finished.stderr)

    def test_while_another_process_trains_in_the_directory_it_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, open_logdir(folder, [], False):
            finished = binary.run("sinusoid", f"--logdir={folder}")
            self.assertEqual({path.name for path in pathlib.Path(folder).iterdir()}, {".lock"})
        self.assertEqual(finished.code, 1)
        self.assertEqual(
            finished.errors,
            [f"Error: Expected a directory that no other process trains in. Received: {folder!r}, where one does "
             "(it holds .lock)"],
        )  # fmt: skip


if __name__ == "__main__":
    absltest.main()
