"""Sends the server requests by the thousand that are nearly right, and counts its answers.

    python -m tests.serving_fuzz --requests=4000 --seed=0

Every answer has the status 200, or 4xx with one sentence that says what was expected; what is refused leaves all files
as they are, and what is not writes tenants' files alone. The exit code is 1 where one is otherwise. Needs the extra
serve.
"""

import argparse
import collections
import json
import pathlib
import random
import sys
import tempfile
import warnings

from maml_tf.export import save
from maml_tf.serving.served_model import ServedModel
from tests.support.small_server import FIT, LIMITS, QUERY, Served, X, Y, make_learner

REFUSED = (400, 403, 404, 405, 413)
JUNK = [
    None, True, 0, -1, 1.5, 1e308, 10**400, 2**31, 2**63, float("nan"), float("inf"), "x", "", "NaN", "a" * 3000,
    "\ud800", [], {}, [[]], [None], [1, 2], [[1, 2], [3]], [[[1]] * 3] * 2, [[True, 1]], [["1", "2"]], [[1e39, 0]],
    {"x": 1}, {"b64": "AAAA"},
]  # fmt: skip
KEYS = ["x", "steps", "inputs", "instances", "signature_name", "weights", "other", ""]
TENANTS = [
    "ann", "bob", "A.b-c_d", "a/b", "..", "%2e%2e", "%252e%252e", "%00", "%C3%A9", "%c0%ae", "a" * 65, "", "ann%20",
    "ann;x", "ann?x=1", "ann#",
]  # fmt: skip
METHODS = [*["POST"] * 20, "PUT", "GET", "PATCH", "OPTIONS"]


def calls(weights):
    """Returns bodies of requests that are right."""
    query, task = QUERY.tolist(), {"support_x": X.tolist(), "support_y": Y.tolist(), "query_x": QUERY.tolist()}
    inputs = {"fit_task": FIT, "infer": query, "set_weights": weights, "adapt": FIT}
    inputs["predict"] = {"weights": weights, "x": query}
    return [
        *({"signature_name": name, "inputs": value} for name, value in inputs.items()),
        *({"signature_name": name} for name in ("reset", "get_weights")),
        {"signature_name": "infer", "instances": query},
        {"signature_name": "adapt_and_predict", "instances": [task]},
    ]


def changed(value, draw):
    """Returns a request with something else in it, here and there."""
    if draw.random() < 0.1:
        return draw.choice(JUNK)
    if isinstance(value, dict):
        value = {key: changed(one, draw) if draw.random() < 0.4 else one for key, one in value.items()}
        if draw.random() < 0.1:
            value[draw.choice(KEYS)] = draw.choice(JUNK)
        if value and draw.random() < 0.1:
            value.pop(draw.choice(list(value)))
        return value
    if isinstance(value, list) and value:
        place = draw.randrange(len(value))
        value = [*value[:place], changed(value[place], draw), *value[place + 1 :]]
        return value[:-1] if draw.random() < 0.1 else value
    return value


def broken(body, draw):
    """Returns bytes of which a few are others."""
    body = bytearray(body)
    for _ in range(draw.randrange(1, 6)):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return bytes(body)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    draw, counts, wrong = random.Random(options.seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        model = ServedModel(save(make_learner(), pathlib.Path(folder, "model")), LIMITS)
        served = Served(model, pathlib.Path(folder, "tenants"), most=2)
        before, right = files(folder), calls(model.initial.tolist())
        for _ in range(options.requests):
            try:
                body = json.dumps(changed(draw.choice(right), draw)).encode("utf-8", "surrogatepass")
            except ValueError:  # Python writes no numbers of that many digits.
                continue
            body = broken(body, draw) if draw.random() < 0.1 else body
            tenant = f"/tenants/{draw.choice(TENANTS)}" if draw.random() < 0.8 else ""
            method, path = draw.choice(METHODS), f"/v1/models/toy{tenant}:predict"
            status, answer = served.send(method, path, body)
            counts[status] += 1
            after = files(folder)
            sentence = answer.get("error", "") if status in REFUSED else "Expected"
            said = sentence.startswith("Expected") and "\n" not in sentence
            kept = after == before if status != 200 else set(after) - set(before) <= tenant_files(after)
            if status not in (200, *REFUSED) or not said or not kept:
                wrong.append((status, answer, method, path, body[:200]))
            before = after
        served.stop()
    print(f"{sum(counts.values())} requests: {', '.join(f'{n} of {status}' for status, n in sorted(counts.items()))}")
    for one in wrong:
        print(*one)
    return int(bool(wrong))


def files(folder):
    return {path: path.stat().st_mtime_ns for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def tenant_files(paths):
    return {path for path in paths if path.parent.name == "tenants" and path.suffix == ".npy"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
