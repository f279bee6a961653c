"""TensorFlow Serving's REST format: converts a request's JSON to arrays, and arrays to the JSON of an answer.

A request is `{"signature_name": NAME, "inputs": {...}}`, with a value for each input, or has `"instances": [...]`, with
an object for each row of all inputs. The answer has "outputs" or "predictions" in the same form. If a signature has a
single input or output, its value replaces the object.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

_KEYS = ("signature_name", "inputs", "instances")


class Refused(Exception):
    """A request that is not served.

    Attributes:
        status: HTTP status code of the answer.
        sentence: What was expected and what was received.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Call(NamedTuple):
    """A request that was read.

    Attributes:
        signature: The signature's name.
        arguments: An array for each input, with the input's dtype and a shape that fits; all numbers are finite.
        rows: Number of "instances" in the request, or None if it has "inputs".
    """

    signature: str
    arguments: dict[str, np.ndarray]
    rows: int | None


def read_call(body: bytes, signatures: Mapping[str, Mapping[str, tf.TensorSpec]]) -> Call:
    """Reads a request's body.

    Args:
        body: JSON in UTF-8.
        signatures: The inputs of each signature that may be called.

    Raises:
        Refused: With 400 if `body` is not JSON, or not a call of one of the signatures.

    Example:
    >>> from maml_tf.serving.requests import read_call
    >>> signatures = {"infer": {"x": tf.TensorSpec([None, 2])}}
    >>> call = read_call(b'{"signature_name": "infer", "inputs": [[1, 2], [3, 4.5]]}', signatures)
    >>> call.arguments["x"].tolist()
    [[1.0, 2.0], [3.0, 4.5]]
    """
    content = _read_json(body)
    if unknown := [key for key in content if key not in _KEYS]:
        raise Refused(400, f"Expected an object with {_listed(_KEYS)}. Received: the key {shown(unknown[0])}")
    name = content.get("signature_name")
    if not isinstance(name, str) or name not in signatures:
        raise Refused(400, f"Expected signature_name to be one of {_listed(signatures)}. Received: {shown(name)}")
    specs = signatures[name]
    if "inputs" in content and "instances" in content:
        raise Refused(400, "Expected either inputs or instances. Received: both")
    if "instances" in content:
        values = _columns(name, content["instances"], specs)
    elif "inputs" in content:
        values = _by_name("inputs", content["inputs"], specs)
    elif specs:
        raise Refused(400, f"Expected inputs, or instances, with {_listed(specs)}. Received: neither")
    else:
        values = {}
    arguments = {key: _array(key, values[key], spec) for key, spec in specs.items()}
    return Call(name, arguments, len(content["instances"]) if "instances" in content else None)


def write_answer(outputs: Mapping[str, np.ndarray], rows: int | None) -> bytes:
    """Writes a call's outputs as JSON, in the form of its request.

    Raises:
        Refused: With 400 if a number is not finite, which JSON cannot represent, or an output has not a row for each
            instance.
    """
    for name, value in outputs.items():
        if not np.all(np.isfinite(value)):
            raise Refused(400, f"Expected finite {name}. Received: NaN or infinity; adapt with fewer steps")
        if rows is not None and value.shape[:1] != (rows,):
            raise Refused(400, f"Expected inputs, because {name} has no rows. Received: instances")
    lists = {name: value.tolist() for name, value in outputs.items()}
    if rows is None:
        return _json({"outputs": _alone(lists)})
    by_row = zip(*lists.values(), strict=True)
    return _json({"predictions": [_alone(dict(zip(lists, row, strict=True))) for row in by_row]})


def write_error(sentence: str) -> bytes:
    """Writes the JSON answer to a request that is not served."""
    return _json({"error": sentence})


def _json(content: Any) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _alone(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _read_json(body: bytes) -> dict[str, Any]:
    def constant(word):
        raise Refused(400, f"Expected finite numbers. Received: {word}")

    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise Refused(400, f"Expected each key once. Received: {shown([key for key, _ in pairs])}")
        return found

    try:
        content = json.loads(body, parse_constant=constant, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, json.JSONDecodeError) else "other bytes"
        raise Refused(400, f"Expected a body of JSON in UTF-8. Received: {said}") from error
    if not isinstance(content, dict):
        raise Refused(400, f"Expected a JSON object with {_listed(_KEYS)}. Received: {shown(content)}")
    return content


def _by_name(what: str, value: Any, specs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a value for each input; a single input may come without its name."""
    if len(specs) == 1 and not isinstance(value, dict):
        return {name: value for name in specs}
    if not isinstance(value, dict) or set(value) != set(specs):
        received = list(value) if isinstance(value, dict) else value
        raise Refused(
            400, f"Expected {what} to be an object with {_listed(specs) or 'nothing'}. Received: {shown(received)}"
        )
    return value


def _columns(signature: str, instances: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, list[Any]]:
    if not specs or not all(spec.shape.rank and spec.shape[0] is None for spec in specs.values()):
        raise Refused(400, f"Expected inputs, because {signature} has no rows. Received: instances")
    if not isinstance(instances, list) or not instances:
        raise Refused(400, f"Expected instances to be a list with at least one. Received: {shown(instances)}")
    rows = [_by_name("an instance", instance, specs) for instance in instances]
    return {name: [row[name] for row in rows] for name in specs}


def _array(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    dtype = spec.dtype.as_numpy_dtype
    shape = [size if size is not None else "any" for size in spec.shape]
    expected = f"Expected {name} to be {spec.dtype.name} numbers of shape [{', '.join(map(str, shape))}]."
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise Refused(400, f"{expected} Received: lists of different lengths") from error
    if array.size and array.dtype.kind not in ("iu" if spec.dtype.is_integer else "iuf"):
        received = "numbers with a fraction or an exponent" if array.dtype.kind == "f" else "something else"
        raise Refused(400, f"{expected} Received: {received}")
    if not spec.shape.is_compatible_with(array.shape):
        raise Refused(400, f"{expected} Received: shape {list(array.shape)}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if not np.all(np.isfinite(cast)) or (spec.dtype.is_integer and np.any(cast != array)):
        raise Refused(400, f"{expected} Received: a number outside the range of {spec.dtype.name}")
    return cast


def _listed(names: Any) -> str:
    return ", ".join(names)


def shown(value: Any) -> str:
    """Returns a short representation of a value of any size."""
    return reprlib.repr(value)
