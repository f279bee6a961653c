"""Makes an entry of the library from a finished training."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from maml_tf.experiments import config as config_module
from maml_tf.experiments.classification_files import TRAINING_RECORD, WEIGHTS, load_config
from maml_tf.pretrained.library import CARD_SUFFIX, WEIGHTS_SUFFIX, package_folder
from maml_tf.training import writable_directory, write_atomically

MAX_BYTES = 1_000_000
_DATA_LICENSES = {
    "omniglot": "Omniglot, Copyright (c) 2015 Brenden Lake, MIT licence",
    "mini_imagenet": "mini-ImageNet, classes and images of ImageNet: for non-commercial research and education alone",
}
# Where the data were is nobody's business.
_PLACES = ("data_dir", "cache_dir")


def publish(
    logdir: str | os.PathLike[str],
    name: str,
    folder: str | os.PathLike[str] | None = None,
    results: Sequence[str | os.PathLike[str]] = (),
) -> pathlib.Path:
    """Adds the best weights of a training to the library, with a card.

    Args:
        logdir: Directory of a training that was evaluated, with results.json.
        name: Of the entry: lower-case letters, digits and underscores.
        folder: Where the entries are, by default in the package.
        results: Further files results.json of the same weights, such as those under other batch statistics.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: If there is no training, or no evaluation of it.
        ValueError: If the name has other characters, or the weights are over 1 MB.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"Expected a name of lower-case letters, digits and underscores. Received: {name!r}")
    logdir = pathlib.Path(logdir)
    config = load_config(logdir)
    for needed in (WEIGHTS, "results.json"):
        if not (logdir / needed).exists():
            raise FileNotFoundError(f"Expected a training that was evaluated. Received: no {logdir / needed}")
    weights = (logdir / WEIGHTS).read_bytes()
    if len(weights) > MAX_BYTES:
        raise ValueError(f"Expected weights of at most {MAX_BYTES:,} bytes. Received: {len(weights):,}")
    measured = [json.loads(pathlib.Path(path).read_text()) for path in (logdir / "results.json", *results)]
    record = logdir / TRAINING_RECORD
    content: dict[str, Any] = {
        "name": name,
        "config": {k: v for k, v in config_module.to_dict(config).items() if k not in _PLACES},
        "training": json.loads(record.read_text()) if record.exists() else None,
        "results": [{"protocol": one["protocol"], "rows": one["rows"]} for one in measured],
        "versions": measured[0]["versions"],
        "data_license": _DATA_LICENSES[config.dataset],
    }
    folder = writable_directory(package_folder() if folder is None else folder)
    write_atomically(folder / f"{name}{WEIGHTS_SUFFIX}", weights)
    return write_atomically(folder / f"{name}{CARD_SUFFIX}", json.dumps(content, indent=1) + "\n")
