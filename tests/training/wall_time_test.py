"""Tests of maml_tf.training.wall_time."""

import json
import pathlib

from absl.testing import absltest

from maml_tf.training.wall_time import TimedParts, WallTime, recorded_seconds


class WallTimeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.now = 0.0

    def train(self, epochs, *, first=0):
        """Runs epochs of 10 iterations and 3 s each, begun 100 s after the objects were built."""
        wall_time = WallTime(self.folder, 10, first=first, clock=lambda: self.now)
        self.now += 100
        wall_time.on_train_begin()
        for epoch in range(first // 10, first // 10 + epochs):
            self.now += 3
            wall_time.on_epoch_end(epoch)
        return json.loads((self.folder / "wall_time.json").read_text())

    def test_nothing_recorded_is_no_time(self):
        self.assertEqual(recorded_seconds(self.folder), 0)

    def test_a_training_is_timed_from_its_beginning(self):
        self.assertEqual(self.train(4), {"seconds": 12, "parts": [{"iterations": [0, 40], "seconds": 12}]})
        self.assertEqual(recorded_seconds(self.folder), 12)

    def test_a_resumed_training_adds_its_part_and_what_it_does_again(self):
        self.train(4)
        self.train(2, first=30)
        content = self.train(1, first=50)
        self.assertEqual([part["iterations"] for part in content["parts"]], [[0, 30], [30, 50], [50, 60]])
        self.assertEqual(content["seconds"], 12 + 6 + 3)

    def test_a_part_done_again_from_its_start_is_forgotten(self):
        self.train(2)
        self.train(1, first=20)
        self.assertEqual([part["iterations"] for part in self.train(4, first=20)["parts"]], [[0, 20], [20, 60]])

    def test_a_broken_file_is_named(self):
        (self.folder / "wall_time.json").write_text('{"seconds": 1')
        for read in (recorded_seconds, lambda folder: WallTime(folder, 10, first=10)):
            with self.assertRaisesRegex(ValueError, "Expected a whole file of JSON. Received: '.*wall_time.json'"):
                read(self.folder)
        # A training from the start does not read it.
        self.assertEqual(self.train(1)["seconds"], 3)

    def test_a_training_from_the_start_forgets_all(self):
        self.train(4)
        self.assertEqual(self.train(1)["seconds"], 3)

    def test_an_earlier_training_that_was_not_timed_has_no_part(self):
        self.assertEqual(self.train(1, first=20)["parts"], [{"iterations": [20, 30], "seconds": 3}])


class TimedPartsTest(absltest.TestCase):
    def test_the_parts_given_are_left_as_they_were(self):
        before = [{"iterations": [0, 40], "seconds": 12.0}]
        TimedParts(before, first=20).reach(30)
        self.assertEqual(before, [{"iterations": [0, 40], "seconds": 12.0}])


if __name__ == "__main__":
    absltest.main()
