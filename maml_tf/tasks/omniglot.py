"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each, as pools for few-shot episodes."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maml_tf.tasks.archives import Archive, download, is_archive, list_files
from maml_tf.tasks.dataset import PARTS, DatasetSpec, SplitClasses, check_split, datasets, published_split
from maml_tf.tasks.images import (
    ImageFile,
    check_image_size,
    decode_files,
    decode_image,
    decoded_once,
    default_cache_dir,
    fingerprint,
)

HALVES = ("images_background", "images_evaluation")
DRAWING_SIZE = 105
# Increased when the decoding of drawings changes, so that arrays cached before are not used.
_DECODER_VERSION = 1
# One background alphabet in six is kept for validation under the split by alphabets: 5 of the official 30.
_BACKGROUND_ALPHABETS_PER_VALIDATION_ALPHABET = 6


_OFFICIAL_ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python/"
OFFICIAL_ARCHIVES = tuple(
    Archive(f"{half}.zip", f"{_OFFICIAL_ADDRESS}{half}.zip", md5)
    for half, md5 in zip(HALVES, ("68d2efa1b9178cc56df9314c21c6e718", "6b91aef0f799c5bb55b94e3f2daec811"), strict=True)
)


class Omniglot(SplitClasses):
    """The characters of Omniglot, split into training, validation and test classes.

    The first use decodes all drawings and stores the array, so that later ones start at once. Each class of a task is
    turned by a random multiple of 90 degrees, in training and in testing as in the paper's experiments, unless `pool`
    is called with other `rotations`. Images are float32 with ink 1 and paper 0.

    Args:
        data_dir: Holds `images_background.zip` and `images_evaluation.zip`, or the unpacked folders. None downloads the
            archives from their official address into `cache_dir`.
        image_size: Height and width that the 105 x 105 drawings are resized to, with a Lanczos filter.
        split: How characters are divided:
            "characters": 1100 / 100 / 423, at random and independent of the alphabet, as in the paper (of its 1200
            training characters, 100 are for validation here); the lists in `maml_tf/tasks/splits` name them.
            "alphabets": the archive's own division, for any data in Omniglot's layout: "test" is `images_evaluation`;
            of the alphabets of `images_background`, one in six (at least one) is "validation", the others are "train".
            A mapping of "train", "validation" and "test", or any names, to names `Alphabet/characterNN`.
        cache_dir: Folder for downloads and decoded arrays. None is `maml_tf/omniglot` in Keras' folder, `$KERAS_HOME`
            or `~/.keras`. If it cannot be written, a warning is logged and nothing is stored.
        expected_characters: Required number of characters. With None, data with an official character must have all of
            them, and other data may have any number. For a part of Omniglot, pass its number.
        expected_drawings: Required number of drawings of each character; None accepts any number.
        archives: The archives to download.

    Attributes:
        characters: The names `Alphabet/characterNN` of all characters, sorted.
        splits: The names of the characters of each part.

    Raises:
        FileNotFoundError: If `data_dir` or one of the two halves in it is missing.
        OSError: If a download fails.
        ValueError: If an archive or a drawing is broken, or characters or drawings are missing.

    Source: Lake, Salakhutdinov and Tenenbaum, 2015; split and preparation of Finn, Abbeel and Levine, 2017,
    section 5.2.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike | None = None,
        *,
        image_size: int = 28,
        split: str | Mapping[str, Sequence[str]] = "characters",
        cache_dir: str | os.PathLike | None = None,
        expected_characters: int | None = None,
        expected_drawings: int | None = 20,
        archives: Sequence[Archive] = OFFICIAL_ARCHIVES,
    ):
        # Imported here because names of data sets are listed without TensorFlow.
        from maml_tf.tasks.class_pool import ClassPool

        image_size = check_image_size(image_size)
        cache_dir = pathlib.Path(default_cache_dir("omniglot") if cache_dir is None else cache_dir).expanduser()
        if data_dir is None:
            for archive in archives:
                download(archive, cache_dir)
            data_dir = cache_dir
        data_dir = pathlib.Path(data_dir).expanduser()
        drawings = _list_drawings(data_dir)
        sizes = collections.Counter(drawing.class_name for drawing in drawings)
        self.characters = tuple(sizes)
        _check_complete(sizes, expected_characters, expected_drawings, data_dir)
        splits = _split(split, drawings)
        # Without the path, so that the cache is valid for moved data.
        mark = fingerprint(
            [f"{_DECODER_VERSION}", *(f"{d.part}/{d.class_name}/{d.file_name} {d.fingerprint}" for d in drawings)]
        )
        images = decoded_once(
            cache_dir / f"{mark}-{image_size}.npy",
            (len(drawings), image_size, image_size, 1),
            lambda images: _read_drawings(data_dir, drawings, images),
        )
        characters = [drawing.class_name for drawing in drawings]
        super().__init__(ClassPool(images, characters, rotations=True), splits)


@functools.cache
def official_split() -> dict[str, tuple[str, ...]]:
    """Returns the shipped split into 1100, 100 and 423 characters.

    Characters are ordered by the SHA-256 of `0:Alphabet/characterNN`, a random order that is the same everywhere;
    the first 1100 are "train", the next 100 "validation" and the others "test".

    Returns:
        The names `Alphabet/characterNN` of each part.
    """
    return published_split("omniglot")


def random_order(names: Iterable[str]) -> list[str]:
    """Returns names in a random order that depends only on the names: by the SHA-256 of `0:name`."""
    return sorted(names, key=lambda name: hashlib.sha256(f"0:{name}".encode()).hexdigest())


def _split(split: str | Mapping[str, Sequence[str]], drawings: Sequence[ImageFile]) -> dict[str, tuple[str, ...]]:
    present = {drawing.class_name for drawing in drawings}
    if split == "characters":
        parts = official_split()
        if present.isdisjoint(itertools.chain(*parts.values())):
            raise ValueError(
                "Expected the characters of Omniglot for split='characters'. Received: none of them, but others such "
                f"as {min(present)!r}; split='alphabets' or your own mapping works with any data"
            )
        # A part of Omniglot, for which the caller has passed expected_characters, is split like the whole.
        return {part: tuple(name for name in names if name in present) for part, names in parts.items()}
    if split == "alphabets":
        return _split_by_alphabets(drawings)
    if not isinstance(split, Mapping) or not split:
        raise ValueError(
            "Expected split to be 'characters', 'alphabets' or a mapping of parts to names of characters. "
            f"Received: split={split!r}"
        )
    check_split(split, present)
    return {part: tuple(names) for part, names in split.items()}


def _split_by_alphabets(drawings: Sequence[ImageFile]) -> dict[str, tuple[str, ...]]:
    halves = {drawing.class_name: drawing.part for drawing in drawings}
    alphabets = random_order({name.partition("/")[0] for name, half in halves.items() if half == "images_background"})
    if len(alphabets) < 2:
        raise ValueError(
            f"Expected at least two alphabets in images_background, one of them to validate on. Received: {alphabets}"
        )
    kept = alphabets[: max(1, len(alphabets) // _BACKGROUND_ALPHABETS_PER_VALIDATION_ALPHABET)]
    splits: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, half in halves.items():
        of_background = "validation" if name.partition("/")[0] in kept else "train"
        splits["test" if half == "images_evaluation" else of_background].append(name)
    return {part: tuple(names) for part, names in splits.items()}


def _check_complete(
    sizes: Mapping[str, int], characters: int | None, drawings: int | None, data_dir: str | os.PathLike
) -> None:
    official = set(itertools.chain(*official_split().values()))
    if characters is not None and len(sizes) != characters:
        raise ValueError(f"Expected {characters} characters in {data_dir}. Received: {len(sizes)}")
    if characters is None and not official.isdisjoint(sizes) and official != set(sizes):
        odd = sorted(official.symmetric_difference(sizes))
        raise ValueError(
            f"Expected the {len(official)} characters of Omniglot in {data_dir}. Received: {len(sizes)}; "
            f"{len(odd)} are missing or not of Omniglot, the first {odd[0]!r}. "
            "If this is intended, pass expected_characters."
        )
    wrong = [name for name, size in sizes.items() if drawings is not None and size != drawings]
    if wrong:
        raise ValueError(
            f"Expected {drawings} drawings of every character. Received: {sizes[wrong[0]]} of {wrong[0]!r}; "
            f"{len(wrong)} characters have another number"
        )


def _list_drawings(data_dir: pathlib.Path) -> list[ImageFile]:
    """Lists the drawings of both halves, sorted by character and file name."""
    drawings: list[ImageFile] = []
    half_of: dict[str, str] = {}
    for half in HALVES:
        source = _source(data_dir, half)
        inside = "" if is_archive(source) else f"{half}/"
        for name, mark in list_files(source).items():
            parts = (inside + name).split("/")
            if len(parts) == 4 and parts[0] == half and parts[3].lower().endswith(".png"):
                drawings.append(ImageFile(f"{parts[1]}/{parts[2]}", parts[3], half, name, mark))
        if not drawings or drawings[-1].part != half:
            raise ValueError(
                f"Expected drawings {half}/<Alphabet>/<character>/<drawing>.png. Received: none in {source}"
            )
    for drawing in drawings:
        if half_of.setdefault(drawing.class_name, drawing.part) != drawing.part:
            raise ValueError(f"Expected every character in one of {HALVES}. Received: {drawing.class_name!r} in both")
    return sorted(drawings)


def _read_drawings(data_dir: pathlib.Path, drawings: Sequence[ImageFile], images: np.ndarray) -> None:
    """Writes uint8 [drawings, image_size, image_size, 1], ink 255 and paper 0."""

    def decode(content: bytes, name: str) -> np.ndarray:
        own_size = (DRAWING_SIZE, DRAWING_SIZE)
        return 255 - decode_image(content, name, images.shape[1:3], 1, own_size=own_size, formats=("PNG",))

    for half in HALVES:
        places = {drawing.name: place for place, drawing in enumerate(drawings) if drawing.part == half}
        decode_files(_source(data_dir, half), places, images, decode)


def _source(data_dir: pathlib.Path, half: str) -> pathlib.Path:
    expected = " and ".join(f"{name}.zip (or the folder {name})" for name in HALVES)
    if not data_dir.is_dir():
        raise FileNotFoundError(f"Expected a folder with {expected}. Received: {data_dir}, which is not a folder")
    for path in (data_dir / f"{half}.zip", data_dir / half):
        if path.exists():
            return path
    present = sorted(path.name for path in data_dir.iterdir())[:10]
    raise FileNotFoundError(
        f"Expected {expected} in {data_dir}. Received: no {half}.zip and no folder {half}, but {present}"
    )


def _presets() -> dict[str, dict[str, Any]]:
    """Returns the settings of Omniglot's cells in Tables 1 and 3, and of baselines.

    Names with _paper have the settings of the paper and its authors' code; the others have those that learned fastest
    here.
    """
    found: dict[str, dict[str, Any]] = {}
    for ways, shots in itertools.product((5, 20), (1, 5)):
        common = {
            "ways": ways, "shots": shots, "queries": shots, "evaluation_queries": shots,
            "meta_batch_size": 32 if ways == 5 else 16,
            "inner_steps": 1 if ways == 5 else 5,
            "evaluation_steps": 3 if ways == 5 else 5,
            "filters": 64,
        }  # fmt: skip
        fastest = {"loss_scale": "mean", "inner_learning_rate": 0.4 if ways == 5 else 2.0, "head": "zeros"}
        paper = {"loss_scale": "original", "inner_learning_rate": 0.4 if ways == 5 else 0.1, "head": "normal"}
        variants: dict[str, dict[str, Any]] = {"": {}, "_first_order": {"first_order": True}}
        if ways == 5:
            variants |= {"_dense": {"network": "dense"}, "_context": {"adapted": "context", "context": 1}}
        for suffix, options in variants.items():
            name = f"{ways}way_{shots}shot{suffix}"
            found[name] = {**common, **fastest, **options}
            found[f"{name}_paper"] = {**common, **paper, "adapted": "weights", **options}
    for shots, method in itertools.product((1, 5), ("pretrained", "random")):
        baseline = {"method": method, "inner_learning_rate": 0.05, "evaluation_steps": 10}
        found[f"5way_{shots}shot_{method}"] = {**found[f"5way_{shots}shot"], **baseline}
    return found


def _conv(ways: int, **options: Any) -> Any:
    from maml_tf.models import omniglot_conv

    return omniglot_conv(ways, **options)


def _dense(ways: int, *, filters: int, **options: Any) -> Any:
    """Builds the fully connected network, which has no filters."""
    from maml_tf.models import omniglot_dense

    return omniglot_dense(ways, **options)


_SPEC = DatasetSpec(
    name="omniglot",
    title="Omniglot",
    open=Omniglot,
    image_shape=(28, 28, 1),
    networks={"conv": _conv, "dense": _dense},
    presets=_presets(),
    splits=("characters", "alphabets"),
    licence="Omniglot, Copyright (c) 2015 Brenden Lake, MIT licence",
    how_to_get="Downloaded from the official address if no folder is given: 14 MB.",
)
datasets.register(_SPEC.name, _SPEC)
