"""Tests of maml_tf.plotting.episode."""

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.plotting import episode_predictions, style


class EpisodePredictionsTest(parameterized.TestCase):
    @parameterized.parameters(1, 3)
    def test_each_column_is_a_class_and_colours_tell_right_from_wrong(self, channels):
        rng = np.random.default_rng(0)
        support_x, query_x = rng.random((2, 8, 8, channels)), rng.random((4, 8, 8, channels))
        figure = episode_predictions(
            support_x, np.array([1, 0]), query_x, np.array([0, 0, 1, 1]), np.array([1, 1, 1, 1]), np.array([0, 1, 1, 0])
        )
        panels = np.array(figure.axes).reshape(3, 2)
        titles = [[panel.get_title() for panel in row] for row in panels]
        self.assertEqual(titles, [["class 0", "class 1"], ["1 → 0", "1 → 1"], ["1 → 1", "1 → 0"]])
        colors = [[panel.title.get_color() for panel in row] for row in panels[1:]]
        self.assertEqual(colors, [[style.GREEN, style.GREEN], [style.VERMILION, style.VERMILION]])
        self.assertEqual([row[0].get_ylabel() for row in panels], ["support", "query", ""])

    def test_a_column_shows_the_images_of_its_class_as_dark_ink_and_three_at_most(self):
        ink = np.arange(14) / 20
        images = np.tile(ink[:, None, None, None], (1, 2, 2, 1))
        labels = np.array([0] * 6 + [1])
        figure = episode_predictions(images[:7], labels, images[7:], labels, labels, labels)
        panels = np.array(figure.axes).reshape(6, 2)
        shown = [[float(panel.images[0].get_array()[0, 0]) for panel in row if panel.images] for row in panels.T]
        np.testing.assert_allclose(shown[0], 1 - ink[[0, 1, 2, 7, 8, 9]])
        np.testing.assert_allclose(shown[1], 1 - ink[[6, 13]])
        self.assertEqual(panels[0, 0].images[0].get_clim(), (0.0, 1.0))  # Faint ink stays faint.

    def test_nothing_written_is_cut_and_ten_classes_are_shown_at_most(self):
        for classes in (2, 20):
            images, labels = np.zeros((classes, 8, 8, 1)), np.arange(classes)
            figure = episode_predictions(images, labels, images, labels, labels, labels)
            self.assertLen(figure.axes, 2 * min(classes, 10))
            figure.canvas.draw()
            whole = figure.bbox
            written = [*figure.texts, *(panel.title for panel in figure.axes)]
            for text in written:
                box = text.get_window_extent()
                self.assertTrue(whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1, text.get_text())

    def test_what_does_not_fit_is_an_error(self):
        images = np.zeros((2, 8, 8, 1))
        with self.assertRaisesRegex(ValueError, "two predictions of each query. Received: 2 and 2; 2, 2, 1 and 2"):
            episode_predictions(images, [0, 1], images, [0, 1], [0], [0, 1])
        with self.assertRaisesRegex(ValueError, "a label of each image.* Received: 2 and 1; 2, 2, 2 and 2"):
            episode_predictions(images, [0], images, [0, 1], [0, 1], [0, 1])


if __name__ == "__main__":
    absltest.main()
