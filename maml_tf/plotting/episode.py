"""An episode's images with a classifier's predictions before and after adaptation."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maml_tf.plotting import style

_MOST_IMAGES, _MOST_CLASSES = 3, 10


def episode_predictions(
    support_x: np.ndarray,
    support_y: np.ndarray,
    query_x: np.ndarray,
    query_y: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> Figure:
    """Draws a column for each class: support images, then query images under predictions before and after adaptation.

    What is written above a query image is green if the prediction after adaptation is right, else red. A column shows
    at most three images of each set; of more than ten classes, the first ten are shown.

    Args:
        support_x: [support examples, height, width, channels], in [0, 1].
        support_y: Labels, [support examples].
        query_x: [query examples, height, width, channels], in [0, 1].
        query_y: Labels, [query examples].
        before: Predicted labels before adaptation, [query examples].
        after: Predicted labels after adaptation, [query examples].

    Raises:
        ValueError: If the numbers of examples do not fit each other.
    """
    if not len(query_x) == len(query_y) == len(before) == len(after) or len(support_x) != len(support_y):
        raise ValueError(
            "Expected a label of each image and two predictions of each query. Received: "
            f"{len(support_x)} and {len(support_y)}; {len(query_x)}, {len(query_y)}, {len(before)} and {len(after)}"
        )
    classes = sorted({int(label) for label in support_y})[:_MOST_CLASSES]
    support = {label: np.flatnonzero(np.asarray(support_y) == label)[:_MOST_IMAGES] for label in classes}
    query = {label: np.flatnonzero(np.asarray(query_y) == label)[:_MOST_IMAGES] for label in classes}
    shots, queries = (max(len(found) for found in of_class.values()) for of_class in (support, query))
    with style.styled():
        figure = style.new_figure(max(4.4, 0.9 * len(classes) + 0.9), 1.12 * (shots + queries) + 0.55)
        panels = figure.subplots(shots + queries, len(classes), squeeze=False)
        for panel in panels.flat:
            panel.grid(False)
            panel.set(xticks=[], yticks=[], frame_on=False)
        for column, label in zip(panels.T, classes, strict=True):
            for panel, index in zip(column, support[label], strict=False):
                _show(panel, support_x[index])
            for panel, index in zip(column[shots:], query[label], strict=False):
                _show(panel, query_x[index])
                color = style.GREEN if int(after[index]) == label else style.VERMILION
                predicted = f"{int(before[index])} \N{RIGHTWARDS ARROW} {int(after[index])}"
                panel.set_title(predicted, fontsize=11, color=color, pad=3)
            column[0].set_title(f"class {label}", fontsize=11, pad=3)
        panels[0, 0].set_ylabel("support", fontsize=11)
        panels[shots, 0].set_ylabel("query", fontsize=11)
        figure.suptitle("prediction before \N{RIGHTWARDS ARROW} after adaptation", fontsize=11)
    return figure


def _show(panel: Axes, image: np.ndarray) -> None:
    if image.shape[-1] == 1:
        panel.imshow(1.0 - image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    else:
        panel.imshow(image)
