"""Tests of bin/publish.py, run as a process."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from maml_tf import pretrained
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.classification.files import write_untrained
from maml_tf.results import file_digest
from tests.support import binary
from tests.support.keras_warnings import ignore_array_copy


class PublishTest(absltest.TestCase):
    def test_a_training_becomes_an_entry(self):
        ignore_array_copy()
        results = {
            "protocol": {"tasks": 600},
            "rows": [{"mean": 0.9}],
            "versions": {},
            "config": {"dataset": "omniglot"},
        }
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_untrained(folder / "run", ClassificationConfig(filters=4), lambda network: None)
            results["weights_sha256"] = file_digest(folder / "run" / "best.weights.h5")
            (folder / "run" / "results.json").write_text(json.dumps(results))
            (folder / "other.json").write_text(json.dumps({**results, "protocol": {"tasks": 7}}))
            finished = binary.run(
                "publish", f"--logdir={folder / 'run'}", "--name=tiny", f"--output={folder / 'entries'}",
                f"--results={folder / 'other.json'}",
            )  # fmt: skip
            self.assertEqual(finished.code, 0, finished.stderr)
            self.assertEqual(finished.stdout, f"Written to {folder / 'entries' / 'tiny.json'}\n")
            card = pretrained.card("tiny", folder / "entries")
        self.assertEqual([one["protocol"]["tasks"] for one in card["results"]], [600, 7])


if __name__ == "__main__":
    absltest.main()
