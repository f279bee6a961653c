"""The tab of characters: draw five once each, and a network that has learned them names further drawings."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Sequence

import keras
import numpy as np
from bokeh.models import ColumnDataSource, FreehandDrawTool, LinearColorMapper, NumeralTickFormatter, RadioButtonGroup
from bokeh.palettes import Greys256
from bokeh.transform import dodge

from maml_tf import pretrained
from maml_tf.demo import widgets
from maml_tf.demo.drawings import IMAGE_SIZE, PEN, Stroke, example, rasterize
from maml_tf.evaluation import Evaluator
from maml_tf.plotting import style
from maml_tf.tasks.omniglot import DRAWING_SIZE

ENTRY = "omniglot_5way_1shot"
WAYS = 5
_SMALL, _LARGE = 150, 230


class Recognizer:
    """The published network of Omniglot, which learns five characters from a drawing of each.

    It normalizes by the five drawings, so that the answer for a drawing depends on no other (inductive).

    Attributes:
        steps: Gradient steps of an adaptation.
    """

    def __init__(self):
        learner = pretrained.load(ENTRY, batch_statistics="support")
        self.steps = learner.inner_steps
        self._evaluator = Evaluator(learner, {"probabilities": lambda targets, logits: keras.ops.softmax(logits)})

    def answers(self, learned: Sequence[np.ndarray], drawing: np.ndarray) -> np.ndarray:
        """Learns five characters and says which of them a drawing is.

        Args:
            learned: A drawing of each character, float32 [5, 28, 28, 1].
            drawing: float32 [28, 28, 1].

        Returns:
            The probability of each character before the first gradient step and after each, [steps + 1, 5].
        """
        support, query = np.asarray(learned, np.float32)[np.newaxis], drawing[np.newaxis, np.newaxis]
        # An episode's queries have labels; the value of this one is not used.
        episode = (support, np.arange(WAYS)[np.newaxis], query), np.zeros((1, 1), int)
        return self._evaluator([episode], self.steps).values["probabilities"][:, 0, 0]


def load() -> Recognizer:
    """Loads the network and compiles the functions that the tab calls."""
    recognizer = Recognizer()
    drawings = [rasterize(example(number)) for number in range(WAYS)]
    recognizer.answers(drawings, drawings[0])
    return recognizer


class Scores:
    """Counts how often the networks were right before and after adaptation."""

    def __init__(self):
        self.clear()

    def clear(self) -> None:
        """Forgets all drawings."""
        self._drawings: list[tuple[bool, bool]] = []
        self._open = True

    def count(self, character: int, before: int, after: int) -> None:
        """Counts the drawing at hand; a second call for it replaces the first.

        Args:
            character: What was drawn.
            before: What the network said before adaptation.
            after: What it said after.
        """
        right = before == character, after == character
        self._drawings[len(self._drawings) - (not self._open) :] = [right]
        self._open = False

    def next(self) -> None:
        """Goes on to the next drawing."""
        self._open = True

    @property
    def totals(self) -> tuple[int, int, int]:
        """How many drawings were counted, and in how many the network was right before and after adaptation."""
        return len(self._drawings), *(sum(right[phase] for right in self._drawings) for phase in (0, 1))


class Canvas:
    """A square to draw on.

    Args:
        side: In pixels.
        name: Of its plot.
        changed: Called when the visitor has drawn a stroke.

    Attributes:
        plot: What is shown.
    """

    def __init__(self, side: int, name: str, changed):
        self._source = ColumnDataSource({"xs": [], "ys": []}, name=f"{name}_strokes")
        self.plot = widgets.plot(
            (0, 1), (0, 1), width=side, height=side, min_border=1, name=name, background_fill_color="white"
        )
        self.plot.axis.visible = self.plot.grid.visible = False
        self.plot.outline_line_color, self.plot.outline_line_width = "#9aa5b1", 1
        width = side * PEN / DRAWING_SIZE
        lines = self.plot.multi_line(
            "xs", "ys", source=self._source, line_width=width, color=widgets.INK, line_cap="round", line_join="round"
        )
        pen = FreehandDrawTool(renderers=[lines])
        self.plot.add_tools(pen)
        self.plot.toolbar.active_drag = pen
        widgets.on_tap(self.plot, self._dot)
        self._changed, self._quiet = changed, False
        self._source.on_change("data", lambda attr, old, new: None if self._quiet else self._changed())

    @property
    def strokes(self) -> list[Stroke]:
        """What is drawn, in the unit square with y downwards."""
        data = self._source.data
        return [
            np.stack([np.asarray(x, float), 1 - np.asarray(y, float)], axis=1)
            for x, y in zip(data["xs"], data["ys"], strict=True)
            if len(x)
        ]

    def draw(self, strokes: Sequence[Stroke]) -> None:
        """Shows strokes instead of what was drawn, without a call of `changed`."""
        self._quiet = True
        self._source.data = {
            "xs": [stroke[:, 0].tolist() for stroke in strokes],
            "ys": [(1 - stroke[:, 1]).tolist() for stroke in strokes],
        }
        self._quiet = False

    def _dot(self, x, y):
        self.draw([*self.strokes, np.array([[x, 1 - y], [x + 0.002, 1 - y]])])
        self._changed()


class Tab:
    """The tab of one visitor.

    Args:
        recognizer: What all visitors share.

    Attributes:
        content: The tab's layout.
    """

    def __init__(self, recognizer: Recognizer):
        self._recognizer = recognizer
        self._learned: list[np.ndarray] | None = None
        self._answers: tuple[int, int] | None = None
        self._scores = Scores()
        self._seeds = itertools.count(secrets.randbelow(2**31))
        self._supports = [Canvas(_SMALL, f"character_{number + 1}", self._redrawn) for number in range(WAYS)]
        self._query = Canvas(_LARGE, "query", self._ask)
        self._bars = ColumnDataSource(name="probabilities")
        self._seen = ColumnDataSource(name="seen")
        self._status = widgets.text("", name="characters_status")
        self._answer = widgets.text("", name="answer")
        self._score = widgets.text("", name="score")
        self._truth = RadioButtonGroup(
            labels=[str(number + 1) for number in range(WAYS)], margin=(0, 8, 8, 8), stylesheets=[widgets.BUTTON],
            **widgets.named("truth"),
        )  # fmt: skip
        self._truth.on_change("active", lambda attr, old, new: self._count())
        self._example = widgets.button("Draw one for me", self._draw_example, name="example_query")
        self.content = widgets.column(
            widgets.text(
                "<h3>1. Draw five characters, each once</h3><p>Any you like, from any script, or invented. The network "
                "has learned to learn characters from 1,100 others, of 50 alphabets.</p>"
            ),
            widgets.wrapping(*map(self._support, range(WAYS))),
            widgets.wrapping(
                widgets.button("Learn", self._learn, primary=True, name="learn"),
                widgets.button("Fill with examples", self._fill, name="fill"),
                widgets.button("Clear all", self._clear, name="clear_characters"),
            ),
            self._status,
            widgets.wrapping(
                widgets.column(
                    widgets.text("<h3>2. Draw one of them again</h3>"),
                    self._query.plot,
                    widgets.row(widgets.button("Next drawing", self._next, name="next_query"), self._example),
                    width=_LARGE + 90,
                ),
                widgets.stacked(widgets.text("<h3>3. Which one is it?</h3>"), self._answer, self._chart(), least=330),
                widgets.stacked(
                    widgets.text("<h3>4. Was it right?</h3><p>You drew number</p>"),
                    self._truth,
                    self._score,
                    widgets.text('<p class="muted">What the network sees:</p>'),
                    self._preview(),
                    least=230,
                ),
            ),
            sizing_mode="stretch_width",
        )
        self._clear()

    def _support(self, number):
        canvas = self._supports[number]

        def clear():
            canvas.draw([])
            self._redrawn()

        heading = widgets.text(f"<b>{number + 1}</b>", sizing_mode="fixed", width=_SMALL - 46, margin=(4, 0, 0, 8))
        cross = widgets.button("✕", clear, small=True, name=f"clear_{number + 1}")
        return widgets.column(widgets.row(heading, cross), canvas.plot, margin=(0, 8, 8, 0))

    def _chart(self):
        plot = widgets.plot((0.4, WAYS + 0.6), (0, 1), height=220, sizing_mode="stretch_width", name="chart")
        for column, place, color, label in (
            ("before", -0.19, "#b8c2cc", "before adaptation"),
            ("after", 0.19, style.GREEN, f"after {self._recognizer.steps} gradient steps"),
        ):
            x = dodge("character", place)
            plot.vbar(x, top=column, source=self._bars, width=0.36, color=color, legend_label=label)
        plot.xaxis.ticker, plot.yaxis.ticker = list(range(1, WAYS + 1)), [0, 0.5, 1]
        plot.xgrid.visible = False
        plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
        widgets.legend_outside(plot, "above")
        return plot

    def _preview(self):
        plot = widgets.plot((0, 1), (0, 1), width=122, height=122, min_border=1, margin=(0, 8, 8, 8))
        plot.axis.visible = plot.grid.visible = False
        ink = LinearColorMapper(Greys256[::-1], low=0, high=1)
        plot.image("image", source=self._seen, x=0, y=0, dw=1, dh=1, color_mapper=ink)
        return plot

    def _redrawn(self):
        self._learned = None
        self._scores.clear()
        drawn = sum(bool(canvas.strokes) for canvas in self._supports)
        self._say(f"{drawn} of {WAYS} characters are drawn." + (" Press Learn." if drawn == WAYS else ""))
        self._ask()

    def _learn(self):
        if missing := [str(number + 1) for number, canvas in enumerate(self._supports) if not canvas.strokes]:
            self._say(f"Draw all five characters first. Still empty: {', '.join(missing)}.")
            return
        self._learned = [rasterize(canvas.strokes) for canvas in self._supports]
        began = time.perf_counter()
        self._recognizer.answers(self._learned, self._learned[0])
        seconds = time.perf_counter() - began
        self._scores.clear()
        self._say(
            f"Learned from five drawings, in {self._recognizer.steps} gradient steps and {1000 * seconds:.0f} ms. "
            "Now draw one of them again."
        )
        self._ask()

    def _fill(self):
        for number, canvas in enumerate(self._supports):
            canvas.draw(example(number))
        self._learn()
        self._example.visible = True
        self._draw_example()

    def _draw_example(self):
        self._next()
        seed = next(self._seeds)
        number = seed % WAYS
        self._query.draw(example(number, drawing=1, seed=seed))
        self._ask()
        self._truth.active = number

    def _clear(self):
        for canvas in self._supports:
            canvas.draw([])
        self._query.draw([])
        self._redrawn()

    def _next(self):
        self._scores.next()
        self._query.draw([])
        self._ask()

    def _ask(self):
        """Shows what the networks say of the query as it is now."""
        strokes, learned = self._query.strokes, self._learned
        self._example.visible &= learned is not None
        self._truth.active = None
        image = rasterize(strokes) if strokes else np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        # The first row of Bokeh's images is the lowest.
        self._seen.data = {"image": [image[::-1, :, 0]]}
        said = [np.zeros(WAYS), np.zeros(WAYS)]
        self._answers = None
        if learned is None:
            self._answer.text = '<p class="muted">It has learned no characters yet.</p>'
        elif not strokes:
            self._answer.text = '<p class="muted">Draw one of the five.</p>'
        else:
            said = self._recognizer.answers(learned, image)[[0, -1]]
            self._answers = tuple(int(np.argmax(one)) for one in said)
            number = self._answers[1]
            self._answer.text = (
                f"<p>It is number <b>{number + 1}</b>, says the network, with {said[1][number]:.0%}.</p>"
            )
        self._bars.data = {"character": np.arange(1, WAYS + 1), "before": said[0], "after": said[1]}
        self._truth.disabled = self._answers is None
        self._show_score()

    def _count(self):
        if self._truth.active is not None and self._answers is not None:
            self._scores.count(self._truth.active, *self._answers)
            self._show_score()

    def _show_score(self):
        drawings, *right = self._scores.totals
        if not drawings:
            self._score.text = '<p class="muted">Tell, and the answers are counted.</p>'
            return
        rows = "".join(
            f"<tr><td>{phase} adaptation</td><td>{count} of {drawings}</td><td>{count / drawings:.0%}</td></tr>"
            for phase, count in zip(("before", "after"), right, strict=True)
        )
        self._score.text = f"<table><tr><th>right</th><th></th><th></th></tr>{rows}</table>"

    def _say(self, said):
        self._status.text = f'<p class="muted">{said}</p>'
