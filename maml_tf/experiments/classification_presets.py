"""A configuration for every cell of the paper's classification tables, Tables 1 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maml_tf.configuration import from_dict
from maml_tf.experiments.classification_config import ClassificationConfig

# "_paper" is added to a preset's name for the settings of the paper and of its authors' code; without it they are
# what learned fastest here.
_PAPER = "_paper"


def _omniglot(ways: int, shots: int, **options: Any) -> dict[str, dict[str, Any]]:
    common = {
        "dataset": "omniglot", "ways": ways, "shots": shots, "queries": shots, "evaluation_queries": shots,
        "meta_batch_size": 32 if ways < 20 else 16,
        "inner_steps": 1 if ways < 20 else 5,
        "evaluation_steps": 3 if ways < 20 else 5,
        "filters": 64,
        **options,
    }  # fmt: skip
    return {
        "": {**common, "loss_scale": "mean", "inner_learning_rate": 0.4 if ways < 20 else 2.0, "head": "zeros"},
        _PAPER: {
            "adapted": "weights",
            **common,
            "loss_scale": "original",
            "inner_learning_rate": 0.4 if ways < 20 else 0.1,
            "head": "normal",
        },
    }


def _mini_imagenet(shots: int, **options: Any) -> dict[str, dict[str, Any]]:
    common = {
        "dataset": "mini_imagenet", "ways": 5, "shots": shots, "queries": 15, "evaluation_queries": shots,
        "meta_batch_size": 4 if shots == 1 else 2,
        "inner_steps": 5,
        "evaluation_steps": 10,
        "filters": 32,
        "validate_every": 1000,
        "validation_tasks": 200 if shots == 1 else 100,
        **options,
    }  # fmt: skip
    scale = {"loss_scale": "original", "inner_learning_rate": 0.01, "gradient_clip": 10.0}
    return {
        "": {**common, "loss_scale": "mean", "inner_learning_rate": 0.05, "head": "zeros"},
        _PAPER: {"adapted": "weights", **common, **scale, "head": "glorot_uniform"},
    }


def _named(name: str, variants: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"{name}{suffix}": values for suffix, values in variants.items()}


_ONLY_5_WAY = (("_dense", {"network": "dense"}), ("_context", {"adapted": "context", "context": 1}))
_PRESETS: dict[str, dict[str, dict[str, Any]]] = {"omniglot": {}, "mini_imagenet": {}}
for _ways in (5, 20):
    for _shots in (1, 5):
        for _suffix, _options in (
            ("", {}),
            ("_first_order", {"first_order": True}),
            *(_ONLY_5_WAY if _ways == 5 else ()),
        ):
            _PRESETS["omniglot"] |= _named(f"{_ways}way_{_shots}shot{_suffix}", _omniglot(_ways, _shots, **_options))
for _shots in (1, 5):
    for _baseline in ("pretrained", "random"):
        _options = {"method": _baseline, "inner_learning_rate": 0.05, "head": "zeros", "evaluation_steps": 10}
        for _dataset, _make in (("omniglot", _omniglot(5, _shots)), ("mini_imagenet", _mini_imagenet(_shots))):
            _PRESETS[_dataset][f"5way_{_shots}shot_{_baseline}"] = {**_make[""], **_options}
    for _suffix, _options in (("", {}), ("_first_order", {"first_order": True})):
        _PRESETS["mini_imagenet"] |= _named(f"5way_{_shots}shot{_suffix}", _mini_imagenet(_shots, **_options))


def presets(dataset: str) -> list[str]:
    """Lists the presets of a data set.

    Args:
        dataset: "omniglot" or "mini_imagenet".

    Returns:
        Their names.

    Example:
    >>> from maml_tf.experiments.classification_presets import presets
    >>> [name for name in presets("mini_imagenet") if "1shot" in name and "paper" in name]
    ['5way_1shot_paper', '5way_1shot_first_order_paper']
    """
    return list(_PRESETS[dataset])


def preset_fields(dataset: str) -> set[str]:
    """Lists what the presets of a data set set.

    Args:
        dataset: "omniglot" or "mini_imagenet".

    Returns:
        Names of fields of the configuration; the others have its own defaults.

    Example:
    >>> from maml_tf.experiments.classification_presets import preset_fields
    >>> "ways" in preset_fields("omniglot"), "iterations" in preset_fields("omniglot")
    (True, False)
    """
    return set().union(*_PRESETS[dataset].values())


def make_config(dataset: str, preset: str, **overrides: Any) -> ClassificationConfig:
    """Makes the configuration of a preset.

    Args:
        dataset: "omniglot" or "mini_imagenet".
        preset: One of `presets(dataset)`.
        **overrides: Fields that take other values than the preset's.

    Returns:
        The configuration.

    Raises:
        ValueError: If there is no such preset or field, or a value is out of range.

    Example:
    >>> from maml_tf.experiments.classification_presets import make_config
    >>> make_config("omniglot", "20way_1shot_paper", seed=3).mean_step_size
    2.0
    """
    if preset not in _PRESETS.get(dataset, {}):
        known = {name: list(of_dataset) for name, of_dataset in _PRESETS.items()}
        raise ValueError(f"Expected a preset of {known}. Received: {preset!r} of {dataset!r}")
    values = {**_PRESETS[dataset][preset], **overrides}
    if "validate_every" not in overrides and values.get("iterations", 0) % values.get("validate_every", 1):
        del values["validate_every"]
    return from_dict(ClassificationConfig, values)
