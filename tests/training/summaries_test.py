"""Tests of maml_tf.training.summaries and maml_tf.training.learner_summaries."""

import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

import maml_tf
from maml_tf.results import Row
from maml_tf.training import Iterations, LearnerSummaries, Summaries, write_rows
from maml_tf.training.summaries import row_tag
from tests.support.keras_warnings import ignore_array_copy


def events_of(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0}).Reload()


def scalars(events, tag):
    return [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]


def text(events, tag):
    return events.Tensors(tag)[0].tensor_proto.string_val[0].decode()


class SummariesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.iterations = Iterations(40, 10)

    def summaries(self, **arguments):
        summaries = Summaries(self.folder, self.iterations, **arguments)
        summaries.on_train_begin()
        return summaries

    def end_epochs(self, summaries, *logs):
        for of_epoch in logs:
            self.iterations.variable.assign_add(10)
            summaries.on_epoch_end(0, of_epoch)

    def test_scalars_are_over_the_iterations_done_with_tags_by_their_kind(self):
        logs = {"loss": 1.5, "val_loss_step_0": 3.0, "val_loss_step_1": 2.0, "f1": np.array([0.5, 0.25])}
        self.end_epochs(self.summaries(), logs, {"loss": 1.0})
        events = events_of(self.folder)
        self.assertEqual(scalars(events, "training/loss"), [(10, 1.5), (20, 1.0)])
        self.assertEqual(scalars(events, "validation/loss/step_1"), [(10, 2.0)])
        self.assertEqual(scalars(events, "training/f1/1"), [(10, 0.25)])

    def test_a_chart_has_a_line_for_each_number_of_steps(self):
        self.end_epochs(self.summaries(), {"val_loss_step_0": 3.0, "val_loss_step_1": 2.0, "loss": 1.0})
        [layout] = events_of(self.folder).Tensors("custom_scalars__config__")
        layout = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0])
        [chart] = layout.category[0].chart
        self.assertEqual((chart.title, list(chart.multiline.tag)), ("validation/loss", [r"^validation/loss/step_\d+$"]))

    def test_the_card_and_hparams_are_written_once(self):
        hparams = {"method": "maml", "hidden": [40, 40], "shots": 5, "split": None}
        summaries = self.summaries(
            card={"data": "sinusoids"}, hparams=hparams, first=["method"], metrics=["test/mse/step_1"]
        )
        self.end_epochs(summaries, {"loss": 1.0})
        self.summaries(card={"data": "others"})  # As a resumed training does.
        events = events_of(self.folder)
        self.assertLen(events.Tensors("card"), 1)
        card = text(events, "card")
        self.assertIn("- **data:** sinusoids\n", card)
        self.assertRegex(card, r"- \*\*command:\*\* `.+`\n")
        self.assertIn(f"maml_tf {maml_tf.__version__}", card)

        def plugin_data(tag):
            content = events.SummaryMetadata(tag).plugin_data.content
            return plugin_data_pb2.HParamsPluginData.FromString(content)

        values = plugin_data("_hparams_/session_start_info").session_start_info.hparams
        self.assertEqual({"method", "hidden", "shots"}, set(values))
        self.assertEqual((values["hidden"].string_value, values["shots"].number_value), ("40,40", 5))
        experiment = plugin_data("_hparams_/experiment").experiment
        self.assertEqual([metric.name.tag for metric in experiment.metric_infos], ["test/mse/step_1"])
        self.assertEqual([info.name for info in experiment.hparam_infos if info.differs], ["method"])

    def test_test_results_are_scalars(self):
        rows = [Row("maml", shots, 1, "mse", 0.5 * shots, 1.0, 0.1, 600) for shots in (5, 10)]
        write_rows(self.folder, rows, 70)
        write_rows(self.folder, [Row("maml", 1, 3, "accuracy", 0.75, 1.0, 0.1, 600)], 20)
        events = events_of(self.folder)
        self.assertEqual(scalars(events, "test/mse_10_shot/step_1"), [(70, 5.0)])
        self.assertEqual(scalars(events, row_tag("accuracy", 3)), [(20, 0.75)])

    def test_the_speed_leaves_out_the_first_batch(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.25), loss="mse")
        data = tf.data.Dataset.from_tensors((tf.ones([4, 1]), tf.ones([4, 1]))).repeat()
        self.iterations.fit(model, data, [Summaries(self.folder, self.iterations)])
        events = events_of(self.folder)
        self.assertGreater(events.Scalars("speed/iterations_per_second")[-1].value, 20)
        self.assertEqual(scalars(events, "training/learning_rate"), [(step, 0.25) for step in (10, 20, 30, 40)])


class LearnerSummariesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.now = 0.0
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
        rule = maml_tf.LearnedStepSizes(0.1, "layer_and_step", steps=2)
        self.learner = maml_tf.MAML(model, "mse", rule, inner_steps=2)
        x = keras.random.normal((2, 6, 2), seed=0)
        y = keras.ops.sum(x, axis=2, keepdims=True)
        self.data = ((x[:, :3], y[:, :3], x[:, 3:]), y[:, 3:])
        self.iterations = Iterations(40, 10)

    def train(self, seconds_an_epoch, **arguments):
        """Ends four epochs, each of which moves a bias by 1; every writing takes a second."""

        def image():
            self.now += 1.0
            return tf.zeros([1, 2, 2, 4], tf.uint8)

        summaries = LearnerSummaries(
            Summaries(self.folder, self.iterations), self.learner, self.data, every=10, image=image,
            clock=lambda: self.now, **arguments,
        )  # fmt: skip
        summaries.on_train_begin()
        for epoch in range(4):
            self.now += seconds_an_epoch
            self.learner.model.trainable_variables[-1].assign_add([1.0])
            self.iterations.variable.assign_add(10)
            summaries.on_epoch_end(epoch, {})
        return events_of(self.folder)

    def test_gradients_step_sizes_updates_and_the_picture(self):
        events = self.train(10.0, share=1.0)
        gradients = self.learner.meta_gradients(self.data)[1]  # At the end, where the last ones were written.
        norms = {"gradient_norm": tf.linalg.global_norm(gradients)}
        for variable, gradient in zip(self.learner.trainable_variables, gradients, strict=True):
            norms[f"gradient_norm/{variable.path}"] = tf.norm(gradient)
        for tag, norm in norms.items():
            written = scalars(events, tag)
            self.assertEqual([step for step, _ in written], [10, 20, 30, 40])
            np.testing.assert_allclose(written[-1][1], norm, rtol=1e-3, atol=1e-5)
        self.assertEqual([event.step for event in events.Tensors("episode")], [10, 20, 30, 40])
        tags = events.Tags()
        for variable in self.learner.update_rule.trainable_variables:
            self.assertIn(f"step_size/{variable.path}", tags["scalars"])
            self.assertIn(f"step_sizes/{variable.path}", tags["tensors"])
        bias = self.learner.model.trainable_variables[-1].path
        [update, *_] = events.Tensors(f"outer_update/{bias}")
        buckets = tf.make_ndarray(update.tensor_proto)
        np.testing.assert_allclose(buckets[:, :2], 1.0)  # One value, 1.
        self.assertEqual(buckets[:, 2].sum(), 1.0)
        self.assertLen(events.Tensors(f"inner_update/{bias}"), 4)

    def test_writing_takes_a_share_of_the_time_at_most_and_the_end_is_written(self):
        events = self.train(60.0, diagnose_after=1e9)
        self.assertEqual([event.step for event in events.Tensors("episode")], [20, 40])  # After 120 s one of 1 s.
        self.assertNotIn("diagnosis/table", events.Tags()["tensors"])

    def test_a_long_training_is_diagnosed_at_its_end(self):
        events = self.train(10.0, diagnose_after=30.0)
        self.assertEqual([event.step for event in events.Tensors("diagnosis/table")], [40])
        self.assertIn("Diagnosis of 'maml'", text(events, "diagnosis/table"))

    def test_a_task_that_diverges_has_no_inner_update(self):
        for variable in self.learner.update_rule.trainable_variables:
            variable.assign(np.full(variable.shape, 1e30, np.float32))
        events = self.train(1.0)
        self.assertNotEmpty(events.Tensors("episode"))
        self.assertEmpty([tag for tag in events.Tags()["tensors"] if tag.startswith("inner_update/")])


if __name__ == "__main__":
    absltest.main()
