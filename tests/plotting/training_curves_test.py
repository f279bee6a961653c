"""Tests of maml_tf.plotting.training_curves."""

import numpy as np
from absl.testing import absltest

from maml_tf.plotting import training_curves


class TrainingCurvesTest(absltest.TestCase):
    def test_one_curve_a_step_in_percent(self):
        figure = training_curves([500, 1000], [[0.2, 0.5, 0.6], [0.2, 0.7, 0.9]])
        [panel] = figure.axes
        self.assertLen(panel.lines, 3)
        np.testing.assert_allclose(panel.lines[2].get_xdata(), [500, 1000])
        np.testing.assert_allclose(panel.lines[2].get_ydata(), [60, 90])
        self.assertEqual(
            [line.get_label() for line in panel.lines], ["before adaptation", "after 1 step", "after 2 steps"]
        )

        self.assertEqual([line.get_linestyle() for line in panel.lines], [":", "-", "-"])
        self.assertLen({tuple(line.get_color()) for line in panel.lines}, 3)

    def test_a_single_validation_is_to_be_seen(self):
        [panel] = training_curves([500], [[0.2, 0.5]]).axes
        self.assertEqual([line.get_marker() for line in panel.lines], ["o", "o"])

    def test_what_does_not_fit_is_an_error(self):
        for iterations, accuracies in (([], []), ([], np.zeros([0, 2])), ([1], [[0.1], [0.2]]), ([1], [0.1])):
            with self.assertRaisesRegex(
                ValueError, r"Expected accuracies \[validations, steps \+ 1\].*Received: shape"
            ):
                training_curves(iterations, accuracies)


if __name__ == "__main__":
    absltest.main()
