"""A server of a small learner, in a thread. It needs the extra serve."""

import http.client
import json
import threading

import keras
import numpy as np

import maml_tf
from maml_tf.serving import server
from maml_tf.serving.served_model import Limits
from maml_tf.serving.tenants import Tenants

LIMITS = Limits(examples=12, steps=5, body_bytes=20_000)
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(6, 2)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2], np.int32)
QUERY = RANDOM.normal(size=(4, 2)).astype(np.float32)
FIT = {"support_x": X.tolist(), "support_y": Y.tolist(), "steps": 3}


def make_learner():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5, "relu"), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return maml_tf.MAML(model, loss, 0.5, 2, adapted=maml_tf.head)


class Served:
    """A server that runs in a thread."""

    def __init__(self, model, folder, tokens=None, **options):
        self.tenants = Tenants(folder, model.initial, model.fingerprint, **options)
        listening = server.listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self._over = threading.Event()
        self.service = server.Service(model, self.tenants, "toy", tokens=tokens, threads=2)
        self._thread = threading.Thread(target=server.serve, args=(self.service, listening, self._over.is_set))
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join()
        self.tenants.close()

    def send(self, method, path, body=None, headers=None):
        """Returns the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def call(self, signature, tenant=None, token=None, **values):
        of_tenant = f"/tenants/{tenant}" if tenant else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.send(
            "POST", f"/v1/models/toy{of_tenant}:predict", json.dumps({"signature_name": signature, **values}), headers
        )
