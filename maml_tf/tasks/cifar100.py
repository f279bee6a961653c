"""CIFAR-FS and FC100: the 100 classes of CIFAR-100, 600 colour images of 32 x 32 pixels each, split in two ways."""

from __future__ import annotations

import functools
import io
import os
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from maml_tf.tasks.archives import Archive, download, is_archive, list_files, read_files
from maml_tf.tasks.colour_images import NETWORKS, five_way_presets
from maml_tf.tasks.dataset import DatasetSpec, SplitClasses, datasets, published_split
from maml_tf.tasks.images import default_cache_dir

# The checksum is that of the official page, https://www.cs.toronto.edu/~kriz/cifar.html.
OFFICIAL_ARCHIVE = Archive(
    "cifar-100-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    "eb9058c3a382ffc7106e4002c42a8d85",
)
SPLITS = ("cifar_fs", "fc100")
IMAGES_PER_CLASS = 600
IMAGE_SIZE = 32
_PIXELS = 3 * IMAGE_SIZE**2
_RECORD = _PIXELS + 2
_PYTHON = ("train", "test", "meta")
_BINARY = ("train.bin", "test.bin", "fine_label_names.txt", "coarse_label_names.txt")
_LARGEST = 1 << 28  # The official train file has 155 MB.


class Cifar100(SplitClasses):
    """The classes of CIFAR-100, split into training, validation and test classes.

    CIFAR-100's training and test images are one set here, because few-shot tests use new classes.

    Args:
        data_dir: CIFAR-100 in the python or the binary version: the archive, `cifar-100-python.tar.gz` or
            `cifar-100-binary.tar.gz`, or the unpacked folder, or a folder with one of these. None downloads the python
            version from the official address into `cache_dir`. The pickles are read by a safe reader, which makes only
            numbers, strings, lists, dictionaries and arrays of bytes.
        split: "cifar_fs": 64 / 16 / 20 classes (Bertinetto and others); "fc100": 60 / 20 / 20 classes, no superclass
            in two parts (Oreshkin and others); or a mapping of parts to names of classes.
        cache_dir: Folder for the download. None is `maml_tf/cifar100` in Keras' folder.
        archive: The archive to download.

    Attributes:
        splits: The names of the classes of each part.

    Raises:
        FileNotFoundError: If `data_dir` does not hold the files.
        OSError: If the download fails.
        ValueError: If a file is broken or holds something else, or the split is unknown.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; Bertinetto, Henriques, Torr and
    Vedaldi, Meta-learning with Differentiable Closed-form Solvers, 2019; Oreshkin, Rodriguez and Lacoste, TADAM, 2018.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike | None = None,
        *,
        split: str | Mapping[str, Sequence[str]] = "cifar_fs",
        cache_dir: str | os.PathLike | None = None,
        archive: Archive = OFFICIAL_ARCHIVE,
    ):
        # Imported here because names of data sets are listed without TensorFlow.
        from maml_tf.tasks.class_pool import ClassPool

        if not (split in SPLITS if isinstance(split, str) else isinstance(split, Mapping) and split):
            raise ValueError(f"Expected split to be one of {SPLITS} or a mapping. Received: split={split!r}")
        if data_dir is None:
            cache_dir = pathlib.Path(default_cache_dir("cifar100") if cache_dir is None else cache_dir).expanduser()
            data_dir = download(archive, cache_dir)
        images, fine, coarse, classes = _read(pathlib.Path(data_dir).expanduser())
        order = np.argsort(fine, kind="stable")  # A pool shares images that are sorted by class, without a copy.
        fine, coarse = fine[order], coarse[order]
        sizes = np.bincount(fine, minlength=len(classes.fine))
        if set(sizes) != {IMAGES_PER_CLASS}:
            logging.warning(
                "This is not all of CIFAR-100, so results do not compare. Expected %d images of each class. Received: "
                "%d to %d in %s",
                IMAGES_PER_CLASS, min(sizes), max(sizes), data_dir,
            )  # fmt: skip
        names = np.array(classes.fine)[fine]
        splits = published_split(split) if isinstance(split, str) else split
        if split == "fc100":
            above = dict(zip(names.tolist(), np.array(classes.coarse)[coarse].tolist(), strict=True))
            splits = {part: [n for n, group in above.items() if group in groups] for part, groups in splits.items()}
        super().__init__(ClassPool(images[order], names), splits)


class _Classes(NamedTuple):
    fine: tuple[str, ...]
    coarse: tuple[str, ...]


def _read(source: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, _Classes]:
    """Returns uint8 images [images, 32, 32, 3], their fine and coarse labels, and the names of both."""
    source = _archive_in(source)
    listed = list(list_files(source))
    for files, read in ((_PYTHON, _from_python), (_BINARY, _from_binary)):
        folders = {name[: -len(files[0])] for name in listed if pathlib.PurePosixPath(name).name == files[0]}
        whole = sorted(folder for folder in folders if all(folder + name in listed for name in files))
        if whole:
            named = {whole[0] + name: name for name in files}
            contents = {named[name]: content for name, content in read_files(source, named, _LARGEST)}
            parts, classes = read(contents, source)
            images, fine, coarse = (np.concatenate(values) for values in zip(*parts, strict=True))
            for labels, names in ((fine, classes.fine), (coarse, classes.coarse)):
                if len(labels) != len(images) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(names)):
                    raise ValueError(
                        f"Expected one label below {len(names)} for each of {len(images)} images. "
                        f"Received: {len(labels)} labels up to {max(labels, default=0)} in {source}"
                    )
            # An image is stored as three planes: red, green, blue.
            planes = images.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
            return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), fine, coarse, classes
    raise FileNotFoundError(
        f"Expected CIFAR-100 with the files {', '.join(_PYTHON)} (python version) or {', '.join(_BINARY)} (binary "
        f"version), from https://www.cs.toronto.edu/~kriz/cifar.html. Received: {source} without them"
    )


def _archive_in(source: pathlib.Path) -> pathlib.Path:
    """Returns the source itself, or the archive of CIFAR-100 in it if it is a folder without unpacked files."""
    if not source.exists():
        raise FileNotFoundError(
            "Expected CIFAR-100 as an archive or a folder, from https://www.cs.toronto.edu/~kriz/cifar.html. "
            f"Received: {source}, which does not exist"
        )
    if source.is_file() and not is_archive(source):
        raise ValueError(f"Expected a folder or an archive such as cifar-100-python.tar.gz. Received: {source}")
    folders = [source, *(path for path in source.iterdir() if path.is_dir())] if source.is_dir() else []
    if any((folder / name[0]).is_file() for folder in folders for name in (_PYTHON, _BINARY)):
        return source
    archives = [path for path in sorted(source.glob("cifar-100-*")) if is_archive(path)] if folders else []
    return archives[0] if archives else source


def _from_python(contents: Mapping[str, bytes], source: pathlib.Path) -> tuple[list[Any], _Classes]:
    loaded = {name: _unpickled(content, f"{name} in {source}") for name, content in contents.items()}
    try:
        names = [loaded["meta"][key] for key in (b"fine_label_names", b"coarse_label_names")]
        classes = _Classes(*(tuple(name.decode() for name in each) for each in names))
        parts = [
            (batch[b"data"], *(np.array(batch[key], np.int64) for key in (b"fine_labels", b"coarse_labels")))
            for batch in (loaded["train"], loaded["test"])
        ]
        sound = all(images.dtype == np.uint8 and images.shape[1:] == (_PIXELS,) for images, *_ in parts)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected the dictionaries of CIFAR-100. Received: {error!r} in {source}") from error
    if not sound:
        raise ValueError(f"Expected images uint8 [images, {_PIXELS}]. Received: another dtype or shape in {source}")
    return parts, classes


def _from_binary(contents: Mapping[str, bytes], source: pathlib.Path) -> tuple[list[Any], _Classes]:
    classes = _Classes(*(tuple(contents[f"{kind}_label_names.txt"].decode().split()) for kind in ("fine", "coarse")))
    parts = []
    for name in ("train.bin", "test.bin"):
        if len(contents[name]) % _RECORD:
            raise ValueError(
                f"Expected records of {_RECORD} bytes. Received: {len(contents[name])} bytes in {name} of {source}"
            )
        records = np.frombuffer(contents[name], np.uint8).reshape(-1, _RECORD)
        parts.append((records[:, 2:], records[:, 1].astype(np.int64), records[:, 0].astype(np.int64)))
    return parts, classes


class _Unpickler(pickle.Unpickler):
    """Reads pickles of CIFAR-100, and makes only plain objects and arrays of bytes."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _empty_array
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _bytes_dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """Makes an array for the pickle to fill; its state, which follows in the pickle, sets the shape and data type."""
    return np.empty((0,), np.uint8)


