"""Measures published weights again and compares the numbers with their cards.

    MAML_TF_DATA=DIR python tests/support/check_cards.py [NAME ...]

DIR holds omniglot/ and miniImagenet/. bin/evaluate.py or bin/evaluate_policy.py measures every result of every entry of
`maml_tf.pretrained`, or of those named, and the experiment's own function those of sinusoids; a line says how far it is
from the card. The exit code is 1 if any differs as printed.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

if not __package__:  # Run as a script: the project's folder is not on the path.
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from maml_tf.pretrained import domain_of
from tests.support.source_tree import PROJECT

_FOLDERS = {"omniglot": "omniglot", "mini_imagenet": "miniImagenet"}
_FLAGS = {
    "batch_norm": "batch_statistics",
    "tasks": "test_tasks",
    "queries_per_class": "evaluation_queries",
    "steps": "evaluation_steps",
    "seed": "seed",
}


def sinusoid_rows(card: dict) -> list[dict]:
    """Measures an entry of sinusoids again, as its training did."""
    from maml_tf.configuration import from_dict
    from maml_tf.experiments.sinusoid import evaluate, train
    from maml_tf.experiments.sinusoid.config import SinusoidConfig
    from maml_tf.pretrained import weights_path
    from maml_tf.training import load_weights

    config = from_dict(SinusoidConfig, card["config"])
    method = train.build_method(card["training"]["method"], config)
    load_weights(method.network, weights_path(card["name"]))
    sizes = {row["shots"]: row["step_size"] for row in card["results"][0]["rows"]}
    return [row.to_dict() for shots, size in sizes.items() for row in evaluate.measure(method, shots, size)]


def command(card: dict, protocol: dict | None) -> list[str]:
    """Returns the binary and the flags that repeat one result of a card."""
    if protocol is None:
        return ["evaluate_policy", f"--pretrained={card['name']}", "--videos=none"]
    data = pathlib.Path(os.environ["MAML_TF_DATA"], _FOLDERS[card["config"]["dataset"]])
    flags = [f"--{flag}={protocol[key]}" for key, flag in _FLAGS.items()]
    return ["evaluate", f"--pretrained={card['name']}", f"--data_dir={data}", *flags]


def difference(published: list[dict], measured: list[dict]) -> str:
    """Says how far rows are from those of a card; "differs" begins what no printed number may be."""
    if [(row["method"], row["step"], row["tasks"]) for row in published] != [
        (row["method"], row["step"], row["tasks"]) for row in measured
    ]:
        return f"differs: other rows, {measured}"
    pairs = [(one[key], other[key]) for one, other in zip(published, measured, strict=True) for key in ("mean", "ci95")]
    if all(one == other for one, other in pairs):
        return "equal to the last bit"
    scale = 100 if published[0]["metric"] == "accuracy" else 1  # Accuracies are printed in percent.
    largest = max(abs(one - other) for one, other in pairs) * scale
    same = all(f"{one * scale:.1f}" == f"{other * scale:.1f}" for one, other in pairs)
    return f"{'equal as printed' if same else 'differs'}: by {largest:.2g} at most"


def main() -> int:
    folder, differs = PROJECT / "maml_tf" / "pretrained" / "weights", False
    for name in sys.argv[1:] or sorted(path.stem for path in folder.glob("*.json")):
        card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if domain_of(card["config"]) == "sinusoid":
            said = difference(card["results"][0]["rows"], sinusoid_rows(card))
            differs |= said.startswith("differs")
            print(f"{name:45} {'':95} {said}", flush=True)
            continue
        for result in card["results"]:
            binary, *flags = command(card, result["protocol"])
            with tempfile.TemporaryDirectory() as output:
                arguments = [sys.executable, PROJECT / "bin" / f"{binary}.py", *flags, f"--output={output}"]
                done = subprocess.run(arguments, capture_output=True, text=True, cwd=PROJECT, check=False)
                if done.returncode:
                    said = f"differs: {done.stderr.strip().splitlines()[-1]}"
                else:
                    measured = json.loads(pathlib.Path(output, "results.json").read_text(encoding="utf-8"))
                    said = difference(result["rows"], measured["rows"])
            differs |= said.startswith("differs")
            print(f"{name:45} {' '.join(flag[2:] for flag in flags[2:]):95} {said}", flush=True)
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
