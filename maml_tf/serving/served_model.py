"""A SavedModel of `maml_tf.export.save`, called by a server with arrays, within limits and without state."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from maml_tf.serving.requests import Refused

_NEEDED = ("adapt", "predict", "get_weights")
# These take the weights as an argument, so that threads can call them at the same time.
_WITHOUT_STATE = ("adapt_and_predict", "adapt", "predict")
_NUMBERS = ("steps", "step")
WEIGHTS = "weights"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a request.

    Attributes:
        examples: Largest number of examples of a set, over all tasks of a request.
        steps: Largest number of inner steps.
        body_bytes: Largest size of the body, in bytes.
    """

    examples: int = 1000
    steps: int = 100
    body_bytes: int = 32 * 2**20


class ServedModel:
    """A SavedModel whose signatures are called with each tenant's own weights.

    Args:
        path: Folder that `maml_tf.export.save` wrote.
        limits: Limits of a call.

    Attributes:
        signatures: The inputs of each signature without state.
        of_tenant: The inputs of each signature for a tenant, whose weights are kept.
        continues: Whether `adapt` starts from the weights that it is given, as a policy's does.
        initial: The meta-learned weights, [size].
        fingerprint: A digest of all weights and their names; tenants' weights fit all models of the same fingerprint.

    Raises:
        ValueError: If the folder holds no SavedModel of `maml_tf.export.save`.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits | None = None):
        self.limits = limits or Limits()
        if not pathlib.Path(path, "saved_model.pb").is_file():
            raise ValueError(f"Expected the folder of a SavedModel. Received: {os.fspath(path)!r}")
        self._loaded = tf.saved_model.load(os.fspath(path))
        self._functions = dict(self._loaded.signatures)
        if missing := [name for name in _NEEDED if name not in self._functions]:
            raise ValueError(
                "Expected a SavedModel of maml_tf.export.save with the signatures "
                f"{', '.join(_NEEDED)}. Received: {os.fspath(path)!r} without {', '.join(missing)}"
            )
        self.signatures = {name: self._inputs(name) for name in _WITHOUT_STATE if name in self._functions}
        adapt, predict = (
            {key: spec for key, spec in self.signatures[name].items() if key != WEIGHTS}
            for name in ("adapt", "predict")
        )
        weights = {WEIGHTS: self.signatures["predict"][WEIGHTS]}
        self.of_tenant = {"fit_task": adapt, "infer": predict, "reset": {}, "get_weights": {}, "set_weights": weights}
        self.continues = WEIGHTS in self.signatures["adapt"]
        self.initial = self._functions["get_weights"]()[WEIGHTS].numpy()
        self.fingerprint = _fingerprint(os.path.join(path, "variables", "variables"))

    def returns_rows(self, name: str) -> bool:
        """Returns whether all outputs of a signature without state have a row for each row of the inputs."""
        shapes = [spec.shape for spec in self._functions[name].structured_outputs.values()]
        # If the rank is unknown, so is the first axis.
        return all(shape.rank is None or shape.as_list()[:1] == [None] for shape in shapes)

    def call(self, name: str, arguments: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature without state.

        Args:
            name: One of `signatures`.
            arguments: An array for each input, as `maml_tf.serving.requests.read_call` makes them.

        Raises:
            Refused: With 400 if a limit is exceeded or the model refuses the data.
        """
        self._check_limits(name, arguments)
        try:
            outputs = self._functions[name](**{key: tf.constant(value) for key, value in arguments.items()})
            return {key: value.numpy() for key, value in outputs.items()}
        except tf.errors.InvalidArgumentError as error:
            raise Refused(400, _sentence(error)) from error

    def adapt(self, weights: np.ndarray, arguments: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Adapts to a task: a policy starts from the given weights, a learner from the meta-learned ones.

        Returns:
            The adapted weights, and the loss before each step.
        """
        given = {WEIGHTS: weights} if self.continues else {}
        outputs = self.call("adapt", {**given, **arguments})
        return outputs[WEIGHTS], outputs["losses"]

    def predict(self, weights: np.ndarray, arguments: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Predicts with the weights of a task."""
        return self.call("predict", {WEIGHTS: weights, **arguments})

    def _inputs(self, name: str) -> dict[str, tf.TensorSpec]:
        _, inputs = self._functions[name].structured_input_signature
        for key, spec in inputs.items():
            if not (spec.dtype.is_floating or spec.dtype.is_integer):
                raise ValueError(f"Expected inputs of floats or integers. Received: {spec.dtype.name} {key} of {name}")
        return dict(inputs)

    def _check_limits(self, name: str, arguments: Mapping[str, np.ndarray]) -> None:
        for key, value in arguments.items():
            known = self.signatures[name][key].shape
            free = [size for size, other in zip(value.shape, known, strict=True) if other is None]
            if free and (examples := int(np.prod(free))) > self.limits.examples:
                raise Refused(400, f"Expected at most {self.limits.examples} examples. Received: {examples} in {key}")
            if key in _NUMBERS and not 0 <= value <= self.limits.steps:
                raise Refused(400, f"Expected {key} from 0 to {self.limits.steps}. Received: {value}")


def _sentence(error: tf.errors.InvalidArgumentError) -> str:
    """Returns the model's own message about wrong data, without names of operations."""
    found = re.search(r"assertion failed: \[(Expected .*?)(?=\[\[\{\{node|\Z)", error.message, re.DOTALL)
    said = found[1].strip().removesuffix("]").replace(":]", ":") if found else "Expected data that fit the model"
    return " ".join(said.split())


def _fingerprint(checkpoint: str) -> str:
    reader = tf.train.load_checkpoint(checkpoint)
    digest = hashlib.sha256()
    for key in sorted(reader.get_variable_to_shape_map()):
        if not key.startswith("_"):  # Such keys describe objects, whose names depend on what the program made before.
            value = reader.get_tensor(key)
            digest.update(f"{key} {value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