def _bytes_dtype(code: bytes | str, *_: Any) -> np.dtype:
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"it has an array of {code!r}")
    return np.dtype(np.uint8)


def _unpickled(content: bytes, name: str) -> dict[bytes, Any]:
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    # For a broken pickle Python may raise any error.
    except Exception as error:
        raise ValueError(
            f"Expected a pickle of CIFAR-100: a dictionary of numbers, strings, lists and arrays of bytes. "
            f"Received: {name}, which cannot be read: {error}"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"Expected a dictionary. Received: {type(found).__name__} in {name}")
    return found


def _open(name: str, data_dir: str | None, cache_dir: str | None, split: str | None) -> Cifar100:
    """Opens one of the two data sets, each of which has one split."""
    return Cifar100(data_dir, split=name, cache_dir=cache_dir)


for _name, _title in zip(SPLITS, ("CIFAR-FS", "FC100"), strict=True):
    datasets.register(
        _name,
        DatasetSpec(
            name=_name,
            title=_title,
            open=functools.partial(_open, _name),
            image_shape=(IMAGE_SIZE, IMAGE_SIZE, 3),
            networks=NETWORKS,
            presets=five_way_presets(),
            licence="CIFAR-100, Alex Krizhevsky, 2009, published for research without a licence; to be cited",
            how_to_get="Downloaded from CIFAR-100's official address if no folder is given: 169 MB.",
        ),
    )
