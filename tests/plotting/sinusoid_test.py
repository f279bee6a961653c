"""Tests of maml_tf.plotting.sinusoid."""

import warnings

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.plotting.sinusoid import SinusoidFit, sinusoid_fits
from maml_tf.plotting.style import figure_to_image

X = np.linspace(-5, 5, 50)


def fit(amplitude=2.0, shots=5, steps=(0, 1, 10), scale=1.0):
    support_x = np.linspace(-4, 4, shots)
    predictions = {step: scale * np.cos(X + step) for step in steps}
    return SinusoidFit(X, amplitude * np.sin(X), support_x, amplitude * np.sin(support_x), predictions)


def lines(panel):
    return {line.get_label(): line for line in panel.get_lines()}


class SinusoidFitsTest(parameterized.TestCase):
    def test_a_row_of_panels_a_method_and_a_column_a_task(self):
        figure = sinusoid_fits({"MAML": [fit(), fit(shots=10)], "pretrained": [fit(), fit(shots=10)]}, title="Fits")
        titles = [panel.get_title() for panel in figure.axes]
        self.assertEqual(titles, ["MAML, K = 5", "MAML, K = 10", "pretrained, K = 5", "pretrained, K = 10"])
        self.assertEqual([panel.get_xlabel() for panel in figure.axes], ["", "", "x (radians)", "x (radians)"])
        self.assertEqual([panel.get_ylabel() for panel in figure.axes], ["y", "", "y", ""])
        self.assertEqual(figure.get_suptitle(), "Fits")

    def test_a_panel_holds_the_data(self):
        shown = fit()
        drawn = lines(sinusoid_fits({"MAML": [shown]}).axes[0])
        expected = {
            "ground truth": (X, shown.true_y),
            "pre-update": (X, shown.predictions[0]),
            "1 gradient step": (X, shown.predictions[1]),
            "10 gradient steps": (X, shown.predictions[10]),
            "points used for the gradient": (shown.support_x, shown.support_y),
        }
        self.assertCountEqual(drawn, expected)
        for label, (x, y) in expected.items():
            np.testing.assert_array_equal(drawn[label].get_xdata(), x)
            np.testing.assert_array_equal(drawn[label].get_ydata(), y)

    def test_the_legend_names_each_curve_once(self):
        figure = sinusoid_fits({"MAML": [fit(), fit()], "pretrained": [fit(), fit()]})
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertCountEqual(labels, lines(figure.axes[0]))

    def test_the_last_curve_is_solid_with_fewer_of_them(self):
        drawn = lines(sinusoid_fits({"MAML": [fit(steps=(5, 0))]}).axes[0])
        self.assertEqual(drawn["5 gradient steps"].get_linestyle(), "-")
        self.assertEqual(drawn["pre-update"].get_linestyle(), "--")

    @parameterized.parameters((0.5, 2.2), (3.0, 3.3), (1e6, 4.4), (np.nan, 2.2), (np.inf, 2.2))
    def test_a_diverged_fit_does_not_flatten_the_task(self, scale, bound):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            figure = sinusoid_fits({"MAML": [fit(scale=scale)]})
        # The curves of `fit` reach their amplitude on the grid to a percent.
        np.testing.assert_allclose(figure.axes[0].get_ylim(), (-bound, bound), rtol=0.01)
        self.assertEqual(figure_to_image(figure).shape[0], 1)

    def test_the_fits_of_all_methods_have_room(self):
        figure = sinusoid_fits({"pretrained": [fit(scale=3.0)], "MAML": [fit(scale=0.5)]})
        for panel in figure.axes:
            np.testing.assert_allclose(panel.get_ylim(), (-3.3, 3.3), rtol=0.01)

    @parameterized.parameters(
        ({}, "Received: {}"),
        ({"MAML": []}, "Received: {'MAML': 0}"),
        ({"MAML": [fit()], "pretrained": [fit(), fit()]}, "Received: {'MAML': 1, 'pretrained': 2}"),
    )
    def test_uneven_or_no_tasks_are_refused(self, fits, message):
        with self.assertRaisesRegex(ValueError, f"Expected the same number of tasks.* {message}"):
            sinusoid_fits(fits)

    def test_too_many_curves_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"3 steps at most. Received: \[0, 1, 2, 3\]"):
            sinusoid_fits({"MAML": [fit(steps=(0, 1, 2, 3))]})


if __name__ == "__main__":
    absltest.main()
