"""The server on a port of the loopback: what it computes equals the learner, and what it refuses changes nothing."""

import importlib.util
import json
import pathlib
import tempfile
import threading
import unittest
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from maml_tf.export import save
from maml_tf.files import write_atomically

if importlib.util.find_spec("tornado") is None:
    raise unittest.SkipTest("the extra serve is not installed")

from maml_tf.serving import server
from maml_tf.serving.served_model import ServedModel
from maml_tf.serving.tenants import Tenants
from tests.support.small_server import FIT, LIMITS, QUERY, Served, X, Y, make_learner

TOKENS = {"ann": "token-of-ann-0000", "bob": "token-of-bob-0000", "second.one": "token-of-second-0"}


class ServerTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.learner = make_learner()
        cls.saved = cls.enter_class_folder()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cls.model = ServedModel(save(cls.learner, cls.saved / "model"), LIMITS)

    @classmethod
    def enter_class_folder(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def serve(self, folder=None, **options):
        self.folder = folder or pathlib.Path(self.create_tempdir().full_path)
        served = Served(self.model, self.folder, **options)
        self.addCleanup(served.stop)
        return served

    def files(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def test_calls_without_a_tenant_equal_the_learner(self):
        served = self.serve()
        self.assertEqual(served.send("GET", "/v1/models/toy")[1]["model_version_status"][0]["state"], "AVAILABLE")
        tasks = {"support_x": X, "support_y": Y, "query_x": QUERY}
        expected = self.learner.predict([value[np.newaxis] for value in tasks.values()], verbose=0)
        status, answer = served.call("adapt_and_predict", inputs={k: [v.tolist()] for k, v in tasks.items()})
        self.assertEqual(status, 200, answer)
        same(answer["outputs"], expected)
        status, answer = served.call("adapt_and_predict", instances=[{k: v.tolist() for k, v in tasks.items()}] * 2)
        same(answer["predictions"], np.repeat(expected, 2, axis=0))
        _, adapted = served.call("adapt", inputs=FIT)
        self.assertLen(adapted["outputs"]["losses"], 3)
        weights = adapted["outputs"]["weights"]
        _, answer = served.call("predict", inputs={"weights": weights, "x": QUERY.tolist()})
        same(answer["outputs"], self.learner.adapt(X, Y, 3)(QUERY))
        self.assertEqual(set(self.files()), {"model.json", ".lock"})

    def test_outputs_that_are_no_rows_are_told(self):
        self.assertTrue(self.model.returns_rows("predict"))
        self.assertFalse(self.model.returns_rows("get_weights"))
        served = self.serve()
        served.call("fit_task", "ann", inputs=FIT)
        with mock.patch.object(self.model, "returns_rows", return_value=False):  # As of a policy's log_std.
            status, answer = served.call("infer", "ann", instances=QUERY.tolist())
        self.assertEqual(status, 400)
        self.assertIn("infer has outputs without rows", answer["error"])

    def test_each_tenant_has_weights_of_its_own(self):
        served = self.serve(in_memory=1)
        others = {**FIT, "support_y": Y[::-1].tolist(), "steps": 5}
        self.assertEqual(served.call("infer", "ann", inputs=QUERY.tolist())[0], 404)
        for tenant, task in (("ann", FIT), ("bob", others)):
            status, answer = served.call("fit_task", tenant, inputs=task)
            self.assertEqual((status, len(answer["outputs"])), (200, task["steps"]), answer)
        expected = {"ann": self.learner.adapt(X, Y, 3)(QUERY), "bob": self.learner.adapt(X, Y[::-1], 5)(QUERY)}
        for tenant in ("ann", "bob", "ann"):  # One alone is in memory.
            same(served.call("infer", tenant, inputs=QUERY.tolist())[1]["outputs"], expected[tenant])
            same(served.call("infer", tenant, instances=QUERY.tolist())[1]["predictions"], expected[tenant])
        weights = served.call("get_weights", "ann")[1]["outputs"]
        self.assertEqual(served.call("set_weights", "bob", inputs=weights), (200, {"outputs": True}))
        same(served.call("infer", "bob", inputs=QUERY.tolist())[1]["outputs"], expected["ann"])
        self.assertEqual(served.call("reset", "bob"), (200, {"outputs": True}))
        self.assertEqual(served.call("infer", "bob", inputs=QUERY.tolist())[0], 404)
        # A server that starts again has the weights, and another model's server refuses them.
        served.stop()
        again = self.serve(self.folder)
        same(again.call("infer", "ann", inputs=QUERY.tolist())[1]["outputs"], expected["ann"])
        with self.assertRaisesRegex(ValueError, "no other process keeps tenants in"):
            Tenants(self.folder, self.model.initial, self.model.fingerprint)
        again.stop()
        with self.assertRaisesRegex(ValueError, "another model's"):
            Tenants(self.folder, self.model.initial, "another")

    def test_what_is_refused_is_one_sentence_and_changes_nothing(self):
        served = self.serve(most=1)
        served.call("fit_task", "ann", inputs=FIT)
        before, outside = self.files(), set(self.folder.parent.iterdir())
        fit, infer = "/v1/models/toy/tenants/ann:predict", '{"signature_name": "infer", "inputs": %s}'
        for status, said, path, body in (
            (400, "Expected a body of JSON", fit, "{"),
            (400, "Expected a body of JSON", fit, b"\xff\xfe\x00"),
            (400, "Expected a body of JSON", fit, "[" * 10_000),
            (400, "Expected a JSON object", fit, "[1]"),
            (400, "Expected signature_name to be one of fit_task", fit, '{"signature_name": "adapt"}'),
            (400, "Received: None", fit, "{}"),
            (400, "Expected each key once", fit, '{"inputs": 1, "inputs": 2}'),
            (400, "Received: the key 'weights'", fit, '{"signature_name": "infer", "weights": 1}'),
            (
                400,
                "Expected either inputs or instances",
                fit,
                '{"signature_name": "infer", "inputs": 1, "instances": 1}',
            ),
            (400, "Expected inputs, or instances", fit, '{"signature_name": "infer"}'),
            (400, "instances", fit, '{"signature_name": "infer", "instances": []}'),
            (400, "fit_task has no rows", fit, '{"signature_name": "fit_task", "instances": [{"steps": 1}]}'),
            (400, "Expected finite numbers. Received: NaN", fit, infer % "[[NaN, 1]]"),
            (400, "the range of float32", fit, infer % "[[1e39, 1]]"),
            (400, "the range of float32", fit, infer % "[[1e999, 1]]"),
            (400, r"of shape [any, 2]. Received: shape [1, 3]", fit, infer % "[[1, 2, 3]]"),
            (400, "Received: lists of different lengths", fit, infer % "[[1, 2], [3]]"),
            (400, "Received: something else", fit, infer % '[["1", "2"]]'),
            (400, "Received: something else", fit, infer % "[[true, false]]"),
            (400, "Received: something else", fit, infer % "[[null, 1]]"),
            (400, "Expected inputs to be an object with x. Received: ['y']", fit, infer % '{"y": 1}'),
            (400, "at most 12 examples. Received: 13", fit, infer % ([[1, 2]] * 13)),
            (413, "at most 20000 bytes", fit, "x" * 20_001),
            (413, "at most 20000 bytes", fit, iter([b"x" * 15_000, b"x" * 15_000])),
            (404, "Expected the model 'toy'. Received: 'other'", "/v1/models/other:predict", "{}"),
            (404, "Expected one of GET", "/etc/passwd", "{}"),
            (400, "Received: '../../ann'", "/v1/models/toy/tenants/..%2F..%2Fann:predict", "{}"),
            (400, "Received: '..'", "/v1/models/toy/tenants/..:predict", "{}"),
            (400, "Received: 'a b'", "/v1/models/toy/tenants/a%20b:predict", "{}"),
            (400, "Expected a tenant's name", f"/v1/models/toy/tenants/{'a' * 65}:predict", "{}"),
            (400, "Expected a tenant's name", "/v1/models/toy/tenants/a%00:predict", "{}"),
        ):
            found, answer = served.send("POST", path, body)
            self.assertEqual((found, list(answer)), (status, ["error"]), (said, answer))
            self.assertIn(said, answer["error"])
        for changed, said in (
            ({"support_y": (Y + 1).tolist()}, "whole-number labels"),
            ({"support_y": (Y + 0.5).tolist()}, "Expected support_y to be int32 numbers"),
            ({"support_y": [2**40] * 6}, "the range of int32"),
            ({"support_y": Y[:5].tolist()}, "as many targets as inputs"),
            ({"support_x": [], "support_y": []}, "Received: shape [0]"),
            ({"support_x": (X * 1e30).tolist()}, "finite losses"),
            ({"steps": 6}, "Expected steps from 0 to 5. Received: 6"),
            ({"steps": -1}, "Expected steps from 0 to 5. Received: -1"),
        ):
            found, answer = served.call("fit_task", "ann", inputs={**FIT, **changed})
            self.assertEqual(found, 400, (said, answer))
            self.assertIn(said, answer["error"])
            self.assertNotIn("\n", answer["error"])
        found, answer = served.call("fit_task", "bob", inputs=FIT)
        self.assertEqual((found, answer["error"][:26]), (403, "Expected at most 1 tenants"))
        self.assertEqual(served.call("set_weights", "ann", inputs=[1.0])[0], 400)
        for method, path in (("GET", fit), ("PUT", fit), ("GET", "/v1/models/toy:predict"), ("POST", "/v1/models/toy")):
            self.assertEqual(served.send(method, path, "{}")[0], 405, (method, path))
        self.assertEqual((self.files(), set(self.folder.parent.iterdir())), (before, outside))
        same(served.call("infer", "ann", inputs=QUERY.tolist())[1]["outputs"], self.learner.adapt(X, Y, 3)(QUERY))

    def test_with_tokens_nobody_reaches_another_s_weights(self):
        path = pathlib.Path(self.create_tempdir().full_path, "tokens.json")
        path.write_text(json.dumps(TOKENS))
        served = self.serve(tokens=server.read_tokens(path))
        ann, bob = TOKENS["ann"], TOKENS["bob"]
        self.assertEqual(served.call("fit_task", "ann", ann, inputs=FIT)[0], 200)
        before = self.files()
        for tenant, token, status in (
            ("ann", bob, 403), ("ann", None, 401), ("ann", "x", 403), ("bob", ann, 403), ("cid", ann, 403),
            ("ann", "é", 403), (None, None, 401), (None, "x", 403),
        ):  # fmt: skip
            for signature in ("adapt",) if tenant is None else ("infer", "get_weights", "fit_task", "reset"):
                found, answer = served.call(signature, tenant, token, inputs=FIT)
                self.assertEqual((found, list(answer)), (status, ["error"]), (tenant, token, signature))
        self.assertEqual(self.files(), before)
        self.assertEqual(served.call("get_weights", "ann", ann)[0], 200)
        self.assertEqual(served.call("adapt", None, bob, inputs=FIT)[0], 200)
        for wrong, said in (
            ("[", "Expected a JSON object of tenants"), ("[1]", "with something else"), ('{"a": 1}', "something else"),
            ('{"../a": "0123456789abcdef"}', "Expected a tenant's name"), ('{"a": "short"}', "16 characters"),
            ('{"a": "0123456789abcdef", "b": "0123456789abcdef"}', "the same for two"),
        ):  # fmt: skip
            path.write_text(wrong)
            with self.assertRaisesRegex(ValueError, said):
                server.read_tokens(path)

    def test_a_tenant_is_there_once_its_weights_are_written(self):
        tenants = Tenants(self.create_tempdir().full_path, np.zeros(2, np.float32), "fingerprint")
        self.addCleanup(tenants.close)
        seen = []

        def write(path, content):
            seen.append(tenants.get("ann"))
            return write_atomically(path, content)

        with mock.patch("maml_tf.serving.tenants.write_atomically", write), tenants.updating("ann"):
            tenants.put("ann", np.ones(2, np.float32))
        self.assertEqual(seen, [None])
        np.testing.assert_array_equal(tenants.get("ann"), [1.0, 1.0])

    def test_a_broken_file_or_a_full_disk_is_said(self):
        served = self.serve(in_memory=1)
        for tenant in ("ann", "bob"):
            served.call("fit_task", tenant, inputs=FIT)
        [ann] = [path for path in self.folder.glob("*.npy") if path.stem not in served.tenants._kept]
        ann.write_bytes(ann.read_bytes()[:-4])
        self.assertEqual(served.call("infer", "ann", inputs=QUERY.tolist())[0], 500)
        self.assertEqual(served.call("fit_task", "ann", inputs=FIT)[0], 200)
        self.assertEqual(served.call("infer", "ann", inputs=QUERY.tolist())[0], 200)
        with mock.patch("maml_tf.serving.tenants.write_atomically", side_effect=OSError(28, "No space left")):
            self.assertEqual(served.call("fit_task", "ann", inputs={**FIT, "steps": 1})[0], 507)
            self.assertEqual(served.call("fit_task", "cid", inputs=FIT)[0], 507)
        self.assertLen(served.tenants, 2)
        same(served.call("infer", "ann", inputs=QUERY.tolist())[1]["outputs"], self.learner.adapt(X, Y, 3)(QUERY))

    def test_threads_see_whole_weights(self):
        served = self.serve(in_memory=1)
        tasks = [{**FIT, "steps": steps} for steps in (1, 2, 3, 4)]
        expected = [np.asarray(self.learner.adapt(X, Y, task["steps"])(QUERY)) for task in tasks]
        served.call("fit_task", "ann", inputs=tasks[0])
        wrong = []

        def work(number):
            for _ in range(6):
                served.call("fit_task", "ann" if number % 2 else f"other{number}", inputs=tasks[number])
                outputs = np.array(served.call("infer", "ann", inputs=QUERY.tolist())[1]["outputs"])
                if not any(np.allclose(outputs, one, atol=1e-5) for one in expected):
                    wrong.append(outputs)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEmpty(wrong)

    def test_what_cannot_be_served_is_one_error(self):
        with self.assertRaisesRegex(ValueError, "Expected the folder of a SavedModel"):
            ServedModel(self.saved)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = save(self.learner, self.saved / "less", signatures=["adapt"])
            with self.assertRaisesRegex(ValueError, "without predict, get_weights"):
                ServedModel(path)
        with self.assertRaisesRegex(ValueError, "Expected an address to listen at"):
            server.listen("192.0.2.1", 80)


def same(result, expected, atol=1e-6):
    np.testing.assert_allclose(np.asarray(result, np.float32), np.asarray(expected), rtol=1e-5, atol=atol)


if __name__ == "__main__":
    absltest.main()
