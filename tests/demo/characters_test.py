"""Tests of maml_tf.demo.characters."""

import importlib.util
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest

from maml_tf.demo.drawings import example, rasterize

if importlib.util.find_spec("bokeh") is None:
    raise unittest.SkipTest("the extra demo is not installed")

from bokeh.events import ButtonClick, Tap

from maml_tf.demo import characters


class RecognizerTest(absltest.TestCase):
    def test_five_drawings_are_learned_and_others_of_them_named(self):
        recognizer = characters.load()
        learned = [rasterize(example(number)) for number in range(5)]
        answers = np.stack([recognizer.answers(learned, rasterize(example(number, 1))) for number in range(5)])
        self.assertEqual(answers.shape, (5, recognizer.steps + 1, 5))
        np.testing.assert_allclose(answers.sum(axis=-1), 1, rtol=1e-5)
        self.assertEqual(answers[:, -1].argmax(axis=-1).tolist(), [0, 1, 2, 3, 4])
        self.assertNotEqual(answers[:, 0].argmax(axis=-1).tolist(), [0, 1, 2, 3, 4])
        # The names are the visitor's: in another order the same drawings have other ones.
        again = recognizer.answers(learned[::-1], rasterize(example(0, 1)))
        self.assertEqual(again[-1].argmax(), 4)


class ScoresTest(absltest.TestCase):
    def test_each_drawing_counts_once(self):
        scores = characters.Scores()
        self.assertEqual(scores.totals, (0, 0, 0))
        scores.count(2, before=0, after=2)
        scores.count(0, before=0, after=2)  # The visitor thinks better of it.
        self.assertEqual(scores.totals, (1, 1, 0))
        scores.next()
        scores.count(2, before=1, after=2)
        scores.next()
        scores.count(3, before=3, after=3)
        self.assertEqual(scores.totals, (3, 2, 2))
        scores.clear()
        scores.count(1, before=1, after=0)
        self.assertEqual(scores.totals, (1, 1, 0))


class TabTest(absltest.TestCase):
    """A visitor's tab, over a recognizer that always says the same."""

    def setUp(self):
        super().setUp()
        self.recognizer = mock.create_autospec(characters.Recognizer, instance=True, steps=3)
        answer = np.full((4, 5), 0.1)
        answer[0, 1] = answer[-1, 2] = 0.6
        self.recognizer.answers.return_value = answer
        self.content = characters.Tab(self.recognizer).content

    def model(self, name):
        return self.content.select_one({"name": name})

    def draw(self, name, strokes):
        """Draws as Bokeh's tool does, which sends all strokes at the end of each."""
        for count in range(1, len(strokes) + 1):
            of_axis = [[stroke[:, axis].tolist() for stroke in strokes[:count]] for axis in (0, 1)]
            ys = [[1 - y for y in stroke] for stroke in of_axis[1]]
            self.content.select_one({"name": name}).renderers[0].data_source.data = {"xs": of_axis[0], "ys": ys}

    def press(self, name):
        self.model(name)._trigger_event(ButtonClick(self.model(name)))

    def test_a_visit(self):
        for number in range(4):
            self.draw(f"character_{number + 1}", example(number))
        self.press("learn")
        self.assertIn("Still empty: 5.", self.model("characters_status").text)
        self.draw("query", example(2, 1))
        self.recognizer.answers.assert_not_called()
        self.draw("character_5", example(4))
        self.assertIn("5 of 5 characters are drawn. Press Learn.", self.model("characters_status").text)
        self.press("learn")
        self.assertIn("Learned from five drawings, in 3 gradient steps", self.model("characters_status").text)
        self.assertIn("number <b>3</b>, says the network, with 60%", self.model("answer").text)
        learned, drawing = self.recognizer.answers.call_args.args
        np.testing.assert_allclose(learned, [rasterize(example(number)) for number in range(5)], atol=0.1)
        np.testing.assert_allclose(drawing, rasterize(example(2, 1)), atol=0.1)
        self.model("truth").active = 2
        self.assertIn("<td>after adaptation</td><td>1 of 1</td><td>100%</td>", self.model("score").text)
        self.press("next_query")
        self.draw("query", example(1, 1))
        self.model("truth").active = 1
        self.assertIn("<td>before adaptation</td><td>1 of 2</td><td>50%</td>", self.model("score").text)
        self.assertIn("<td>after adaptation</td><td>1 of 2</td><td>50%</td>", self.model("score").text)
        self.draw("character_1", example(1))  # Other characters: what was learned and counted is no longer true.
        self.assertIn("learned no characters yet", self.model("answer").text)
        self.assertNotIn("1 of 2", self.model("score").text)

    def test_one_click_shows_examples_learned_and_named(self):
        self.assertFalse(self.model("example_query").visible)
        self.press("fill")
        self.assertIn("says the network", self.model("answer").text)
        self.assertIn("of 1", self.model("score").text)
        self.press("example_query")
        self.assertIn("of 2", self.model("score").text)
        self.press("clear_characters")
        self.assertFalse(self.model("example_query").visible)
        self.assertIn("0 of 5 characters are drawn.", self.model("characters_status").text)

    def test_a_tap_draws_a_dot(self):
        plot = self.model("character_1")
        plot._trigger_event(Tap(plot, x=0.4, y=0.7))
        [xs], [ys] = (plot.renderers[0].data_source.data[axis] for axis in ("xs", "ys"))
        np.testing.assert_allclose([xs[0], ys[0]], [0.4, 0.7])
        self.assertIn("1 of 5", self.model("characters_status").text)


if __name__ == "__main__":
    absltest.main()
