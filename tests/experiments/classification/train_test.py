"""Tests of training and evaluating few-shot classification."""

import dataclasses
import hashlib
import json
import os
import pathlib
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.experiments.classification import evaluate as evaluate_module
from maml_tf.experiments.classification import files
from maml_tf.experiments.classification import train as train_module
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.evaluate import evaluate
from maml_tf.experiments.classification.files import open_data
from maml_tf.experiments.classification.train import train
from maml_tf.few_shot.learner import build_learner
from maml_tf.results import file_digest, read_rows
from maml_tf.tasks import Omniglot
from maml_tf.training import load_weights
from maml_tf.training.iterations import Place
from tests.support.keras_warnings import ignore_array_copy
from tests.support.source_tree import PROJECT


class ClassificationTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        # Tested by themselves and in tests/bin; to trace what they write takes half of so short a training.
        silent = mock.patch.object(train_module, "LearnerSummaries", lambda *_, **__: keras.callbacks.Callback())
        self.enter_context(silent)

    def small(self, **fields):
        values = {
            "data_dir": str(PROJECT / "testdata" / "alphabet"), "cache_dir": str(self.folder / "cache"),
            "split": "alphabets", "iterations": 2, "iterations_per_epoch": 2, "validate_every": 2, "filters": 4,
            "meta_batch_size": 2, "validation_tasks": 2, "test_tasks": 4, "evaluation_steps": 1, "first_order": True,
        }  # fmt: skip
        return ClassificationConfig(**{**values, **fields})

    def test_tasks_of_sizes_of_their_own_are_trained_and_evaluated(self):
        logdir = self.folder / "run"
        record = train(self.small(ways=4, least_ways=2, shots=2, least_shots=1), logdir)
        self.assertLen(record["validation"], 1)
        rows = evaluate(logdir, {"least_ways": 3})
        self.assertTrue(all(0 <= row.mean <= 1 for row in rows))
        protocol = json.loads((logdir / "results.json").read_text())["protocol"]
        self.assertEqual((protocol["ways"], protocol["least_ways"], protocol["least_shots"]), (4, 3, 1))

    def test_a_training_goes_on_to_more_iterations_and_is_then_evaluated(self):
        logdir = self.folder / "run"
        parts = []
        pool = Omniglot.pool
        with mock.patch.object(Omniglot, "pool", lambda data, part: parts.append(part) or pool(data, part)):
            train(self.small(), logdir)
            record = train(self.small(iterations=4), logdir, resume=True)
        self.assertEqual(set(parts), {"train", "validation"})
        self.assertTrue((logdir / "checkpoints" / "checkpoint-4.index").exists())
        self.assertEqual([one["iteration"] for one in record["validation"]], [2, 4])
        self.assertLen(record["validation"][0]["accuracy"], 2)
        self.assertTrue((logdir / "training.png").exists())
        self.assertEqual([part["iterations"] for part in record["parts"]], [[0, 2], [2, 4]])
        self.assertIn(record["best_iteration"], (2, 4))
        with self.assertRaisesRegex(ValueError, "differs in filters: stored 4, given 5"):
            train(self.small(iterations=4, filters=5), logdir, resume=True)
        with self.assertRaisesRegex(ValueError, "with checkpoints in 'checkpoints'"):
            train(self.small(), logdir)
        with self.assertRaisesRegex(ValueError, "at least the 4 iterations .* done. Received: 2"):
            train(self.small(), logdir, resume=True)

        rows = evaluate(logdir)
        self.assertEqual(
            [(row.method, row.shots, row.step, row.metric, row.tasks) for row in rows],
            [("maml_first_order", 1, step, "accuracy", 4) for step in (0, 1)],
        )
        self.assertEqual(read_rows(logdir / "results.json"), rows)
        content = json.loads((logdir / "results.json").read_text())
        self.assertEqual(content["training"], record)
        digest = hashlib.sha256((logdir / "best.weights.h5").read_bytes()).hexdigest()
        self.assertEqual(content["weights_sha256"], digest)
        self.assertEqual(content["config"]["iterations"], 4)
        changed = evaluate(
            logdir, {"evaluation_queries": 5, "test_tasks": 2, "evaluation_steps": 2}, self.folder / "other"
        )
        self.assertEqual([(row.step, row.tasks) for row in changed], [(0, 2), (1, 2), (2, 2)])
        content = json.loads((self.folder / "other" / "results.json").read_text())
        self.assertEqual((content["protocol"]["queries_per_class"], content["protocol"]["tasks"]), (5, 2))
        with self.assertRaisesRegex(ValueError, r"Expected an evaluation to change .* alone. Received: \['ways'\]"):
            evaluate(logdir, {"ways": 3})

    def test_the_weights_kept_are_those_of_the_best_validation(self):
        logdir = self.folder / "run"
        # Whatever it learns, the second validation is said to be the best of three.
        accuracies = iter((0.25, 0.75, 0.5))

        def validate(callback, epoch, logs):
            logs.update(val_accuracy_step_0=0.2, val_accuracy_step_1=next(accuracies))
            kept.append(callback.model.get_weights())

        kept: list = []
        with mock.patch.object(train_module.AdaptationValidation, "on_epoch_end", validate):
            record = train(self.small(iterations=6, step_sizes="layer", network="dense"), logdir)
        self.assertEqual((record["best_iteration"], record["best_validation_accuracy"]), (4, 0.75))
        best = json.loads((logdir / "validation.json").read_text())
        expected = {"metric": "val_accuracy_step_1", "mode": "max", "value": 0.75, "iteration": 4}
        self.assertEqual(best, expected)
        config = files.load_config(logdir)
        loaded = files.load_learner(logdir, config).get_weights()
        for value, expected in zip(loaded, kept[1], strict=True):
            np.testing.assert_array_equal(value, expected)
        self.assertFalse(all(np.array_equal(*pair) for pair in zip(loaded, kept[2], strict=True)))
        self.assertFalse(all(np.array_equal(*pair) for pair in zip(loaded, kept[0], strict=True)))
        # The optimizer's moments would treble it.
        self.assertLess((logdir / "best.weights.h5").stat().st_size, 2 * sum(value.nbytes for value in loaded))

    def test_the_weights_kept_are_written_again_from_the_checkpoint(self):
        logdir = self.folder / "run"
        config = self.small(network="dense")
        train(config, logdir)
        path = logdir / "best.weights.h5"
        expected = files.load_learner(logdir, config).get_weights()
        whole = path.read_bytes()
        train(config, logdir, resume=True)
        self.assertEqual(path.read_bytes(), whole)
        other = build_learner(config)
        other.save_weights(self.folder / "other.weights.h5")
        for spoil in (
            path.unlink,
            lambda: path.write_bytes(whole[:1000]),
            lambda: path.write_bytes((self.folder / "other.weights.h5").read_bytes()),
        ):
            spoil()
            train(config, logdir, resume=True)
            for value, kept in zip(files.load_learner(logdir, config).get_weights(), expected, strict=True):
                np.testing.assert_array_equal(value, kept)

    def test_a_training_can_start_from_the_weights_of_another(self):
        first, second = self.folder / "first", self.folder / "second"
        train(self.small(network="dense"), first)
        weights = first / "best.weights.h5"
        # Too small a learning rate to change a weight.
        config = self.small(
            network="dense", seed=2, initial_weights=str(weights), meta_learning_rate=1e-30,
            meta_learning_rate_decay="cosine",
        )  # fmt: skip
        train(config, second)
        kept = files.load_learner(second, config).get_weights()
        for value, expected in zip(
            kept, files.load_learner(first, self.small(network="dense")).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(value, expected)
        with self.assertRaisesRegex(ValueError, "differs in iterations: stored 2, given 4"):
            train(dataclasses.replace(config, iterations=4), second, resume=True)
        weights.unlink()
        # What a checkpoint holds counts.
        train(config, second, resume=True)
        with self.assertRaisesRegex(FileNotFoundError, "Expected a file of weights. Received: .*first/best.weights.h5"):
            train(config, self.folder / "third")
        with self.assertRaisesRegex(ValueError, "Expected the weights of the same model. Received: .*second/best"):
            other = self.small(initial_weights=str(second / "best.weights.h5"))
            train(other, self.folder / "fourth")

    def test_decay_and_annealing_go_on_where_a_killed_training_was(self):
        # MAML++ has a cosine decay; gradients are first order for 3 iterations, and losses of all steps count in 4.
        config = self.small(
            method="maml_plus_plus", network="dense", iterations=6, first_order=False, multi_step_iterations=4, seed=3
        )

        class Killed(keras.callbacks.Callback):
            place = Place.SHOW

            def on_epoch_end(self, epoch, logs=None):
                raise KeyboardInterrupt

        whole, parts = self.folder / "whole", self.folder / "parts"
        train(config, whole)
        save = train_module.AtomicCheckpoint.on_epoch_end

        def save_each(checkpoint, epoch, logs=None):
            checkpoint.every_seconds = 0.0
            save(checkpoint, epoch, logs)

        with (
            mock.patch.object(train_module.AtomicCheckpoint, "on_epoch_end", save_each),
            mock.patch.object(train_module, "Progress", lambda *_, **__: Killed()),
            self.assertRaises(KeyboardInterrupt),
        ):
            train(config, parts)
        self.assertTrue((parts / "checkpoints" / "checkpoint-2.index").exists())
        train(config, parts, resume=True)
        readers = [tf.train.load_checkpoint(str(run / "checkpoints" / "checkpoint-6")) for run in (whole, parts)]
        self.assertEqual({row.method for row in evaluate(parts)}, {"maml_plus_plus"})
        names = readers[0].get_variable_to_shape_map()
        compared = [name for name in names if name.startswith(("model/", "optimizer/", "best/"))]
        self.assertContainsSubset({"model", "optimizer", "best"}, {name.partition("/")[0] for name in compared})
        for name in compared:
            np.testing.assert_array_equal(*(reader.get_tensor(name) for reader in readers), err_msg=name)

    def test_other_batch_statistics_than_the_trainings_can_be_measured_if_they_are_there(self):
        train(self.small(head="normal"), self.folder / "batch")
        train(self.small(head="normal", batch_statistics="running"), self.folder / "running")
        kept = {}
        for run in ("batch", "running"):
            for statistics in ("transductive", "support"):
                config = files.load_config(self.folder / run, {"batch_statistics": statistics})
                learner = files.load_learner(self.folder / run, config)
                kept[run, statistics] = learner.model.get_layer("conv1").get_weights()
        for statistics in ("transductive", "support"):
            # Training is the same: only inference uses the moving averages.
            np.testing.assert_allclose(*(kept[run, statistics] for run in ("batch", "running")), rtol=1e-4, atol=1e-6)
        config = files.load_config(self.folder / "running")
        averages = files.load_learner(self.folder / "running", config).model.get_layer("norm1").moving_mean
        self.assertGreater(np.max(np.abs(averages)), 0)
        with self.assertRaisesRegex(ValueError, "Expected a training with batch_statistics='running'.*transductive"):
            evaluate(self.folder / "batch", {"batch_statistics": "running"})

    def test_a_pretrained_classifier_is_fine_tuned_and_its_features_are_compared(self):
        logdir = self.folder / "pretrained"
        config = self.small(method="pretrained", batch_size=6, evaluation_steps=2, iterations=4)
        train(config, logdir)
        untrained = build_learner(config).model.get_weights()
        with mock.patch.object(evaluate_module, "STEP_SIZES", (0.01, 0.1)):
            rows = evaluate(logdir)
        self.assertEqual(
            [(row.method, row.step, row.tasks) for row in rows],
            [*(("pretrained", step, 4) for step in range(3)), ("nearest_neighbour", 0, 4)],
        )
        protocol = json.loads((logdir / "results.json").read_text())["protocol"]
        self.assertIn(protocol["inner_learning_rate_on_the_mean"], (0.01, 0.1))
        weights = files.load_learner(logdir, config).model.get_weights()
        self.assertFalse(np.array_equal(weights[0], untrained[0]))
        np.testing.assert_array_equal(weights[-2], np.zeros([4, 5]))
        self.assertLen(train(config, logdir, resume=True)["parts"], 1)
        with self.assertRaisesRegex(ValueError, "differs in batch_size: stored 6, given 7"):
            train(dataclasses.replace(config, batch_size=7), logdir, resume=True)

    def test_the_random_baseline_has_nothing_to_train(self):
        config = self.small(method="random", network="dense")
        self.assertEqual(train(config, self.folder / "random"), {})
        with mock.patch.object(evaluate_module, "STEP_SIZES", (0.1,)):
            rows = evaluate(self.folder / "random")
        self.assertEqual([row.method for row in rows], ["random", "random", "nearest_neighbour_random"])

    def test_the_weights_of_another_training_are_not_written_over(self):
        trained, logdir = self.small(network="dense"), self.folder / "run"
        random = dataclasses.replace(trained, method="random")
        files.write_untrained(logdir, trained, lambda network: None)
        weights = file_digest(logdir / "best.weights.h5")
        for config in (trained, random):
            with self.assertRaisesRegex(
                ValueError, "Expected a directory without weights, or to resume .*best.weights"
            ):
                train(config, logdir)
        with self.assertRaisesRegex(ValueError, "weights were made.*differs in batch_size: .*method: stored 'absent'"):
            train(random, logdir, resume=True)
        with self.assertRaisesRegex(ValueError, "Expected a directory without weights. Received: .*best.weights"):
            files.write_untrained(logdir, random, lambda network: None)
        self.assertEqual(files.load_config(logdir), trained)
        self.assertEqual(file_digest(logdir / "best.weights.h5"), weights)
        train(random, self.folder / "random")
        train(random, self.folder / "random", resume=True)

    def test_a_kill_while_files_are_written_leaves_those_before(self):
        config = self.small(network="dense")
        learner = build_learner(config)
        files.write_config(self.folder, config)
        files.write_weights(self.folder, learner)
        before = {path: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}
        self.assertLen(before, 2)
        learner.model.trainable_variables[0].assign_add(keras.ops.ones_like(learner.model.trainable_variables[0]))
        with mock.patch.object(os, "replace", side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                files.write_config(self.folder, dataclasses.replace(config, seed=2))
            with self.assertRaises(KeyboardInterrupt):
                files.write_weights(self.folder, learner)
        for path, content in before.items():
            self.assertEqual(path.read_bytes(), content)

    def test_a_users_folder_may_be_named_by_a_tilde(self):
        with mock.patch.dict(os.environ, {"HOME": str(self.folder)}):
            train(self.small(method="random", network="dense"), "~/random")
            config = files.load_config("~/random")
            self.assertEqual(config.method, "random")
            learner = files.load_learner("~/random", config)
            load_weights(learner, "~/random/best.weights.h5")
            with mock.patch.object(evaluate_module, "STEP_SIZES", (0.1,)):
                evaluate("~/random")
        self.assertTrue((self.folder / "random" / "results.json").exists())

    def test_tasks_that_the_characters_cannot_give_are_an_error_before_the_training(self):
        # The alphabet has 5 validation characters and 10 to train on.
        with self.assertRaisesRegex(ValueError, "ways=6 classes. Received: a pool of 5 classes"):
            train(self.small(ways=6), self.folder / "run")
        self.assertEmpty(list((self.folder / "run").glob("checkpoints/*")))

    def test_an_evaluation_without_training_is_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected the directory of a training, with config.json"):
            evaluate(self.folder)
        (self.folder / "config.json").write_text("{}")
        with self.assertRaisesRegex(FileNotFoundError, "Expected a training that reached its first validation"):
            evaluate(self.folder)

    def test_data_that_are_not_there_are_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "Expected a folder with images_background.zip"):
            open_data(self.small(data_dir=str(self.folder / "nowhere")))


if __name__ == "__main__":
    absltest.main()
