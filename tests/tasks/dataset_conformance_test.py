"""What holds of every registered data set: on small data of the same form."""

import functools
import itertools
import json
import subprocess
import sys

import keras
import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.experiments.classification.config import make_config
from maml_tf.few_shot.learner import build_learner
from maml_tf.tasks import datasets
from maml_tf.tasks.dataset import PARTS, DatasetSpec
from tests.support import small_data
from tests.support.source_tree import PROJECT

# Where the data of tests are, and the split that they allow.
TESTDATA = {"mini_imagenet": ("mini_imagenet", None), "omniglot": ("alphabet", "alphabets")}
# What makes the data of the others.
MADE = {
    "cifar_fs": small_data.cifar100,
    "fc100": functools.partial(small_data.cifar100, "binary"),
    "tiered_imagenet": functools.partial(small_data.photos, "tiered_imagenet"),
    "cub": functools.partial(small_data.photos, "cub"),
}
NAMES = [*TESTDATA, *MADE]


class ConformanceTest(parameterized.TestCase):
    def open(self, name):
        if name in MADE:
            folder, split = small_data.write(self.create_tempdir().full_path, MADE[name]()), None
        else:
            folder, split = PROJECT / "testdata" / TESTDATA[name][0], TESTDATA[name][1]
        return datasets[name].open(data_dir=str(folder), cache_dir=self.create_tempdir().full_path, split=split)

    def test_every_data_set_has_data_to_test_it_with(self):
        self.assertCountEqual(datasets.names(), NAMES)

    def test_names_are_listed_without_tensorflow(self):
        code = (
            "import json, sys; from maml_tf.tasks import datasets; "
            "print(json.dumps([datasets.names(), [m for m in sys.modules if m in ('tensorflow', 'keras')]]))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        self.assertEqual(json.loads(done.stdout), [list(datasets.names()), []])

    @parameterized.parameters(*NAMES)
    def test_its_parts_share_no_class_and_give_episodes(self, name):
        data, spec = self.open(name), datasets[name]
        self.assertEqual(tuple(data.splits), PARTS)
        for one, other in itertools.combinations(PARTS, 2):
            self.assertEmpty(set(data.splits[one]) & set(data.splits[other]))
        for part in PARTS:
            episode = data.pool(part).episode(0, 1, 3, 1, 2)
            self.assertEqual(episode.query_x.shape, (6, *spec.image_shape))
            self.assertEqual(episode.query_x.dtype, "float32")
            self.assertBetween(np.min(episode.query_x), 0.0, 0.5)
            self.assertBetween(np.max(episode.query_x), 0.5, 1.0)
            self.assertEqual(np.bincount(episode.query_y).tolist(), [2, 2, 2])

    @parameterized.parameters(*NAMES)
    def test_its_presets_describe_learners(self, name):
        spec = datasets[name]
        for preset in spec.presets:
            config = make_config(name, preset)
            self.assertIn(config.network, spec.networks)
            self.assertEqual(config.dataset, name)
        for split in spec.splits:
            self.assertEqual(make_config(name, split=split).split, split)
        with self.assertRaisesRegex(ValueError, "split='none'"):
            make_config(name, split="none") if spec.splits else self.skipTest("has one split")

    @parameterized.parameters(*NAMES)
    def test_its_networks_are_of_the_images_and_the_ways_and_learn_a_step(self, name):
        data, spec = self.open(name), datasets[name]
        # The first network is the last, and the one that is trained.
        networks = reversed(tuple(spec.networks))
        for network, batch_statistics in itertools.product(networks, ("transductive", "support", "running")):
            config = make_config(
                name, network=network, batch_statistics=batch_statistics, ways=3, filters=2, inner_steps=1,
            )  # fmt: skip
            learner = build_learner(config)
            self.assertEqual(learner.model.input_shape, (None, *spec.image_shape))
            self.assertEqual(learner.model.output_shape, (None, 3))
            self.assertEqual(learner.model.get_layer("head").output.shape, (None, 3))
        learner.compile(keras.optimizers.Adam(1e-3))
        history = learner.fit(
            data.pool("train").episodes(0, 3, 1, 1, meta_batch_size=2, tasks=4), shuffle=False, verbose=0
        )
        self.assertTrue(np.isfinite(history.history["loss"]).all())

    @parameterized.parameters(*NAMES)
    def test_it_says_whose_it_is_and_where_it_comes_from(self, name):
        spec = datasets[name]
        self.assertEqual(spec.name, name)
        self.assertNotIn("unknown", spec.licence)
        self.assertTrue(spec.how_to_get.endswith("."))

    @parameterized.parameters("networks", "presets")
    def test_without_networks_or_presets_it_is_none(self, field):
        fields = {"name": "a", "title": "a", "open": None, "image_shape": (1, 1, 1), "networks": {1}, "presets": {1}}
        with self.assertRaisesRegex(ValueError, "data set 'a'"):
            DatasetSpec(**{**fields, field: {}})


if __name__ == "__main__":
    absltest.main()
