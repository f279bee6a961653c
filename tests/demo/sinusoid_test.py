"""Tests of maml_tf.demo.sinusoid."""

import importlib.util
import unittest

import numpy as np
from absl.testing import absltest

if importlib.util.find_spec("bokeh") is None:
    raise unittest.SkipTest("the extra demo is not installed")

from bokeh.events import ButtonClick, Tap

from maml_tf import pretrained
from maml_tf.demo import sinusoid


class SinusoidTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fitter = sinusoid.load()

    def setUp(self):
        super().setUp()
        self.content = sinusoid.Tab(self.fitter).content

    def model(self, name):
        return self.content.select_one({"name": name})

    def press(self, name):
        self.model(name)._trigger_event(ButtonClick(self.model(name)))

    def tap(self, x, y):
        plot = self.model("sinusoid_plot")
        plot._trigger_event(Tap(plot, x=x, y=y))

    def test_fits_are_those_of_the_published_networks(self):
        x = np.array([-3.0, -1.0, 0.5, 2.0], np.float32)
        fits = self.fitter.fit(x, 2 * np.sin(x))
        for name, of_steps in fits.items():
            self.assertEqual(tuple(of_steps), sinusoid.STEPS)
            learner = pretrained.load(name)
            for step in (0, 5):
                adapted = learner.adapt(x[:, np.newaxis], 2 * np.sin(x)[:, np.newaxis], step)
                expected = np.asarray(adapted(self.fitter.x[:, np.newaxis]))[:, 0]
                np.testing.assert_allclose(of_steps[step], expected, rtol=1e-4, atol=1e-4)
        errors = {name: np.mean((fit[10] - 2 * np.sin(self.fitter.x)) ** 2) for name, fit in fits.items()}
        self.assertLess(2 * errors["sinusoid"], errors["sinusoid_pretrained"])

    def test_points_are_added_removed_and_cleared(self):
        self.press("clear_points")
        self.assertIn("Click into a plot", self.model("sinusoid_status").text)
        self.assertEmpty(self.model("sinusoid_10").data["x"])
        self.assertLen(self.model("sinusoid_0").data["x"], len(self.fitter.x))
        self.tap(1.0, 2.0)
        self.tap(7.0, -9.0)  # Beyond the range: at its end.
        self.assertEqual(self.model("sinusoid_points").data, {"x": [1.0, 5.0], "y": [2.0, -5.5]})
        self.assertIn("2 points, 20 gradient steps in", self.model("sinusoid_status").text)
        self.assertIn("no true sinusoid", self.model("sinusoid_errors").text)
        expected = self.fitter.fit([1.0, 5.0], [2.0, -5.5])["sinusoid"][10]
        np.testing.assert_array_equal(self.model("sinusoid_10").data["y"], expected)
        self.press("remove_point")
        self.assertEqual(self.model("sinusoid_points").data, {"x": [1.0], "y": [2.0]})
        for _ in range(sinusoid.MOST_POINTS + 3):
            self.tap(0.0, 0.0)
        self.assertLen(self.model("sinusoid_points").data["x"], sinusoid.MOST_POINTS)

    def test_a_new_sinusoid_has_a_truth_that_is_shown_on_demand(self):
        points = self.model("sinusoid_points").data
        self.press("new_sinusoid")
        drawn, truth = self.model("sinusoid_points").data, self.model("sinusoid_truth").data
        self.assertNotEqual(points, drawn)
        np.testing.assert_allclose(np.interp(drawn["x"], truth["x"], truth["y"]), drawn["y"], atol=0.01)
        error = np.mean((self.model("sinusoid_10").data["y"] - truth["y"]) ** 2)
        self.assertIn(f"<td>{error:.2f}</td></tr></table>", self.model("sinusoid_errors").text)
        line = self.model("sinusoid_plot").renderers[0]
        self.assertFalse(line.visible)
        self.model("show_truth").active = True
        self.assertTrue(line.visible)
        self.press("new_sinusoid")
        self.assertFalse(line.visible)


if __name__ == "__main__":
    absltest.main()
