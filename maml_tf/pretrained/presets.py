"""Learners as presets in KerasHub's format: a folder that a hub of models stores and shows.

| file | holds |
|---|---|
| `config.json` | the learner, as Keras serializes it: network, loss, algorithm, update rule, what adapts |
| `model.weights.h5` | the learner's weights, including those of the update rule |
| `metadata.json` | versions, number of parameters, date |
| `README.md` | the model card, in the hub's Markdown |
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

import maml_tf
from maml_tf.files import load_weights, read_json, save_atomically, writable_directory, write_atomically
from maml_tf.learner import MetaLearner

CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE, CARD_FILE = "config.json", "model.weights.h5", "metadata.json", "README.md"
HUGGING_FACE, KAGGLE = "hf://", "kaggle://"
# Messages are cut to this length: Keras' repeat the whole configuration.
_SAID = 200
_REMEDY = "in the project's folder, run: pip install '.[hub]'"


def save_to_preset(
    learner: MetaLearner,
    folder: str | os.PathLike[str],
    *,
    card: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> pathlib.Path:
    """Writes a learner's preset.

    Args:
        learner: The learner. Its optimizer and the arguments of `compile` are not saved.
        folder: Folder to write; an existing model card in it stays.
        card: An entry's card, as `maml_tf.pretrained.card` returns it; its results and licence go into the model card.
        licence: The hub's identifier of the licence, such as "mit"; None writes none.

    Returns:
        The folder.

    Raises:
        TypeError: If `learner` is not a learner.
        ValueError: If the folder cannot be written.

    Example:
    >>> import tempfile
    >>> from maml_tf import pretrained
    >>> learner = pretrained.load("omniglot_5way_1shot_dense")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pretrained.save_to_preset(learner, folder, card=pretrained.card("omniglot_5way_1shot_dense"))
    ...     print(sorted(file.name for file in path.iterdir()))
    ...     pretrained.from_preset(folder).inner_steps
    ['README.md', 'config.json', 'metadata.json', 'model.weights.h5']
    3
    """
    if not isinstance(learner, MetaLearner):
        raise TypeError(f"Expected a maml_tf.MetaLearner. Received: {learner!r} of type {type(learner).__name__}")
    folder = writable_directory(folder)
    config = keras.saving.serialize_keras_object(learner)
    config.pop("compile_config", None)
    written = json.dumps(config, indent=4) + "\n"
    # Without an optimizer, whose state is not published. From JSON again, because Keras changes the configuration.
    plain = keras.saving.deserialize_keras_object(json.loads(written))
    for target, source in zip(plain.variables, learner.variables, strict=True):
        target.assign(source)
    parameters = sum(int(variable.value.shape.num_elements()) for variable in learner.model.variables)
    metadata = {
        "keras_version": keras.__version__,
        "maml_tf_version": maml_tf.__version__,
        "parameter_count": parameters,
        "date_saved": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d@%H:%M:%S"),
    }
    save_atomically(folder / WEIGHTS_FILE, plain.save_weights)
    write_atomically(folder / METADATA_FILE, json.dumps(metadata, indent=4) + "\n")
    write_atomically(folder / CONFIG_FILE, written)
    if not (folder / CARD_FILE).exists():
        write_atomically(folder / CARD_FILE, model_card(learner, folder.name, card, licence))
    return folder


def from_preset(preset: str | os.PathLike[str]) -> MetaLearner:
    """Loads a learner that `save_to_preset` wrote, not compiled.

    Load only presets from people whom you trust: Keras makes objects of the classes that the configuration names.

    Args:
        preset: A folder; or `hf://USER/NAME` on Hugging Face or `kaggle://USER/MODEL/keras/VARIATION` on Kaggle, which
            the hub's own client downloads (the extra `hub`).

    Raises:
        FileNotFoundError: If the folder or one of its preset files does not exist.
        ImportError: If the hub's client is not installed.
        ValueError: If the preset does not hold a learner, or is broken.
    """
    folder = _downloaded(os.fspath(preset))
    if missing := [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"Expected the folder of a preset, with {CONFIG_FILE} and {WEIGHTS_FILE}. "
            f"Received: {os.fspath(preset)!r} without {' and '.join(missing)}"
        )
    config = read_json(folder / CONFIG_FILE)
    name = config.get("registered_name")
    if not isinstance(name, str) or not name.startswith("maml_tf>"):
        raise ValueError(f"Expected a preset of a learner of maml_tf. Received: {os.fspath(preset)!r} of {name!r}")
    try:
        learner = keras.saving.deserialize_keras_object(config)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:_SAID]
        raise ValueError(
            f"Expected a preset that this version can read. Received: {os.fspath(preset)!r}: {said}"
        ) from error
    if not isinstance(learner, MetaLearner):
        raise ValueError(f"Expected a preset of a learner of maml_tf. Received: {os.fspath(preset)!r} of {name!r}")
    load_weights(learner, folder / WEIGHTS_FILE)
    return learner


def upload_preset(address: str, folder: str | os.PathLike[str]) -> None:
    """Publishes a preset with the hub's own client, in which you must be logged in.

    Args:
        address: `hf://USER/NAME` or `kaggle://USER/MODEL/keras/VARIATION`.
        folder: Folder that `save_to_preset` wrote.

    Raises:
        FileNotFoundError: If the folder has no preset.
        ImportError: If the hub's client is not installed.
        ValueError: If the address has another form.
    """
    folder = pathlib.Path(folder).expanduser()
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"Expected the folder of a preset, with {CONFIG_FILE}. Received: {str(folder)!r}")
    if address.startswith(HUGGING_FACE):
        client, repository = _client("huggingface_hub"), address.removeprefix(HUGGING_FACE)
        client.create_repo(repository, exist_ok=True)
        client.upload_folder(repo_id=repository, folder_path=str(folder))
    elif address.startswith(KAGGLE):
        _client("kagglehub").model_upload(address.removeprefix(KAGGLE), str(folder))
    else:
        raise ValueError(f"Expected an address that begins with {HUGGING_FACE} or {KAGGLE}. Received: {address!r}")


def model_card(
    learner: MetaLearner, name: str, card: Mapping[str, Any] | None = None, licence: str | None = None
) -> str:
    """Makes a model card: Markdown with a header for hubs.

    Args:
        learner: The learner.
        name: The model's name.
        card: See `save_to_preset`.
        licence: See `save_to_preset`.
    """
    header = [
        "library_name: keras",
        "tags:",
        *(f"- {tag}" for tag in ("maml_tf", "meta-learning", "few-shot-learning")),
    ]
    if licence is not None:
        header.append(f"license: {licence}")
    parameters = sum(int(variable.value.shape.num_elements()) for variable in learner.model.variables)
    adapted = len(learner.task_functions.adapted_names)
    facts = [
        ("algorithm", type(learner.algorithm).__name__),
        ("network", f"`{learner.model.name}`, {parameters:,} parameters"),
        ("inputs, outputs", f"{_shapes(learner.model.input_shape)}, {_shapes(learner.model.output_shape)}"),
        ("adapts", f"{adapted} of {len(learner.task_functions.functional.names)} variables"),
        ("inner update rule", f"`{learner.update_rule.name}`, {learner.inner_steps} steps"),
    ]
    lines = [
        "---", *header, "---", "", f"# {name}", "",
        "A meta-learned model: it adapts to a new task with a few labelled examples.", "",
        "```python", "from maml_tf import pretrained", "",
        'learner = pretrained.from_preset("hf://USER/NAME")  # Or a folder.',
        "network = learner.adapt(support_x, support_y)", "outputs = network(query_x)", "```", "",
        "| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in facts), "",
    ]  # fmt: skip
    for result in (card or {}).get("results", ()):
        lines += ["## Results", "", "| measure | steps | mean | 95 % interval | tasks |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['metric']} | {row['step']} | {row['mean']:.4g} | {row['ci95']:.2g} | {row['tasks']} |"
            for row in result["rows"]
        ]
        lines += ["", *(f"- {what}: {value}" for what, value in (result.get("protocol") or {}).items()), ""]
    if card and card.get("data_license"):
        lines += ["## Data", "", f"{card['data_license']}.", ""]
    return "\n".join(lines)


def _shapes(shapes: Any) -> str:
    return str(shapes).replace("None", "examples")


def _downloaded(preset: str) -> pathlib.Path:
    if preset.startswith(HUGGING_FACE):
        return pathlib.Path(_client("huggingface_hub").snapshot_download(repo_id=preset.removeprefix(HUGGING_FACE)))
    if preset.startswith(KAGGLE):
        return pathlib.Path(_client("kagglehub").model_download(preset.removeprefix(KAGGLE)))
    return pathlib.Path(preset).expanduser()


def _client(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"Expected {name}, the hub's client. Received: none; {_REMEDY}", name=name) from error
