"""Archives that are cut, changed or made to do harm: the same images as of the whole one, or one clear error."""

from __future__ import annotations

import io
import pathlib
import random
import resource
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from maml_tf import tasks
from tests.campaign.counts import Counts, received

# What reading an archive of a few kilobytes may add to the process' peak.
MOST_BYTES = 300e6


def png(seed: int, mode: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, mode)
    return stream.getvalue()


FILES = {f"class{number // 3}/{number}.png": png(number) for number in range(9)}


def write_zip(path: pathlib.Path, files: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_tar(path: pathlib.Path, files: dict[str, bytes], *others: tarfile.TarInfo, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in others:
            archive.addfile(member)


def linked(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def encrypted(path: pathlib.Path) -> None:
    write_zip(path, FILES)
    content = bytearray(path.read_bytes())
    # The flag of encryption, in each local and each central header.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(mark, place + 1)
    path.write_bytes(content)


def large_zip(path: pathlib.Path, megabytes: int = 600) -> None:
    """Written in parts, so that the process' peak is the reader's."""
    write_zip(path, FILES)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("class0/9.png", "w") as member:
        for _ in range(megabytes):
            member.write(bytes(1_000_000))


def large_tar(path: pathlib.Path) -> None:
    class Zeros(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("class0/9.png")
        member.size = 600_000_000
        archive.addfile(member, Zeros())


def lying(path: pathlib.Path) -> None:
    """A file of 100 MB that says it has 1000 bytes."""
    large_zip(path, 100)
    content = path.read_bytes().replace(struct.pack("<I", 100_000_000), struct.pack("<I", 1000))
    path.write_bytes(content)


def symbolic_link_in_zip(path: pathlib.Path) -> None:
    write_zip(path, FILES)
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("class0/9.png")
        member.create_system, member.external_attr = 3, 0o120777 << 16
        archive.writestr(member, "/etc/passwd")


def sparse_tar(path: pathlib.Path) -> None:
    member = tarfile.TarInfo("class0/9.png")
    member.size = 1 << 40
    path.write_bytes(member.tobuf() + bytes(1024))


def with_image(content: bytes, name: str = "class0/9.png") -> dict[str, bytes]:
    return {**FILES, name: content}


def with_member(kind: bytes, target: str = "") -> Callable[[pathlib.Path], None]:
    return lambda path: write_tar(path, FILES, linked("class0/9.png", target, kind))


_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"
HOSTILE: dict[str, Callable[[pathlib.Path], Any]] = {
    "a 600 MB member.zip": large_zip,
    "a 600 MB member.tar.gz": large_tar,
    "a size that lies.zip": lying,
    "a terabyte in the header.tar": sparse_tar,
    "encrypted.zip": encrypted,
    "bzip2.zip": lambda path: write_zip(path, FILES, compression=zipfile.ZIP_BZIP2),
    "lzma.zip": lambda path: write_zip(path, FILES, compression=zipfile.ZIP_LZMA),
    "a name outside.zip": lambda path: write_zip(path, with_image(png(9), "../class0/9.png")),
    "a name outside.tar": lambda path: write_tar(path, with_image(png(9), "../class0/9.png")),
    "an absolute name.tar": lambda path: write_tar(path, with_image(png(9), "/class0/9.png")),
    "a link of a zip.zip": symbolic_link_in_zip,
    "a symbolic link.tar": with_member(tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link outside.tar": with_member(tarfile.LNKTYPE, "/etc/passwd"),
    "a device.tar": with_member(tarfile.CHRTYPE),
    "a pipe.tar": with_member(tarfile.FIFOTYPE),
    "a link to itself.tar": with_member(tarfile.LNKTYPE, "class0/9.png"),
    "a deep image.zip": lambda path: write_zip(path, with_image(png(9), "class0/" * 40 + "9.png")),
    "PostScript.zip": lambda path: write_zip(path, with_image(_POSTSCRIPT)),
    "no image.zip": lambda path: write_zip(path, with_image(b"no image")),
    "an empty image.zip": lambda path: write_zip(path, with_image(b"")),
    "nothing.zip": lambda path: write_zip(path, {}),
    "nothing.tar": lambda path: write_tar(path, {}),
    "no bytes.zip": lambda path: path.write_bytes(b""),
    "no bytes.tar.gz": lambda path: path.write_bytes(b""),
    "a zip by another name.tar": lambda path: write_zip(path, FILES),
    "a tar by another name.zip": lambda path: write_tar(path, FILES),
    "noise.zip": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "noise.tar": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5120)),
}


def content(path: pathlib.Path) -> dict[str, np.ndarray]:
    pool = tasks.ClassPool.from_folder(path)
    return {name: np.array(pool.images_of(name)) for name in pool.class_names}


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def run(options: Any) -> Counts:
    counts, draw = Counts("archives"), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for case, write in HOSTILE.items():
            path = folder / case
            write(path)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            result, error = received(lambda: content(path))  # noqa: B023
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            if grown > MOST_BYTES:
                counts.add("silent", case, f"takes {grown} bytes")
            elif error is None:
                counts.add("silent", case, f"{ {key: len(images) for key, images in result.items()} }")
            else:
                counts.error(case, error)
            path.unlink()
        for suffix, write in (("zip", write_zip), ("tar", write_tar), ("tar.gz", write_tar)):
            path = folder / f"whole.{suffix}"
            write(path, FILES, **({"mode": "w:gz"} if suffix == "tar.gz" else {}))
            whole, right = path.read_bytes(), content(path)
            counts.add("right", f"whole.{suffix}")
            for number in range(40):
                place = draw.randrange(len(whole))
                changed = bytearray(whole)
                changed[place] ^= 1 << draw.randrange(8)
                case = f"byte {place} changed.{suffix}" if number % 2 else f"cut after {place}.{suffix}"
                path = folder / case
                path.write_bytes(changed if number % 2 else whole[:place])
                result, error = received(lambda: content(path))  # noqa: B023
                if error is not None:
                    counts.error(case, error)
                else:
                    counts.add("right" if equal(result, right) else "silent", case, "other images")
    return counts
