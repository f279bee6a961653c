"""Makes an entry of the library from a finished training, and the other way round."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py

from maml_tf.configuration import to_dict
from maml_tf.experiments.classification_files import (
    CONFIG,
    TRAINING_RECORD,
    WEIGHTS,
    load_config,
)
from maml_tf.pretrained.library import CARD_SUFFIX, WEIGHTS_SUFFIX, card, package_folder, weights_path
from maml_tf.results import RESULTS, file_digest
from maml_tf.training import read_json, writable_directory, write_atomically

if TYPE_CHECKING:
    from maml_tf.experiments.trained_policy import TrainedPolicy

MAX_BYTES = 1_000_000
_DATA_LICENSES = {
    "omniglot": "Omniglot, Copyright (c) 2015 Brenden Lake, MIT licence",
    "mini_imagenet": "mini-ImageNet, classes and images of ImageNet: for non-commercial research and education alone",
}
_PACKING = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
# A smaller array would need more room for where its parts are than compression spares.
_LARGE_BYTES = 1 << 16
_SIMULATED = "none: learned in simulation"
# Where the data and other trainings were is nobody's business.
_PLACES = ("data_dir", "cache_dir")
_ORIGIN = "initial_weights"


class _Trained(NamedTuple):
    """What of a training becomes an entry."""

    weights: bytes
    training: Any
    data_license: str


def publish(
    logdir: str | os.PathLike[str],
    name: str,
    folder: str | os.PathLike[str] | None = None,
    results: Sequence[str | os.PathLike[str]] = (),
    method: str = "maml",
) -> pathlib.Path:
    """Adds the best weights of a training to the library, with a card.

    Args:
        logdir: Directory of a training that was evaluated, with results.json.
        name: Of the entry: lower-case letters, digits and underscores.
        folder: Where the entries are, by default in the package.
        results: Further files results.json of the same weights, such as those under other batch statistics; a file
            given twice counts once.
        method: Of reinforcement learning, whose directory holds a policy for each method: whose policy.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: If there is no training, or no evaluation of it.
        ValueError: If the name has other characters, the results are of other weights, or these are over 1 MB.
        ImportError: If it is a policy, and the extra `rl` is not installed.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"Expected a name of lower-case letters, digits and underscores. Received: {name!r}")
    logdir = pathlib.Path(logdir).expanduser()
    _require(logdir / RESULTS)
    given = (logdir / RESULTS, *(pathlib.Path(path).expanduser() for path in results))
    paths = list({path.resolve(): path for path in given}.values())
    measured = [read_json(path) for path in paths]
    config = measured[0]["config"]
    of_policy = "environment" in config
    if of_policy and not any(row["method"] == method for row in measured[0]["rows"]):
        raise ValueError(f"Expected results of the method {method!r}. Received: none of it in {str(paths[0])!r}")
    policy = _trained_policy(logdir, method) if of_policy else None
    weights = policy.weights if policy else logdir / WEIGHTS
    _check_measured(weights, dict(zip(paths, measured, strict=True)), method if of_policy else None)
    if not of_policy:
        # An evaluation's own may have other batch statistics, with which the weights would not load.
        config = to_dict(load_config(logdir))
    trained = _policy(policy, measured[0]) if policy else _weights(logdir, config)
    if len(trained.weights) > MAX_BYTES:
        raise ValueError(f"Expected weights of at most {MAX_BYTES:,} bytes. Received: {len(trained.weights):,}")
    content: dict[str, Any] = {
        "name": name,
        "config": _without_places(config),
        "training": trained.training,
        "results": [
            {
                "protocol": one.get("protocol"),
                "rows": [row for row in one["rows"] if not of_policy or row["method"] == method],
            }
            for one in measured
        ],
        "versions": measured[0]["versions"],
        "data_license": trained.data_license,
    }
    folder = writable_directory(package_folder() if folder is None else folder)
    write_atomically(weights_path(name, folder), trained.weights)
    return write_atomically(folder / f"{name}{CARD_SUFFIX}", json.dumps(content, indent=1) + "\n")


def unpack(name: str, logdir: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Writes an entry's weights as its training left them, to be evaluated again.

    Args:
        name: Of an entry that learned from images.
        logdir: Directory for the files, created if need be.
        folder: Where the entries are, by default in the package.

    Returns:
        The directory, for `maml_tf.experiments.classification.evaluate` or bin/evaluate.py.

    Raises:
        ValueError: If there is no such entry, it is a policy, or the directory holds other weights.
    """
    content = card(name, folder)
    if "environment" in content["config"]:
        raise ValueError(
            f"Expected an entry that learned from images. Received: {name!r}, a policy: bin/evaluate_policy.py"
        )
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
    """Leaves out where the data were, and of an absolute path to initial weights all but its training's name."""
    kept = {key: value for key, value in config.items() if key not in _PLACES}
    if kept.get(_ORIGIN) and pathlib.Path(kept[_ORIGIN]).expanduser().is_absolute():
        kept[_ORIGIN] = pathlib.PurePath(*pathlib.PurePath(kept[_ORIGIN]).parts[-2:]).as_posix()
    return kept


def _check_measured(
    weights: pathlib.Path, measured: dict[pathlib.Path, dict[str, Any]], method: str | None = None
) -> None:
    """Checks that results are of the weights; those of policies have a digest for each method."""
    _require(weights)
    digests = {path: one.get("weights_sha256") for path, one in measured.items()}
    if method is not None:
        digests = {path: found.get(method) if isinstance(found, dict) else None for path, found in digests.items()}
    digest = file_digest(weights)
    others = [str(path) for path, received in digests.items() if received != digest]
    if others:
        raise ValueError(
            f"Expected results of the weights {str(weights)!r}; evaluate them again. "
            f"Received: those of other weights in {others}"
        )


def _weights(logdir: pathlib.Path, config: dict[str, Any]) -> _Trained:
    record = logdir / TRAINING_RECORD
    training = read_json(record) if record.exists() else None
    return _Trained(_compressed(logdir / WEIGHTS), training, _DATA_LICENSES[config["dataset"]])


def _policy(trained: TrainedPolicy, results: dict[str, Any]) -> _Trained:
    policy = trained.load()
    # The weights alone: what describes a whole model changes from one version of Keras to the next.
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"policy{WEIGHTS_SUFFIX}")
        policy.save_weights(path)
        weights = _compressed(path)
    training = {"method": trained.method, "seconds": results["training_seconds"].get(trained.method)}
    return _Trained(weights, training, _SIMULATED)


def _trained_policy(logdir: pathlib.Path, method: str) -> TrainedPolicy:
    # Imported here because it needs the extra rl.
    from maml_tf.experiments.trained_policy import TrainedPolicy

    return TrainedPolicy.of_training(logdir, method)


def _compressed(path: pathlib.Path) -> bytes:
    """Reads a file of weights and compresses its large arrays without loss; Keras reads it like any other."""
    if not h5py.is_hdf5(path):
        raise ValueError(f"Expected weights in a file of HDF5. Received: {path}")
    file = io.BytesIO()
    with h5py.File(path, "r") as weights, h5py.File(file, "w") as copy:

        def add(name, item):
            if isinstance(item, h5py.Group):
                kept = copy.require_group(name)
            else:
                packing = _PACKING if item.nbytes >= _LARGE_BYTES else {}
                kept = copy.create_dataset(name, data=item[()], **packing)
            kept.attrs.update(item.attrs)

        copy.attrs.update(weights.attrs)
        weights.visititems(add)
    return file.getvalue()


def _require(path: pathlib.Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"Expected a training that was evaluated. Received: no {path}")
