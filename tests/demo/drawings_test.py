"""Tests of maml_tf.demo.drawings."""

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.demo.drawings import IMAGE_SIZE, MIDDLE, PEN, SIDE, example, rasterize, smooth
from maml_tf.tasks.omniglot import DRAWING_SIZE

CROSS = [np.array([[0.25, 0.25], [0.75, 0.75]]), np.array([[0.75, 0.25], [0.25, 0.75]])]


def box(image):
    """Returns the middle and the longer side of what is drawn, in pixels of a drawing."""
    rows, columns = np.nonzero(image[:, :, 0] > 0.3)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    return (low + high) / 2 * DRAWING_SIZE / IMAGE_SIZE, (high - low).max() * DRAWING_SIZE / IMAGE_SIZE


class RasterizeTest(parameterized.TestCase):
    def test_ink_lies_where_the_strokes_are(self):
        image = rasterize([np.array([[0.2, 0.3], [0.8, 0.3], [0.8, 0.9]])])  # A corner, at the top on the right.
        self.assertEqual((image.shape, image.dtype), ((IMAGE_SIZE, IMAGE_SIZE, 1), np.float32))
        self.assertBetween(image.min(), 0, 1)
        self.assertBetween(image.max(), 0.8, 1)
        upper, lower = image[:14], image[14:]
        self.assertGreater(upper[:, :14].sum(), 5)
        self.assertGreater(upper[:, 14:].sum(), 5)
        self.assertLess(lower[:, :14].sum(), 0.1)
        self.assertGreater(lower[:, 14:].sum(), 5)

    def test_a_line_has_as_much_ink_as_the_pen_is_wide(self):
        image = rasterize([np.array([[0.2, 0.5], [0.8, 0.5]])])
        np.testing.assert_allclose(image[:, 14, 0].sum() * DRAWING_SIZE / IMAGE_SIZE, PEN, rtol=0.12)

    @parameterized.parameters(((0.45, 0.0),), ((1.0, 0.0),), ((3.0, 0.0),), ((0.5, 0.4),), ((0.5, -0.4),))
    def test_every_drawing_has_omniglots_size_and_place(self, changed):
        scale, shift = changed
        middle, side = box(rasterize([scale * (stroke - 0.5) + 0.5 + shift for stroke in CROSS]))
        np.testing.assert_allclose(middle, [MIDDLE, MIDDLE], atol=2)
        np.testing.assert_allclose(side, SIDE, atol=4)

    def test_a_dot_stays_a_dot(self):
        self.assertLess(box(rasterize([np.array([[0.5, 0.5]])]))[1], 4 * PEN)

    @parameterized.parameters(([],), ([np.zeros((0, 2))],), ([np.zeros((3, 3))],))
    def test_what_is_no_drawing_is_an_error(self, strokes):
        with self.assertRaisesRegex(ValueError, "Expected at least one stroke, arrays .points, 2.. Received: arrays"):
            rasterize(strokes)


class ExampleTest(absltest.TestCase):
    def test_a_smooth_curve_goes_through_its_points(self):
        points = np.array([[0.0, 0.0], [0.5, 0.2], [1.0, 0.0]])
        curve = smooth(points, between=4)
        np.testing.assert_allclose(curve[::4], points)
        self.assertLess(np.abs(np.diff(curve, 2, axis=0)).max(), 0.05)

    def test_every_example_is_in_the_square_and_no_two_drawings_are_one(self):
        images = []
        for number in range(5):
            for drawing, seed in ((0, None), (1, None), (1, 3)):
                strokes = example(number, drawing, seed)
                self.assertBetween(min(stroke.min() for stroke in strokes), 0, 1)
                self.assertBetween(max(stroke.max() for stroke in strokes), 0, 1)
                images.append(rasterize(strokes))
        self.assertLen({image.tobytes() for image in images}, 15)


if __name__ == "__main__":
    absltest.main()
