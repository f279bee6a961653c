"""Tests of maml_tf.plotting.style."""

import pathlib
import tempfile

import matplotlib
import matplotlib.image
import matplotlib.pyplot
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from maml_tf.plotting import style


def drawn_figure(width=3.0, height=2.0):
    figure = style.new_figure(width, height)
    figure.subplots().plot([0, 1], [0, 1], color=style.BLUE)
    return figure


class SaveTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def test_writes_a_png_of_the_given_resolution(self):
        path = style.save(drawn_figure(), self.directory / "figure.png", dpi=50)
        self.assertEqual(matplotlib.image.imread(path).shape, (100, 150, 4))
        self.assertLen(list(self.directory.iterdir()), 1)

    def test_equal_figures_are_equal_files(self):
        paths = [style.save(drawn_figure(), self.directory / f"{number}.png") for number in range(2)]
        self.assertEqual(paths[0].read_bytes(), paths[1].read_bytes())
        self.assertNotIn(b"Software", paths[0].read_bytes())  # Nor does matplotlib's version make them differ.

    def test_another_ending_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"Expected a path that ends in .png. Received: 'figure.pdf'"):
            style.save(drawn_figure(), "figure.pdf")


class FigureToImageTest(absltest.TestCase):
    def test_is_the_image_that_a_png_holds(self):
        with tempfile.TemporaryDirectory() as directory:
            path = style.save(drawn_figure(3.17, 2.03), pathlib.Path(directory, "figure.png"), dpi=50)
            expected = tf.io.decode_png(path.read_bytes(), channels=4)
        image = style.figure_to_image(drawn_figure(3.17, 2.03), dpi=50)
        self.assertEqual(image.dtype, tf.uint8)
        np.testing.assert_array_equal(image[0], expected)

    def test_tensorboard_takes_it(self):
        with tempfile.TemporaryDirectory() as directory:
            with tf.summary.create_file_writer(directory).as_default():
                self.assertTrue(tf.summary.image("figure", style.figure_to_image(drawn_figure()), step=0))


class StyleTest(absltest.TestCase):
    def test_there_is_a_style_for_every_method(self):
        names = [f"method {number}" for number in range(20)]
        self.assertEqual(list(style.line_styles(names)), names)

    def test_a_method_looks_the_same_in_every_figure(self):
        self.assertEqual(style.line_styles(["maml"])["maml"], style.line_styles(["other", "maml"])["maml"])

    def test_matplotlibs_settings_are_left_alone(self):
        before = dict(matplotlib.rcParams)
        with style.styled():
            self.assertTrue(matplotlib.rcParams["axes.grid"])
        self.assertEqual(dict(matplotlib.rcParams), before)

    def test_pyplot_knows_nothing_of_a_figure(self):
        drawn_figure()
        self.assertEmpty(matplotlib.pyplot.get_fignums())


if __name__ == "__main__":
    absltest.main()
