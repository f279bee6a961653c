"""Tests of maml_tf.plotting.navigation."""

import numpy as np
from absl.testing import absltest

from maml_tf.plotting import Trajectories, navigation, style, trajectories

PATH = np.array([[0.0, 0.0], [0.1, 0.05], [0.2, 0.1]])


class PathTest(absltest.TestCase):
    def test_pictures_show_how_the_path_grows(self):
        pictures = navigation.path_pictures(PATH, np.array([0.3, 0.2]), 160, 120)
        self.assertEqual((pictures.shape, pictures.dtype), ((3, 120, 160, 3), np.uint8))
        green = [np.count_nonzero((picture[..., 1] > 130) & (picture[..., 0] < 60)) for picture in pictures]
        self.assertLess(green[1], green[2])

    def test_pictures_hold_what_the_path_reaches(self):
        for goal in ([1.5, 1.0], [-1.5, -1.0]):
            first, *_ = navigation.path_pictures(10 * PATH, np.array(goal), 160, 120)
            self.assertTrue(np.any((first[..., 0] > 180) & (first[..., 2] < 60)), "The red cross is not to be seen.")


_PATHS = Trajectories(
    np.array([0.3, -0.2]),
    [np.array([[0, 0], [0.1, 0.1]])],
    [np.array([[0, 0], [0.1, 0.0], [0.3, -0.2]]), np.array([[0, 0], [0.2, -0.1]])],
)


class TrajectoriesTest(absltest.TestCase):
    def test_each_panel_shows_its_paths_and_goal(self):
        figure = trajectories({"MAML": [_PATHS, _PATHS], "pretrained": [_PATHS]})
        panels = figure.axes
        self.assertLen(panels, 4)
        self.assertEqual([panel.get_title() for panel in panels], ["MAML", "MAML", "pretrained", ""])
        self.assertEqual([panel.get_xlabel() + panel.get_ylabel() for panel in panels], ["y", "", "xy", "x"])
        # Three paths, the start, the goal.
        shown = [tuple(map(tuple, line.get_xydata())) for line in panels[1].lines]
        self.assertEqual(shown, [tuple(map(tuple, p)) for p in
                                 [*_PATHS.before, *_PATHS.after, [(0.0, 0.0)], [(0.3, -0.2)]]])  # fmt: skip
        self.assertEqual([line.get_color() for line in panels[1].lines[:3]], [style.GREY, style.GREEN, style.GREEN])
        self.assertEmpty(panels[3].lines)

    def test_all_panels_show_the_same_square_around_the_start(self):
        for panel in trajectories({"MAML": [_PATHS, _PATHS], "pretrained": [_PATHS]}, half_width=0.9).axes:
            self.assertEqual((panel.get_xlim(), panel.get_ylim()), ((-0.9, 0.9), (-0.9, 0.9)))
        self.assertEqual(trajectories({"MAML": [_PATHS]}).axes[0].get_aspect(), 1.0)

    def test_titles_and_legend_are_inside_the_figure_and_apart_from_the_panels(self):
        for rows in (1, 2):
            for columns in (1, 2, 3):
                figure = trajectories({f"method {row}": [_PATHS] * columns for row in range(rows)})
                style.save(figure, self.create_tempdir().full_path + "/figure.png")
                renderer = figure.canvas.get_renderer()
                inside = figure.bbox.padded(1)
                for panel in figure.axes:
                    box = panel.get_tightbbox(renderer)
                    self.assertTrue(inside.contains(*box.min) and inside.contains(*box.max), (rows, columns, box))
                    self.assertFalse(figure.legends[0].get_window_extent(renderer).overlaps(box), (rows, columns))

    def test_the_legend_names_what_is_drawn(self):
        (legend,) = trajectories({"MAML": [_PATHS]}).legends
        self.assertEqual(
            [text.get_text() for text in legend.get_texts()],
            ["before the update", "after one gradient step", "start", "goal"],
        )
        self.assertEqual(
            [handle.get_color() for handle in legend.legend_handles],
            [style.GREY, style.GREEN, style.BLACK, style.VERMILION],
        )

    def test_nothing_to_draw_is_refused(self):
        for nothing in ({}, {"MAML": []}):
            with self.assertRaisesRegex(ValueError, "Expected paths of at least one method and task"):
                trajectories(nothing)


if __name__ == "__main__":
    absltest.main()
