"""Learners as presets, of a folder and of hubs, for which stand-ins of their clients are here."""

import json
import pathlib
import shutil
import sys
import tempfile
import types
from unittest import mock

import keras
import numpy as np
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf import pretrained
from tests.support.keras_warnings import ignore_array_copy


def make_learner():
    layers = [keras.layers.Dense(6, "tanh", name="body"), keras.layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((2,)), *layers], name="small")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner = maml_tf.MAML(model, loss, maml_tf.LearnedStepSizes(0.1, "weight"), 4, adapted=maml_tf.head)
    learner.compile("adam")
    learner.optimizer.build(learner.trainable_variables)
    for variable, rate in zip(learner.update_rule.variables, (0.2, 0.3), strict=True):
        variable.assign(np.full(variable.shape, rate))  # As if they had been learned.
    return learner


def hub(folder):
    """Returns stand-ins of both clients that keep models in a folder."""

    def kept(name):
        found = pathlib.Path(folder, name)
        if not found.is_dir():
            raise OSError(f"404: {name}")
        return str(found)

    def copy(name, source):
        shutil.copytree(source, pathlib.Path(folder, name), dirs_exist_ok=True)

    return {
        "huggingface_hub": types.SimpleNamespace(
            snapshot_download=lambda repo_id: kept(repo_id),
            create_repo=lambda repo_id, exist_ok: pathlib.Path(folder, repo_id).mkdir(parents=True, exist_ok=exist_ok),
            upload_folder=lambda repo_id, folder_path: copy(repo_id, folder_path),
        ),
        "kagglehub": types.SimpleNamespace(model_download=kept, model_upload=copy),
    }


class PresetsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        ignore_array_copy()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def same(self, learner, other):
        x, y = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32), np.array([0, 1, 2, 0, 1])
        np.testing.assert_array_equal(learner.adapt(x, y)(x), other.adapt(x, y)(x))
        self.assertIs(type(learner), type(other))
        self.assertEqual(other.inner_steps, 4)
        self.assertLen(other.task_functions.adapted_names, 2)

    def test_a_folder_has_all_of_a_learner(self):
        learner = make_learner()
        before = learner.get_weights()
        path = pretrained.save_to_preset(learner, self.folder / "small", licence="mit")
        loaded = pretrained.from_preset(path)
        self.same(learner, loaded)
        self.assertFalse(loaded.compiled)
        rates = [float(np.mean(variable)) for variable in loaded.update_rule.variables]
        np.testing.assert_allclose(rates, [0.2, 0.3], rtol=1e-6)
        for one, other in zip(before, learner.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        metadata = json.loads((path / "metadata.json").read_text())
        self.assertEqual(metadata["parameter_count"], 2 * 6 + 6 + 6 * 3 + 3)
        self.assertEqual(metadata["maml_tf_version"], maml_tf.__version__)
        self.assertNotIn("adam", (path / "config.json").read_text().lower())
        header = (path / "README.md").read_text().split("---")[1]
        self.assertIn("license: mit", header)
        # The card is the publisher's to write.
        (path / "README.md").write_text("mine")
        pretrained.save_to_preset(learner, path)
        self.assertEqual((path / "README.md").read_text(), "mine")

    def test_the_model_card_has_the_results(self):
        card = pretrained.card("omniglot_5way_1shot_dense")
        text = pretrained.model_card(make_learner(), "small", card)
        row = card["results"][0]["rows"][-1]
        self.assertIn(f"| accuracy | {row['step']} | {row['mean']:.4g} |", text)
        self.assertIn(card["data_license"], text)
        self.assertNotIn("license:", text.split("---")[1])

    @parameterized.parameters("hf://ann/small", "kaggle://ann/small/keras/base")
    def test_a_hub_s_client_takes_it_there_and_back(self, address):
        learner, away = make_learner(), self.folder / "hub"
        preset = pretrained.save_to_preset(learner, self.folder / "small")
        with mock.patch.dict(sys.modules, hub(away)):
            with self.assertRaisesRegex(OSError, "404"):  # What the client says is the client's.
                pretrained.from_preset(address)
            pretrained.upload_preset(address, preset)
            self.same(learner, pretrained.from_preset(address))
        self.assertLen(list(away.rglob("config.json")), 1)
        with mock.patch.dict(sys.modules, {"huggingface_hub": None, "kagglehub": None}):
            with self.assertRaisesRegex(ImportError, r"the hub's client.*pip install '.\[hub\]'"):
                pretrained.from_preset(address)

    def test_what_is_no_preset_is_one_error(self):
        path = pretrained.save_to_preset(make_learner(), self.folder / "small")
        with self.assertRaisesRegex(TypeError, "Expected a maml_tf.MetaLearner"):
            pretrained.save_to_preset(make_learner().model, path)
        with self.assertRaisesRegex(FileNotFoundError, "without config.json and model.weights.h5"):
            pretrained.from_preset(self.folder)
        with self.assertRaisesRegex(FileNotFoundError, "Expected the folder of a preset"):
            pretrained.upload_preset("hf://ann/small", self.folder)
        with self.assertRaisesRegex(ValueError, "hf:// or kaggle://"):
            pretrained.upload_preset("ann/small", path)
        config = json.loads((path / "config.json").read_text())
        for changed, said in (
            ({**config, "registered_name": "keras_hub>BertBackbone"}, "of a learner of maml_tf. .*BertBackbone"),
            ({**config, "registered_name": None}, "of a learner of maml_tf"),
            ({**config["config"]["inner_learning_rate"]}, "of a learner of maml_tf"),
            ({**config, "config": {}}, "Expected a preset that this version can read"),
        ):
            (path / "config.json").write_text(json.dumps(changed))
            with self.assertRaisesRegex(ValueError, said):
                pretrained.from_preset(path)
        (path / "config.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "Expected a complete JSON file"):
            pretrained.from_preset(path)
        (path / "config.json").write_text(json.dumps(config))
        (path / "model.weights.h5").write_bytes(b"none")
        with self.assertRaisesRegex(ValueError, "Expected the weights of the same model"):
            pretrained.from_preset(path)


if __name__ == "__main__":
    absltest.main()
