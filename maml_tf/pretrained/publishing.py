"""Makes an entry of the library from a finished training, and a training's files from an entry."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import h5py

from maml_tf.pretrained.library import CARD_SUFFIX, card, domain_of, package_folder, weights_path
from maml_tf.results import CONFIG, NETWORK, POLICY, RESULTS, TRAINING_RECORD, WEIGHTS, file_digest
from maml_tf.tasks.dataset import datasets
from maml_tf.training import read_json, writable_directory, write_atomically

MAX_BYTES = 1_000_000
_PACKING = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
# Compressing a smaller array saves less than the index of its chunks takes.
_LARGE_BYTES = 1 << 16
# Domains whose trainings hold several methods: the file of a method's weights, and the licence of the data.
_OF_METHODS = {
    "meta_rl": (POLICY, "none: learned in simulation"),
    "sinusoid": (NETWORK, "none: learned from sinusoids drawn at random"),
}
# Methods of sinusoids that need more than the network: one adapts with matrices outside of it, the other gets the task.
_NOT_ALONE = ("meta_curvature", "oracle")
# A card does not reveal where the data, other trainings and processes were.
_PLACES = ("data_dir", "cache_dir", "sampler", "workers", "ray_address")
_ORIGIN = "initial_weights"


def publish(
    logdir: str | os.PathLike[str],
    name: str,
    folder: str | os.PathLike[str] | None = None,
    results: Sequence[str | os.PathLike[str]] = (),
    method: str = "maml",
) -> pathlib.Path:
    """Adds the best weights of a training to the library, with a card, and returns the card's path.

    Args:
        logdir: Directory of a training that was evaluated, with results.json.
        name: The entry's name: lower-case letters, digits and underscores.
        folder: Folder of the entries, by default the package's.
        results: Further results.json files of the same weights, such as those with other batch statistics. A file given
            twice counts once.
        method: For sinusoids and reinforcement learning, the method whose network or policy is published.

    Raises:
        FileNotFoundError: If there is no training, or it was not evaluated.
        ValueError: If the name has other characters, the results belong to other weights, the weights exceed 1 MB, or
            the method needs more than its network.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"Expected a name of lower-case letters, digits and underscores. Received: {name!r}")
    logdir = pathlib.Path(logdir).expanduser()
    paths = [logdir / RESULTS, *(pathlib.Path(path).expanduser() for path in results)]
    _require(paths[0])
    measured = {path: read_json(path) for path in {path.resolve(): path for path in paths}.values()}
    main = measured[paths[0]]
    domain = domain_of(main["config"])
    if domain == "sinusoid" and method in _NOT_ALONE:
        raise ValueError(f"Expected a method that needs only its network. Received: method={method!r}")
    file, data_license = _OF_METHODS.get(domain, (None, None))
    weights = logdir / method / file if file else logdir / WEIGHTS
    rows = {path: [row for row in one["rows"] if not file or row["method"] == method]
            for path, one in measured.items()}  # fmt: skip
    if not rows[paths[0]]:
        raise ValueError(f"Expected results of the method {method!r}. Received: no such rows in {str(paths[0])!r}")
    _check_measured(weights, measured, method if file else None)
    packed = _compressed(weights)
    if len(packed) > MAX_BYTES:
        raise ValueError(f"Expected weights of at most {MAX_BYTES:,} bytes. Received: {len(packed):,}")
    if file:
        config = main["config"]
        training = {"method": method, "seconds": main["training_seconds"].get(method)}
    else:
        # The training's configuration: an evaluation may use other batch statistics, with which weights may not load.
        config, record = read_json(logdir / CONFIG), logdir / TRAINING_RECORD
        training = read_json(record) if record.exists() else None
        data_license = datasets[config["dataset"]].licence
    content = {
        "name": name,
        "config": _without_places(config),
        "training": training,
        "results": [{"protocol": one.get("protocol"), "rows": rows[path]} for path, one in measured.items()],
        "versions": main["versions"],
        "data_license": data_license,
    }
    folder = writable_directory(package_folder() if folder is None else folder)
    write_atomically(weights_path(name, folder), packed)
    return write_atomically(folder / f"{name}{CARD_SUFFIX}", json.dumps(content, indent=1) + "\n")


