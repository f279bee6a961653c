"""Tests of maml_tf.training.checkpointing."""

import dataclasses
import os
import pathlib
import resource
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from maml_tf.tasks.sinusoid import Sinusoids, pooled
from maml_tf.training.checkpointing import AtomicCheckpoint
from maml_tf.training.iterations import Iterations
from maml_tf.training.validation import BestWeights

STEPS = 4
CONFIG = {"seed": 1, "alpha": 0.01, "net": {"units": [8]}}


def small_model(seed=0):
    """A net whose training depends on everything that a checkpoint must hold: slots, statistics, seeds."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), loss="mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def all_state(model):
    return [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]


class Training:
    """What a new process would build."""

    def __init__(self, directory, seed=0, config=CONFIG, total=1000, **arguments):
        self.model = small_model(seed)
        self.iterations = Iterations(total, STEPS)
        self.best = BestWeights(self.model, "val_loss", self.iterations)
        self.checkpoint = AtomicCheckpoint(
            directory,
            self.iterations,
            config,
            model=self.model,
            optimizer=self.model.optimizer,
            best=self.best.state,
            **{"every_seconds": 0.0, **arguments},
        )

    def save(self, iteration):
        self.iterations.variable.assign(iteration)
        return self.checkpoint.save()

    def fit(self, epochs):
        iteration = self.checkpoint.restore()
        dataset = tf.data.Dataset.range(iteration, 1000).map(self.data)
        return self.model.fit(
            dataset,
            epochs=epochs,
            initial_epoch=iteration // STEPS,
            steps_per_epoch=STEPS,
            shuffle=False,
            verbose=0,
            validation_data=self.data(tf.constant(2000, tf.int64)),
            callbacks=[self.iterations, self.best, self.checkpoint],
        )

    @staticmethod
    def data(index):
        return pooled(Sinusoids().draw(1, index, tasks=3, shots=4, queries=0).episode)


class AtomicCheckpointTest(parameterized.TestCase):
    def directory(self):
        return pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def test_resume_equals_never_stopped_bit_for_bit(self):
        straight = Training(self.directory())
        straight.fit(epochs=6)
        directory = self.directory()
        Training(directory).fit(epochs=3)
        resumed = Training(directory, seed=99)
        resumed.fit(epochs=6)
        for one, other in zip(all_state(straight.model), all_state(resumed.model), strict=True):
            np.testing.assert_array_equal(one, other)
        self.assertEqual((straight.best.value, straight.best.iteration), (resumed.best.value, resumed.best.iteration))
        for one, other in zip(straight.best.state.weights, resumed.best.state.weights, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_restore_brings_back_every_variable(self):
        directory = self.directory()
        training = Training(directory)
        training.fit(epochs=2)
        fresh = Training(directory, seed=5)
        self.assertEqual(fresh.checkpoint.restore(), 2 * STEPS)
        for one, other in zip(all_state(training.model), all_state(fresh.model), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_without_checkpoints_restore_returns_zero_and_changes_nothing(self):
        training = Training(self.directory())
        before = all_state(training.model)
        self.assertEqual(training.checkpoint.restore(), 0)
        for one, other in zip(before, all_state(training.model), strict=True):
            np.testing.assert_array_equal(one, other)

    @parameterized.parameters("cut", "flipped", "no data", "no index", "cut index", "empty index", "stale record")
    def test_a_damaged_newest_checkpoint_is_passed_over(self, damage):
        directory = self.directory()
        training = Training(directory)
        training.save(10)
        expected = all_state(training.model)
        for variable in training.model.trainable_variables:
            variable.assign(variable + 1.0)
        training.save(20)
        data, index = directory / "checkpoint-20.data-00000-of-00001", directory / "checkpoint-20.index"
        if damage == "cut":
            os.truncate(data, 100)
        elif damage == "flipped":
            content = bytearray(data.read_bytes())
            content[60] ^= 1
            data.write_bytes(content)
        elif damage == "no data":
            data.unlink()
        elif damage == "no index":
            index.unlink()
        elif damage == "cut index":
            os.truncate(index, 100)
        elif damage == "empty index":
            os.truncate(index, 0)
        else:
            # Killed between the checkpoint and the manager's record of it: what is whole counts.
            data.unlink()
            (directory / "checkpoint").unlink()
        fresh = Training(directory, seed=5)
        self.assertEqual(fresh.checkpoint.restore(), 10)
        for one, other in zip(expected, all_state(fresh.model), strict=True):
            np.testing.assert_array_equal(one, other)
        fresh.save(20)
        self.assertEqual(Training(directory).checkpoint.restore(), 20)

    def test_the_newest_is_that_of_the_highest_number(self):
        directory = self.directory()
        for iteration in (9, 10):
            Training(directory).save(iteration)
        self.assertEqual(Training(directory).checkpoint.restore(), 10)

    def test_what_is_saved_is_not_saved_again_at_the_end(self):
        directory = self.directory()
        Training(directory).save(10)
        checkpoint = Training(directory).checkpoint
        checkpoint.restore()
        with absltest.mock.patch.object(checkpoint, "save") as save:
            checkpoint.on_train_end()
        save.assert_not_called()

    def test_left_over_temporary_files_are_removed(self):
        directory = self.directory()
        Training(directory).save(10)
        (directory / "checkpoint-20_temp").mkdir()
        (directory / "checkpoint-20_temp" / "part-00000-of-00001.data-00000-of-00001").touch()
        self.assertEqual(Training(directory).checkpoint.restore(), 10)
        self.assertFalse((directory / "checkpoint-20_temp").exists())

    def test_a_first_save_cut_short_is_a_fresh_start(self):
        directory = self.directory()
        Training(directory).save(10)
        (directory / "checkpoint-10.data-00000-of-00001").unlink()
        self.assertEqual(Training(directory).checkpoint.restore(), 0)

    def test_damage_to_all_is_an_error(self):
        directory = self.directory()
        training = Training(directory)
        for iteration in (10, 20):
            training.save(iteration)
            (directory / f"checkpoint-{iteration}.data-00000-of-00001").unlink()
        with self.assertRaisesRegex(ValueError, "Expected a whole checkpoint in .* Received: 2 damaged"):
            Training(directory).checkpoint.restore()

    def test_a_second_fit_of_the_same_objects_goes_on(self):
        training = Training(self.directory())
        training.checkpoint.on_train_begin()
        training.save(10)
        training.checkpoint.on_train_begin()

    def test_a_training_is_not_made_shorter(self):
        directory = self.directory()
        Training(directory).save(20)
        training = Training(directory, seed=5, total=16)
        before = all_state(training.model)
        with self.assertRaisesRegex(ValueError, "20 iterations .* Received: 16 "):
            training.checkpoint.restore()
        for one, other in zip(before, all_state(training.model), strict=True):
            np.testing.assert_array_equal(one, other)
        self.assertEqual(Training(directory, total=20).checkpoint.restore(), 20)

    @parameterized.parameters(
        ({**CONFIG, "seed": 2}, "differs in seed: stored 1, given 2 "),
        ({**CONFIG, "net": {"units": [8, 8]}}, r"differs in net.units: stored \[8\], given \[8, 8\] "),
        ({**CONFIG, "extra": None}, "differs in extra: stored 'absent', given None "),
        ({"seed": 2, "net": CONFIG["net"]}, "alpha: stored 0.01, given 'absent'; seed: stored 1, given 2 "),
    )
    def test_another_config_is_refused(self, config, message):
        directory = self.directory()
        Training(directory).save(10)
        training = Training(directory, config=config)
        before = all_state(training.model)
        with self.assertRaisesRegex(ValueError, message):
            training.checkpoint.restore()
        for one, other in zip(before, all_state(training.model), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_another_config_is_refused_beside_a_damaged_checkpoint_too(self):
        directory = self.directory()
        Training(directory).save(10)
        (directory / "checkpoint-10.data-00000-of-00001").unlink()
        with self.assertRaisesRegex(ValueError, "a config that differs"):
            Training(directory, config={"seed": 2}).checkpoint.restore()
        self.assertEqual(Training(directory).checkpoint.restore(), 0)

    def test_wildcards_in_the_directory_are_refused(self):
        neighbour = self.directory() / "run1"
        Training(neighbour).save(10)
        with self.assertRaisesRegex(ValueError, "Expected a directory without the wildcards"):
            Training(neighbour.parent / "run[12]")
        self.assertTrue((neighbour / "checkpoint-10.index").exists())

    def test_the_config_may_be_a_dataclass_with_tuples(self):
        @dataclasses.dataclass(frozen=True)
        class Config:
            hidden: tuple[int, ...] = (40, 40)
            tasks: Sinusoids = Sinusoids()  # noqa: RUF009

        directory = self.directory()
        Training(directory, config=Config()).save(10)
        self.assertEqual(Training(directory, config=Config()).checkpoint.restore(), 10)
        with self.assertRaisesRegex(ValueError, r"tasks.x: stored \[-5.0, 5.0\], given \[0.0, 1.0\]"):
            Training(directory, config=Config(tasks=Sinusoids(x=(0.0, 1.0)))).checkpoint.restore()

    def test_another_model_is_refused(self):
        directory = self.directory()
        Training(directory).save(10)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        with self.assertRaisesRegex(ValueError, "Expected a checkpoint of the same objects. .*checkpoint-10"):
            AtomicCheckpoint(directory, Iterations(1000), CONFIG, model=model).restore()

    def test_training_over_unrestored_checkpoints_is_refused(self):
        directory = self.directory()
        Training(directory).save(10)
        with self.assertRaisesRegex(ValueError, r"a call of restore\(\) before the training"):
            Training(directory).checkpoint.on_train_begin()

    def test_saves_at_the_end(self):
        directory = self.directory()
        Training(directory, every_seconds=1e9).fit(epochs=3)
        self.assertEqual([path.stem for path in directory.glob("*.index")], [f"checkpoint-{3 * STEPS}"])

    def test_saves_every_so_many_seconds(self):
        directory, now = self.directory(), [0.0]
        arguments = dict(every_seconds=10.0, keep=9, clock=lambda: now[0])
        training = Training(directory, **arguments)
        checkpoint = training.checkpoint
        now[0] = 100.0  # What comes before the training does not count.
        checkpoint.on_train_begin()
        for epoch in range(6):
            now[0] += 4.0
            training.iterations.variable.assign_add(STEPS)
            checkpoint.on_epoch_end(epoch)
        saved = sorted(int(path.stem.split("-")[1]) for path in directory.glob("*.index"))
        self.assertEqual(saved, [3 * STEPS, 6 * STEPS])

    @parameterized.parameters(({}, [3, 4]), ({"keep": 3}, [2, 3, 4]))
    def test_keeps_the_last_ones(self, options, kept):
        directory = self.directory()
        training = Training(directory, **options)
        for iteration in (1, 2, 3, 4):
            training.save(iteration)
        self.assertCountEqual([path.stem for path in directory.glob("*.index")], [f"checkpoint-{n}" for n in kept])

    def test_bad_arguments_are_refused(self):
        iterations = Iterations(10)
        with self.assertRaisesRegex(ValueError, "keep=1"):
            AtomicCheckpoint(self.directory(), iterations, CONFIG, keep=1)
        with self.assertRaisesRegex(ValueError, "every_seconds=-1.0"):
            AtomicCheckpoint(self.directory(), iterations, CONFIG, every_seconds=-1.0)
        with self.assertRaisesRegex(ValueError, "Received: optimizer with built=False"):
            AtomicCheckpoint(self.directory(), iterations, CONFIG, optimizer=keras.optimizers.Adam())
        with self.assertRaisesRegex(ValueError, r"Expected a directory .*\(Not a directory\)"):
            AtomicCheckpoint(__file__ + "/logs", iterations, CONFIG)

    @parameterized.parameters(b"", b"\xff\xfe")
    def test_a_record_of_checkpoints_that_cannot_be_read_is_not_needed(self, content):
        directory = self.directory()
        checkpoint = AtomicCheckpoint(directory, Iterations(1000), CONFIG)
        checkpoint.iterations.variable.assign(10)
        checkpoint.save()
        (directory / "checkpoint").write_bytes(content)
        self.assertEqual(AtomicCheckpoint(directory, Iterations(1000), CONFIG).restore(), 10)

    @parameterized.parameters("checkpoint", "checkpoint-20.index", "checkpoint-20.data-00000-of-00001")
    def test_a_flip_of_any_byte_leaves_the_newest_or_the_one_before(self, name):
        directory = self.directory()

        def fresh():
            iterations, weights = Iterations(1000), tf.Variable(tf.zeros([50]))
            return iterations, weights, AtomicCheckpoint(directory, iterations, CONFIG, weights=weights)

        iterations, weights, checkpoint = fresh()
        for iteration in (10, 20):
            iterations.variable.assign(iteration)
            weights.assign(tf.fill([50], float(iteration)))
            checkpoint.save()
        content = (directory / name).read_bytes()
        for position in range(0, len(content), 7):
            for bit in (0, 7):
                flipped = bytearray(content)
                flipped[position] ^= 1 << bit
                (directory / name).write_bytes(flipped)
                _, weights, checkpoint = fresh()
                np.testing.assert_array_equal(weights * 0 + checkpoint.restore(), weights)

    @parameterized.parameters("", "[1, 2]", "null", '"config"', "{", "\x00", '{"seed": ')
    def test_a_config_of_another_form_is_an_error_that_names_it(self, content):
        directory = self.directory()
        Training(directory).save(10)
        (directory / "config.json").write_text(content)
        with self.assertRaisesRegex(ValueError, "config.json"):
            Training(directory).checkpoint.restore()

    def test_a_disk_without_room_is_an_error_that_names_the_file(self):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        directory = self.directory()
        training = Training(directory)
        training.save(10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        with self.assertRaisesRegex(OSError, f"{directory}.*File too large"):
            training.save(20)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(Training(directory).checkpoint.restore(), 10)


if __name__ == "__main__":
    absltest.main()
