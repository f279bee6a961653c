"""Tests of maml_tf.experiments.sinusoid.figures."""

import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.experiments.sinusoid import figures as sinusoid_figures
from maml_tf.experiments.sinusoid.config import SinusoidConfig
from maml_tf.experiments.sinusoid.train import build_network
from maml_tf.plotting import style
from maml_tf.results import Row
from tests.support import binary

CONFIG = SinusoidConfig(hidden=(8,), grid_points=15)


def rows(*methods, shots=(5, 10)):
    return [
        Row(method, k, step, metric, 3.0 / (1 + step), 1.0, 0.1, 20)
        for method in methods
        for k in shots
        for metric in ("mse", "mse_grid")
        for step in range(3)
    ]


class WriteFiguresTest(absltest.TestCase):
    def write(self, config, rows, networks):
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        return sinusoid_figures.write_figures(config, rows, networks, self.folder)

    def test_each_figure_is_an_image_and_an_event(self):
        networks = {"maml": (build_network(CONFIG), {5: 0.01, 10: 0.01, 20: 0.01})}
        files = self.write(CONFIG, rows("maml", "pretrained"), networks)
        names = [
            "figure3_learning_curves_10_shot", "figure6_learning_curves", "figure2_fits", "figure7_more_fits",
        ]  # fmt: skip
        self.assertEqual([path.name for path in files], [f"{name}.png" for name in names])
        self.assertTrue(all(binary.is_png(path) for path in files))
        [events] = (self.folder / "figures").iterdir()
        tags = {v.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for v in event.summary.value}
        self.assertEqual(tags, set(names))

    def test_each_figure_shows_its_rows_and_tasks(self):
        def figure(*_, **__):
            return style.new_figure(1, 1)

        networks = {"maml": ("one", {}), "random": ("two", {}), "maml_first_order": ("three", {})}
        with (
            mock.patch.object(sinusoid_figures, "_fits", lambda _, network, *__: [f"{network} {i}" for i in range(5)]),
            mock.patch.object(sinusoid_figures, "learning_curves", side_effect=figure) as curves,
            mock.patch.object(sinusoid_figures, "sinusoid_fits", side_effect=figure) as fits,
        ):
            self.write(CONFIG, rows("pretrained", "random"), networks)
        mse = [row for row in rows("pretrained", "random") if row.metric == "mse"]
        of_10 = [row for row in mse if (row.method, row.shots) == ("pretrained", 10)]
        self.assertEqual([call.args[0] for call in curves.call_args_list], [of_10, mse])
        self.assertEqual(
            [call.args[0] for call in fits.call_args_list],
            [
                {"maml": ["one 0", "one 1"], "maml_first_order": ["three 0", "three 1"]},
                {"maml": ["one 2", "one 3", "one 4"], "maml_first_order": ["three 2", "three 3", "three 4"]},
            ],
        )

    def test_without_10_shots_or_a_network_to_show_there_are_the_curves_alone(self):
        networks = {"random": (build_network(CONFIG), {5: 0.01})}
        for method, shots in (("maml", (5,)), ("random", (5, 10))):
            config = SinusoidConfig(evaluation_shots=shots)
            files = self.write(config, rows(method, shots=shots), networks)
            self.assertEqual([path.name for path in files], ["figure6_learning_curves.png"])


class FitsTest(absltest.TestCase):
    def test_the_first_task_has_its_points_on_the_left_and_the_others_anywhere(self):
        first, *others = sinusoid_figures._fits(CONFIG, build_network(CONFIG), {5: 0.01})
        self.assertLess(np.max(first.support_x), 0)
        self.assertLen(others, 4)
        self.assertLen(first.support_x, 5)
        self.assertGreater(max(np.max(fit.support_x) for fit in others), 0)
        self.assertLen({float(np.max(fit.true_y)) for fit in [first, *others]}, 5)

    def test_predictions_are_the_networks_before_and_the_adapted_ones_after(self):
        network = build_network(CONFIG)
        for fit in sinusoid_figures._fits(CONFIG, network, {5: 0.02, 10: 0.5}):
            self.assertEqual(list(fit.predictions), [0, 1, 10])
            np.testing.assert_allclose(fit.x, np.linspace(-5, 5, 15), atol=1e-5)
            np.testing.assert_allclose(fit.predictions[0], np.ravel(network(fit.x[:, None])), atol=1e-5)
            at_support = {s: np.interp(fit.support_x, fit.x, y) for s, y in fit.predictions.items()}
            errors = {step: np.mean((y - fit.support_y) ** 2) for step, y in at_support.items()}
            self.assertLess(errors[10], errors[0])

    def test_the_step_size_is_that_of_5_shots_and_the_first_one_without(self):
        network = build_network(CONFIG)
        of_5, also, other = (
            sinusoid_figures._fits(CONFIG, network, sizes)[1].predictions[1]
            for sizes in ({10: 0.5, 5: 0.02}, {20: 0.02, 10: 0.5}, {20: 0.03})
        )
        np.testing.assert_array_equal(of_5, also)
        self.assertFalse(np.array_equal(of_5, other))


if __name__ == "__main__":
    absltest.main()
