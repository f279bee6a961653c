"""An episode's images with a classifier's predictions before and after adaptation."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maml_tf.plotting import style

_MOST_IMAGES = 5


def episode_predictions(
    support_x: np.ndarray,
    support_y: np.ndarray,
    query_x: np.ndarray,
    query_y: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> Figure:
    """Draws a row for each class: support images, then query images under the predictions before and after adaptation.

    The title of a query image is green if the prediction after adaptation is right, else red. A row shows at most five
    images of each set.

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
    classes = sorted({int(label) for label in support_y})
    support = {label: np.flatnonzero(np.asarray(support_y) == label)[:_MOST_IMAGES] for label in classes}
    query = {label: np.flatnonzero(np.asarray(query_y) == label)[:_MOST_IMAGES] for label in classes}
    shots, queries = (max(len(found) for found in of_class.values()) for of_class in (support, query))
    with style.styled():
        figure = style.new_figure(0.9 * (shots + queries) + 0.6, 1.1 * len(classes) + 0.5)
        panels = figure.subplots(len(classes), shots + queries, squeeze=False)
        for row, label in zip(panels, classes, strict=True):
            for panel in row:
                panel.set_axis_off()
            for panel, index in zip(row, support[label], strict=False):
                _show(panel, support_x[index])
                panel.set_title(f"support: {label}", fontsize=7)
            for panel, index in zip(row[shots:], query[label], strict=False):
                _show(panel, query_x[index])
                right = int(after[index]) == label
                color = style.GREEN if right else style.VERMILION
                panel.set_title(
                    f"{int(before[index])} \N{RIGHTWARDS ARROW} {int(after[index])}", fontsize=8, color=color
                )
        figure.suptitle("query: prediction before \N{RIGHTWARDS ARROW} after adaptation", fontsize=9)
    return figure


def _show(panel: Axes, image: np.ndarray) -> None:
    if image.shape[-1] == 1:
        panel.imshow(1.0 - image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    else:
        panel.imshow(image)
