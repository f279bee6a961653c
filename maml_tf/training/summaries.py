"""A training as TensorBoard shows it: one run, every scalar over the iterations done, a card and its HParams."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maml_tf.results import Row, versions
from maml_tf.training.iterations import Iterations, Place
from maml_tf.training.progress import BatchClock


class Summaries(keras.callbacks.Callback):
    """Writes a training for TensorBoard as one run.

    The scalars are `training/<metric>`, `validation/<metric>` and, where a metric is of a number of inner steps,
    `validation/<metric>/step_<i>`, each over the iterations done. "Custom scalars" has a chart of every such metric
    with a line for each number of steps, "Text" a card that says what was trained, "HParams" the configuration beside
    the final metrics.

    Args:
        logdir: Directory of the run; other events of it may be there.
        iterations: The counter of the training.
        card: What the card says, from a heading to its text; the command and the versions are added.
        hparams: The configuration, from name to number, string or bool; lists are joined, and None is left out.
        first: Names in `hparams` that HParams shows before the others; it shows five at once.
        metrics: Tags that HParams shows beside the configuration, such as those of `write_rows`.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import tensorflow as tf
    >>> from maml_tf.training import Iterations, Summaries
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", loss="mse")
    >>> iterations = Iterations(total=20, per_epoch=10)
    >>> data = tf.data.Dataset.from_tensors((tf.ones([4, 1]), tf.ones([4, 1]))).repeat()
    >>> with tempfile.TemporaryDirectory() as logdir:
    ...     history = iterations.fit(model, data, [Summaries(logdir, iterations, card={"data": "ones"})])
    """

    place = Place.SHOW

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        iterations: Iterations,
        *,
        card: Mapping[str, Any] | None = None,
        hparams: Mapping[str, Any] | None = None,
        first: Collection[str] = (),
        metrics: Sequence[str] = (),
    ):
        super().__init__()
        self.iterations = iterations
        self._logdir = os.fspath(logdir)
        self._card, self._hparams, self._first, self._metrics = dict(card or {}), hparams, first, metrics
        self._clock = BatchClock()
        self._weights: dict[str, tf.Tensor] = {}
        self._charts: set[str] = set()

    @functools.cached_property
    def writer(self) -> Any:
        """What writes the run's events, made at its first use; other callbacks write through it too."""
        return tf.summary.create_file_writer(self._logdir)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes scalars.

        Args:
            values: From tag to value.
            step: The iterations done.
        """
        summary = tf.compat.v1.Summary()
        for tag, value in values.items():
            summary.value.add(tag=tag, simple_value=float(value))
        with self.writer.as_default():
            # One operation for all: tf.summary.scalar takes one for each.
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step)

    def outer_updates(self, weights: Mapping[str, Any], step: int) -> None:
        """Writes histograms of what the weights have changed by since the last call.

        Args:
            weights: The weights as they are, by name; the first call remembers them alone.
            step: The iterations done.
        """
        weights = {name: tf.convert_to_tensor(value) for name, value in weights.items()}
        with self.writer.as_default(step=step):
            for name in weights.keys() & self._weights.keys():
                tf.summary.histogram(f"outer_update/{name}", weights[name] - self._weights[name])
        self._weights = weights

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._clock.start()
        if self.iterations.done:
            return  # A training that is resumed has written these.
        with self.writer.as_default(step=0):
            tf.summary.text("card", card({**self._card, **_origin()}))
            if self._hparams is not None:
                _write_hparams(self._hparams, self._first, self._metrics)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._clock.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._clock.end(self.iterations.done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {tag_of(name): value for name, value in (logs or {}).items()}
        flat = {}
        for tag, value in values.items():
            numbers = np.ravel(value)
            flat |= {tag: numbers[0]} if len(numbers) == 1 else {f"{tag}/{i}": one for i, one in enumerate(numbers)}
        if speed := self._clock.speed:
            flat["speed/iterations_per_second"] = speed
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            flat["training/learning_rate"] = float(tf.convert_to_tensor(optimizer.learning_rate))
        self.scalars(flat, self.iterations.done)
        self._add_charts(flat)
        self.writer.flush()

    def _add_charts(self, tags: Iterable[str]) -> None:
        charts = {tag.rpartition("/step_")[0] for tag in tags if re.fullmatch(r".+/step_\d+", tag)}
        if not charts <= self._charts:
            self._charts |= charts
            with self.writer.as_default():
                _write_layout(sorted(self._charts))


def tag_of(name: str) -> str:
    """Makes the tag of a metric of Keras' logs.

    Example:
    >>> from maml_tf.training.summaries import tag_of
    >>> [tag_of(name) for name in ("loss", "val_accuracy_step_3", "val_loss", "validation_return")]
    ['training/loss', 'validation/accuracy/step_3', 'validation/loss', 'validation/return']
    """
    [(validation, metric, step)] = re.findall(r"^(val_|validation_)?(.+?)(?:_step_(\d+))?$", name)
    return "/".join(["validation" if validation else "training", metric, *([f"step_{step}"] if step else [])])


def write_rows(logdir: str | os.PathLike[str], rows: Iterable[Row], iteration: int) -> None:
    """Writes test results into a training's run, as scalars `test/<metric>/step_<i>`.

    Args:
        logdir: Directory of the run.
        rows: The results of one method; where they are of several numbers of shots, the tags name them.
        iteration: The iterations after which the weights were measured.
    """
    rows = list(rows)
    several = len({row.shots for row in rows}) > 1
    summary = tf.compat.v1.Summary()
    for row in rows:
        summary.value.add(tag=row_tag(row.metric, row.step, row.shots if several else None), simple_value=row.mean)
    writer = tf.summary.create_file_writer(os.fspath(logdir))
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), iteration)
    writer.close()


def row_tag(metric: str, step: int, shots: int | None = None) -> str:
    """Makes the tag of a test result.

    Example:
    >>> from maml_tf.training.summaries import row_tag
    >>> row_tag("mse", 1, shots=5), row_tag("accuracy", 10)
    ('test/mse_5_shot/step_1', 'test/accuracy/step_10')
    """
    return f"test/{metric}{'' if shots is None else f'_{shots}_shot'}/step_{step}"


def card(entries: Mapping[str, Any]) -> str:
    """Makes a list in Markdown.

    Example:
    >>> from maml_tf.training.summaries import card
    >>> print(card({"data": "sinusoids"}))
    - **data:** sinusoids
    """
    return "\n".join(f"- **{name}:** {value}" for name, value in entries.items())


def _origin() -> dict[str, str]:
    """What made a run: the command and the versions."""
    program, *arguments = sys.argv  # The program `maml-tf sinusoid` is two words.
    return {
        "command": f"`{' '.join([program, *map(shlex.quote, arguments)])}`",
        "versions": ", ".join(f"{name} {value}" for name, value in versions().items()),
    }


def _write_hparams(values: Mapping[str, Any], first: Collection[str], metrics: Sequence[str]) -> None:
    # Imported here, for it takes a tenth of a second.
    from tensorboard.plugins.hparams import api as hp
    from tensorboard.plugins.hparams import plugin_data_pb2

    shown = {
        name: ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        for name, value in values.items()
        if value is not None
    }
    config = hp.hparams_config_pb([hp.HParam(name) for name in shown], [hp.Metric(tag) for tag in metrics])
    held = config.value[0].metadata.plugin_data
    content = plugin_data_pb2.HParamsPluginData.FromString(held.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in first  # By which TensorBoard sorts.
    held.content = content.SerializeToString()
    tf.summary.experimental.write_raw_pb(config.SerializeToString(), step=0)
    hp.hparams(shown)


def _write_layout(metrics: Sequence[str]) -> None:
    """Writes a chart for each metric, with a line for each number of inner steps."""
    from tensorboard.plugins.custom_scalar import layout_pb2, summary

    charts = [
        layout_pb2.Chart(
            title=metric, multiline=layout_pb2.MultilineChartContent(tag=[rf"^{re.escape(metric)}/step_\d+$"])
        )
        for metric in metrics
    ]
    category = layout_pb2.Category(title="after each number of inner steps", chart=charts)
    layout = summary.pb(layout_pb2.Layout(category=[category]))
    tf.summary.experimental.write_raw_pb(layout.SerializeToString(), step=0)
