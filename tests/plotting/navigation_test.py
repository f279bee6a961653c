"""Tests of maml_tf.plotting.navigation."""

import numpy as np
from absl.testing import absltest

from maml_tf.plotting import navigation, style

PATH = np.array([[0.0, 0.0], [0.1, 0.05], [0.2, 0.1]])


class NavigationTest(absltest.TestCase):
    def test_draws_the_path_and_the_goal(self):
        axes = style.new_figure(2, 2).subplots()
        navigation.draw_path(axes, PATH, np.array([0.3, 0.2]), label="after")
        goal, path, end = axes.get_lines()
        np.testing.assert_array_equal(goal.get_xydata(), [[0.3, 0.2]])
        np.testing.assert_array_equal(path.get_xydata(), PATH)
        np.testing.assert_array_equal(end.get_xydata(), PATH[-1:])
        self.assertEqual(path.get_label(), "after")
        self.assertEqual(axes.get_aspect(), 1.0)

    def test_extent_holds_the_goals_and_all_paths(self):
        self.assertEqual(navigation.extent(PATH), 0.65)
        self.assertAlmostEqual(navigation.extent(PATH, -10 * PATH), 2.1)

    def test_pictures_show_how_the_path_grows(self):
        pictures = navigation.path_pictures(PATH, np.array([0.3, 0.2]), 160, 120)
        self.assertEqual((pictures.shape, pictures.dtype), ((3, 120, 160, 3), np.uint8))
        green = [np.count_nonzero((picture[..., 1] > 130) & (picture[..., 0] < 60)) for picture in pictures]
        self.assertLess(green[1], green[2])

    def test_pictures_hold_what_the_path_reaches(self):
        for goal in ([1.5, 1.0], [-1.5, -1.0]):
            first, *_ = navigation.path_pictures(10 * PATH, np.array(goal), 160, 120)
            self.assertTrue(np.any((first[..., 0] > 180) & (first[..., 2] < 60)), "The red cross is not to be seen.")


if __name__ == "__main__":
    absltest.main()