def unpack(name: str, logdir: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Writes an entry's files as its training wrote them, for maml-tf evaluate, and returns their directory.

    Args:
        name: An entry that learned from images.
        logdir: Directory for the files; created if it does not exist.
        folder: Folder of the entries, by default the package's.

    Raises:
        ValueError: If there is no such entry, the entry is a policy, or the directory holds other weights.
    """
    content = card(name, folder)
    if (domain := domain_of(content["config"])) != "classification":
        what = "a policy; use maml-tf evaluate-policy" if domain == "meta_rl" else "of sinusoids"
        raise ValueError(f"Expected an entry that learned from images. Received: {name!r}, {what}")
    weights = weights_path(name, folder).read_bytes()
    directory = writable_directory(logdir)
    kept = directory / WEIGHTS
    if kept.exists() and kept.read_bytes() != weights:
        raise ValueError(f"Expected a directory without other weights. Received: {str(logdir)!r}")
    write_atomically(kept, weights)
    write_atomically(directory / TRAINING_RECORD, json.dumps(content["training"]) + "\n")
    write_atomically(directory / CONFIG, json.dumps(content["config"], indent=1) + "\n")
    return directory


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """Drops the folders of the data, and shortens an absolute path to initial weights to its last two parts."""
    kept = {key: value for key, value in config.items() if key not in _PLACES}
    if kept.get(_ORIGIN) and pathlib.Path(kept[_ORIGIN]).expanduser().is_absolute():
        kept[_ORIGIN] = pathlib.PurePath(*pathlib.PurePath(kept[_ORIGIN]).parts[-2:]).as_posix()
    return kept


def _check_measured(weights: pathlib.Path, measured: dict[pathlib.Path, dict[str, Any]], method: str | None) -> None:
    """Checks by digests that results belong to the weights; results of policies have a digest for each method."""
    _require(weights)
    digest = file_digest(weights)
    expected = digest if method is None else {method: digest}
    others = []
    for path, one in measured.items():
        received = one.get("weights_sha256")
        if method is not None and isinstance(received, dict):
            received = {method: received.get(method)}
        if received != expected:
            others.append(str(path))
    if others:
        raise ValueError(
            f"Expected results of the weights {str(weights)!r}; evaluate them again. "
            f"Received: results of other weights in {others}"
        )


def _compressed(path: pathlib.Path) -> bytes:
    """Reads the weights of a .weights.h5 or .keras file and compresses large arrays; Keras reads the result."""
    try:
        if path.suffix == ".keras":
            # Only the weights: the description of a whole model differs between versions of Keras.
            with zipfile.ZipFile(path) as model:
                file = io.BytesIO(model.read("model.weights.h5"))
        else:
            file = io.BytesIO(path.read_bytes())
        return _repacked(file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"Expected a file of Keras weights. Received: {str(path)!r}: {error}") from error


def _repacked(file: io.BytesIO) -> bytes:
    packed = io.BytesIO()
    with h5py.File(file, "r") as weights, h5py.File(packed, "w") as copy:

        def add(name, item):
            if isinstance(item, h5py.Group):
                kept = copy.require_group(name)
            else:
                packing = _PACKING if item.nbytes >= _LARGE_BYTES else {}
                kept = copy.create_dataset(name, data=item[()], **packing)
            kept.attrs.update(item.attrs)

        copy.attrs.update(weights.attrs)
        weights.visititems(add)
    return packed.getvalue()


def _require(path: pathlib.Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"Expected a training that was evaluated. Received: no {path}")
