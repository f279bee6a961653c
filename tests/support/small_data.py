"""Small data in the official formats of data sets that tests cannot have whole."""

import io
import pathlib
import pickle
import struct
import tarfile
import typing

import numpy as np
from PIL import Image

from maml_tf.tasks.dataset import PARTS, published_split

SUPERCLASSES = sorted(name for names in published_split("fc100").values() for name in names)
CLASSES = sorted(name for names in published_split("cifar_fs").values() for name in names)


class PickledLikePython2(pickle._Pickler):
    """Writes texts and bytes as Python 2 wrote its strings, as in the official files."""

    def save_string(self, value):
        value = value.encode() if isinstance(value, str) else value
        short = len(value) < 256
        size = bytes([len(value)]) if short else struct.pack("<i", len(value))
        self.write((pickle.SHORT_BINSTRING if short else pickle.BINSTRING) + size + value)

    dispatch: typing.ClassVar = {**pickle._Pickler.dispatch, bytes: save_string, str: save_string}


def pickled(value):
    file = io.BytesIO()
    PickledLikePython2(file, protocol=2).dump(value)
    # As NumPy 1 named it.
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def cifar100(version="python", images=3):
    """Makes the files of CIFAR-100 by their names: `images` of each class, all but one of them for training.

    Classes take the superclasses in turn, and an image of class c has a red plane of c, and its number as green.
    """
    fine = np.tile(np.arange(100), images)
    data = np.stack([fine, np.repeat(np.arange(images), 100), 255 - fine], axis=1).astype(np.uint8)
    data = np.repeat(data, 32 * 32, axis=1)
    train = slice(0, 100 * (images - 1)), slice(100 * (images - 1), None)
    if version == "binary":
        records = np.concatenate([fine[:, None] % 20, fine[:, None], data], axis=1).astype(np.uint8)
        files = {f"{name}.bin": records[part].tobytes() for name, part in zip(("train", "test"), train, strict=True)}
        files |= {"fine_label_names.txt": "\n".join(CLASSES), "coarse_label_names.txt": "\n".join(SUPERCLASSES)}
        return {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
    files = {
        name: {
            b"data": data[part], b"fine_labels": fine[part].tolist(), b"coarse_labels": (fine[part] % 20).tolist(),
            b"filenames": [b"image.png"] * len(data[part]), b"batch_label": b"",
        }
        for name, part in zip(("train", "test"), train, strict=True)
    }  # fmt: skip
    files["meta"] = {
        b"fine_label_names": [name.encode() for name in CLASSES],
        b"coarse_label_names": [name.encode() for name in SUPERCLASSES],
    }
    return {name: pickled(content) for name, content in files.items()}


def write(folder, files):
    for name, content in files.items():
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return pathlib.Path(folder)


def tar_of(path, files):
    with tarfile.open(path, "w:gz" if str(path).endswith("gz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return pathlib.Path(path)


def photo(value, size=(50, 40)):
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255 - value)).save(file, "PNG")
    return file.getvalue()


def photos(name, classes=3, images=3):
    """Makes photos by their names, `<class>/<image>`, of some classes of each part of a published split."""
    chosen = [each for part in PARTS for each in published_split(name)[part][:classes]]
    return {f"{each}/{i}.png": photo(10 * number + i) for number, each in enumerate(chosen) for i in range(images)}
