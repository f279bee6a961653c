"""Tests of maml_tf.plotting.curves."""

from typing import NamedTuple

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.core.task_values import Evaluation
from maml_tf.plotting.curves import learning_curves, training_curves
from maml_tf.plotting.style import figure_to_image


class Result(NamedTuple):
    method: str
    shots: int
    step: int
    mean: float
    ci95: float


def rows(methods=("maml", "pretrained"), shots=(5, 10, 20)):
    return [
        Result(method, k, step, mean=(1.0 + number) / (1 + step) / k, ci95=0.01 * (1 + step))
        for number, method in enumerate(methods)
        for k in shots
        for step in (2, 0, 1)
    ]


def band(panel, number=0):
    vertices = panel.collections[number].get_paths()[0].vertices
    steps = np.unique(vertices[:, 0])
    edges = [vertices[vertices[:, 0] == step, 1] for step in steps]
    return [edge.min() for edge in edges], [edge.max() for edge in edges]


class LearningCurvesTest(parameterized.TestCase):
    def test_a_panel_a_number_of_shots_and_a_line_a_method(self):
        figure = learning_curves(rows(("maml", "mine")), title="Sinusoid")
        self.assertEqual([panel.get_title() for panel in figure.axes], ["K = 5", "K = 10", "K = 20"])
        self.assertEqual([panel.get_xlabel() for panel in figure.axes], 3 * ["gradient steps"])
        self.assertContainsSubset([0, 1, 2], figure.axes[0].get_xticks())
        self.assertTrue(all(float(tick).is_integer() for tick in figure.axes[0].get_xticks()))
        self.assertEqual(figure.axes[0].get_ylabel(), "mean squared error")
        self.assertEqual([panel.get_yscale() for panel in figure.axes], 3 * ["log"])
        self.assertEqual(figure.get_suptitle(), "Sinusoid")
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertEqual(labels, ["MAML", "mine", "95 % confidence"])

    def test_shares_are_written_in_percent(self):
        results = [Result("maml", 1, step, mean=0.2 + 0.1 * step, ci95=0.01) for step in range(4)]
        figure = learning_curves(results, metric="accuracy", log_scale=False, percent=True)
        [panel] = figure.axes
        self.assertEqual(panel.get_ylabel(), "accuracy, %")
        self.assertEqual(panel.yaxis.get_major_formatter()(0.25), "25")

    def test_lines_hold_the_means_in_the_order_of_the_steps(self):
        figure = learning_curves(rows())
        for panel, shots in zip(figure.axes, (5, 10, 20), strict=True):
            for number, line in enumerate(panel.get_lines()):
                np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
                np.testing.assert_allclose(line.get_ydata() * shots, (1 + number) / np.array([1, 2, 3]))

    @parameterized.parameters(True, False)
    def test_bands_are_the_confidence_intervals(self, log_scale):
        panel = learning_curves(rows(["maml"], [5]), log_scale=log_scale).axes[0]
        self.assertEqual(panel.get_yscale(), "log" if log_scale else "linear")
        mean, ci95 = 0.2 / np.array([1, 2, 3]), 0.01 * np.array([1, 2, 3])
        lower, upper = band(panel)
        np.testing.assert_allclose(lower, mean - ci95)
        np.testing.assert_allclose(upper, mean + ci95)

    def test_a_band_below_zero_ends_at_a_tenth_of_the_mean_on_a_logarithmic_axis(self):
        wide = [Result("maml", 5, step, 1.0, 2.0) for step in range(3)]
        self.assertEqual(band(learning_curves(wide).axes[0])[0], 3 * [0.1])
        self.assertEqual(band(learning_curves(wide, log_scale=False).axes[0])[0], 3 * [-1.0])

    def test_a_method_may_lack_some_shots(self):
        figure = learning_curves([*rows(["maml"]), *rows(["oracle"], [10])])
        self.assertEqual([len(panel.get_lines()) for panel in figure.axes], [1, 2, 1])
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertEqual(labels, ["MAML", "oracle", "95 % confidence"])

    def test_published_results_are_hollow_points_beside_the_rows_of_their_method(self):
        published = [Result("maml", 5, step, 3.0 - step, 0.1) for step in (1, 0)]
        others = [Result("oracle", 5, 0, 9.0, 0.1), Result("pretrained", 10, 0, 9.0, 0.1)]
        figure = learning_curves(rows(shots=[5]), published=[*published, *others])
        maml, beside, _ = figure.axes[0].get_lines()
        np.testing.assert_array_equal(beside.get_xdata(), [0, 1])
        np.testing.assert_array_equal(beside.get_ydata(), [3.0, 2.0])
        self.assertEqual(beside.get_color(), maml.get_color())
        self.assertEqual(beside.get_markerfacecolor(), "none")
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertEqual(labels, ["MAML", "pretrained", "95 % confidence", "paper"])
        panels = learning_curves(rows(), published=published).axes
        self.assertEqual([len(panel.get_lines()) for panel in panels], [3, 2, 2])
        without = learning_curves(rows(shots=[5]), published=others)
        self.assertLen(without.axes[0].get_lines(), 2)
        self.assertEqual([text.get_text() for text in without.legends[0].get_texts()], labels[:-1])

    def test_summaries_of_an_evaluation_have_a_panel_for_each_metric(self):
        values = {"loss": np.array([[4.0, 3.0], [0.2, 0.1]]), "accuracy": np.array([[0.2, 0.4], [0.8, 1.0]])}
        figure = learning_curves(Evaluation(values).summaries())
        self.assertEqual([panel.get_ylabel() for panel in figure.axes], ["loss", "accuracy"])
        self.assertEqual([panel.get_yscale() for panel in figure.axes], ["log", "linear"])
        for panel, means in zip(figure.axes, ([3.5, 0.15], [0.3, 0.9]), strict=True):
            [line] = panel.get_lines()
            np.testing.assert_allclose(line.get_ydata(), means)
        [panel] = learning_curves(Evaluation(values).summaries()[:2], metric="error", log_scale=False).axes
        self.assertEqual((panel.get_ylabel(), panel.get_yscale()), ("error", "linear"))
        with self.assertRaisesRegex(TypeError, "Received: both"):
            learning_curves([*rows(), *Evaluation(values).summaries()])

    @parameterized.parameters(np.nan, np.inf)
    def test_a_diverged_mean_leaves_a_gap(self, value):
        shown = [Result("maml", 5, step, mean, mean) for step, mean in enumerate((1.0, value, 0.5))]
        figure = learning_curves(shown)
        np.testing.assert_array_equal(figure.axes[0].get_lines()[0].get_ydata(), [1.0, np.nan, 0.5])
        self.assertEqual(figure_to_image(figure).shape[0], 1)

    def test_no_rows_and_double_rows_are_refused(self):
        with self.assertRaisesRegex(ValueError, "Expected at least one row. Received: none"):
            learning_curves([])
        with self.assertRaisesRegex(ValueError, r"Received: several of \('maml', 5, 0\)"):
            learning_curves(2 * rows())


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
