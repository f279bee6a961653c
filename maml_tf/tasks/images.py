"""Decodes image files into arrays, caches the arrays, and reads folders of images, one for each class."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import io
import itertools
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from maml_tf.checks import whole_number
from maml_tf.files import one_at_a_time, remove_unfinished, save_atomically
from maml_tf.tasks.archives import list_files, read_files

# The formats that Pillow may open, and their suffixes. Pillow knows many more, some of which start other programs.
FORMATS = {
    "BMP": (".bmp",), "GIF": (".gif",), "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"), "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",),
}  # fmt: skip
IMAGE_SUFFIXES = tuple(itertools.chain(*FORMATS.values()))
# Larger images are not decoded: a file of 100 kilobytes may decode to gigabytes.
MAX_PIXELS = 1 << 26
MAX_SIDE = 1 << 13
_MODES = {1: "L", 3: "RGB"}
_FILES_AT_ONCE = 32
# Increased when the decoding of folders of images changes, so that arrays cached before are not used.
_FOLDERS_VERSION = 1
_SECONDS_BETWEEN_LINES = 5.0


class ImageFile(NamedTuple):
    """An image file of a data set; sorting orders them by class and file name.

    Attributes:
        class_name: Class of the image.
        file_name: Name of the file in the folder of the class.
        part: Part of the data set.
        name: Name of the file in the folder or archive of the part.
        fingerprint: A text that changes when the content changes.
    """

    class_name: str
    file_name: str
    part: str
    name: str
    fingerprint: str


def is_image(name: str) -> bool:
    """Tells whether a file is named like an image, by `IMAGE_SUFFIXES`."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def check_image_size(image_size: int) -> int:
    """Returns the side of square images as an `int`, or raises a ValueError."""
    return whole_number("image_size", image_size, 1, MAX_SIDE)


def decode_image(
    content: bytes,
    name: str,
    size: tuple[int, int] | None,
    channels: int,
    *,
    own_size: tuple[int, int] | None = None,
    formats: Collection[str] = tuple(FORMATS),
) -> np.ndarray:
    """Decodes an image; transparent pixels become white.

    Args:
        content: Content of the file.
        name: Name of the file, for errors.
        size: Height and width to resize to with a Lanczos filter; None keeps the image's size.
        channels: 1 for grey, 3 for RGB.
        own_size: Required height and width of the image in the file; None accepts any.
        formats: Accepted formats of `FORMATS`; the file's suffix does not count.

    Returns:
        uint8 [height, width, channels].

    Raises:
        ValueError: If the file cannot be decoded, or the image has the wrong size, more than `MAX_PIXELS`, or more than
            8 bits in a channel.
    """
    mode = _MODES[_check_channels(channels)]
    with _naming_the_image(name):
        image = Image.open(io.BytesIO(content), formats=list(formats))
    width, height = image.size
    if own_size is not None and (height, width) != own_size:
        raise ValueError(
            f"Expected images of {own_size[1]} x {own_size[0]} pixels. Received: {width} x {height} in {name}"
        )
    if width * height > MAX_PIXELS:
        raise ValueError(f"Expected images of at most {MAX_PIXELS} pixels. Received: {width} x {height} in {name}")
    # Pillow would clip 16-bit numbers and floats at 255.
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(
            f"Expected images with 8 bits a channel. Received: {name} of Pillow's mode {image.mode}; scale and "
            "convert it, or pass arrays"
        )
    with _naming_the_image(name):
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        # Pillow ignores the filter when it resizes a 1-bit image: convert it first.
        image = image.convert(mode)
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.size[1], image.size[0], channels)


def decode_files(
    path: str | os.PathLike,
    places: Mapping[str, int],
    images: np.ndarray,
    decode: Callable[[bytes, str], np.ndarray],
) -> None:
    """Decodes files of a folder or an archive into an array, on every core, and logs the progress.

    Args:
        path: A folder or an archive.
        places: Position in `images` by the name of a file.
        images: [images, ...], the array to fill.
        decode: Maps a file's content and name to its image.

    Raises:
        ValueError: If the archive or an image is broken.
    """

    def put(file: tuple[str, bytes]) -> None:
        name, content = file
        images[places[name]] = decode(content, name)

    for done, _ in enumerate(map_files(put, path, places), start=1):
        logging.log_every_n_seconds(logging.INFO, "decoded %d of %d images", _SECONDS_BETWEEN_LINES, done, len(places))


def map_files(
    function: Callable[[tuple[str, bytes]], Any], path: str | os.PathLike, names: Collection[str]
) -> Iterator:
    """Calls a function with the name and content of each file, in threads, and yields what it returns.

    Args:
        function: Takes a pair (name, content). Threads help because Pillow decodes without Python's lock.
        path: A folder or an archive, which a single thread reads.
        names: Names of files in it.

    Yields:
        The function's results. At most `_FILES_AT_ONCE` files are in memory.
    """
    files = read_files(path, names)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(itertools.islice(files, _FILES_AT_ONCE)):
            yield from pool.map(function, some)


def default_cache_dir(name: str) -> pathlib.Path:
    """Returns the folder for a data set's files: `maml_tf/<name>` in Keras' folder, `$KERAS_HOME` or `~/.keras`."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "maml_tf" / name


def fingerprint(lines: Iterable[str]) -> str:
    """Returns 16 hexadecimal digits that change when one of the lines changes.

    Example:
    >>> from maml_tf.tasks.images import fingerprint
    >>> fingerprint(["a.png 17", "28"])
    '39d9ffd6b6235e0a'
    """
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def decoded_once(
    cache_file: str | os.PathLike, shape: tuple[int, ...], decode: Callable[[np.ndarray], Any], *, mapped: bool = False
) -> np.ndarray:
    """Returns the array that `decode` fills, or reads it from the file if it was decoded before.

    A file that cannot be read, or holds something else, is replaced. If the file cannot be written, images are decoded
    into memory at every start. Both are logged. Of several processes one decodes, and the others wait for it.

    Args:
        cache_file: File for the array, `.npy`; its name must change when the images change.
        shape: Shape of the array.
        decode: Writes the images into an array, uint8 of that shape.
        mapped: Whether to map the file into memory instead of reading it: for arrays that take long to read, or do not
            fit into memory. They are also decoded directly into the file, and processes share what is in memory of it.

    Returns:
        uint8; read-only if mapped.
    """
    cache_file = pathlib.Path(cache_file)
    images = _load(cache_file, shape, mapped)
    if images is not None:
        return images
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(cache_file.parent):
            images = _load(cache_file, shape, mapped)  # Another process may have decoded them meanwhile.
            if images is None:
                remove_unfinished(cache_file.parent)
                images = None if mapped else _filled(shape, decode)
                save_atomically(
                    cache_file,
                    lambda path: _decode_to_file(path, shape, decode) if mapped else np.save(path, images),
                )
                images = _load(cache_file, shape, mapped) if mapped else images
    except OSError as error:
        logging.warning(
            "The decoded images cannot be stored in %s (%s); decoding at every start.", cache_file.parent, error
        )
    return _filled(shape, decode) if images is None else images


def decoded_photos(
    photos: Sequence[ImageFile],
    decode: Callable[[np.ndarray], Any],
    *,
    cache_dir: str | os.PathLike[str],
    image_size: int,
    version: int,
) -> np.ndarray:
    """Returns the colour images of files, decoded once and then mapped into memory; see `decoded_once`.

    Args:
        photos: The files, in the order of the images.
        decode: Writes the images into an array, uint8 [images, image_size, image_size, 3].
        cache_dir: Folder for the array; the name of its file changes with the photos, `image_size` and `version`.
        image_size: Height and width.
        version: Version of the decoding.

    Returns:
        uint8 [images, image_size, image_size, 3].
    """
    mark = fingerprint([f"{version}", *(f"{p.class_name}/{p.file_name} {p.fingerprint}" for p in photos)])
    file = pathlib.Path(cache_dir).expanduser() / f"{mark}-{image_size}.npy"
    return decoded_once(file, (len(photos), image_size, image_size, 3), decode, mapped=True)


def _filled(shape: tuple[int, ...], decode: Callable[[np.ndarray], Any]) -> np.ndarray:
    images = np.empty(shape, np.uint8)
    decode(images)
    return images


def _decode_to_file(path: str | os.PathLike, shape: tuple[int, ...], decode: Callable[[np.ndarray], Any]) -> None:
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # Writing to a mapped file on a full disk kills the process; reserving the space first raises an error instead.
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, images.offset + images.nbytes)
    decode(images)
    images.flush()


def read_class_folders(
    path: str | os.PathLike,
    image_size: int | tuple[int, int] | None = None,
    channels: int = 3,
    cache_dir: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads `<class>/<image>` of a folder or an archive, classes and images in the order of their names.

    Args:
        path: A folder, or a `.zip` or `.tar`, with one folder for each class, directly or within one folder. Hidden
            files and files that are not images are skipped.
        image_size: Height and width to resize to with a Lanczos filter; one number for a square. None keeps the size of
            the images, which must then be the same for all.
        channels: 1 for grey, 3 for RGB.
        cache_dir: Folder for the decoded array, which is then mapped into memory; the name of its file changes with the
            images, `image_size` and `channels`. None decodes into memory, every time.

    Returns:
        Images, uint8 [images, height, width, channels], and the class name of each, [images].

    Raises:
        FileNotFoundError: If the path does not exist, or there is no image in a folder of its class.
        ValueError: If a class is empty, an image is deeper than in the folder of its class, the archive is broken, an
            image cannot be decoded, sizes differ, or `image_size` or `channels` is out of range.
    """
    path = pathlib.Path(path).expanduser()
    channels, size = _check_channels(channels), None if image_size is None else height_and_width(image_size)
    marks = _class_images(path)
    names = list(marks)
    _, content = next(read_files(path, names[:1]))
    shape = decode_image(content, names[0], size, channels).shape

    def decode(content: bytes, name: str) -> np.ndarray:
        image = decode_image(content, name, size, channels)
        if image.shape != shape:
            raise ValueError(
                "Expected images of one size, or image_size to resize to. "
                f"Received: {image.shape} in {name}, {shape} in {names[0]}"
            )
        return image

    def decode_all(images: np.ndarray) -> None:
        decode_files(path, {name: place for place, name in enumerate(names)}, images, decode)

    shape_of_all = (len(names), *shape)
    if cache_dir is None:
        images = _filled(shape_of_all, decode_all)
    else:
        mark = fingerprint([f"{_FOLDERS_VERSION} {shape}", *(f"{name} {mark}" for name, mark in marks.items())])
        file = pathlib.Path(cache_dir).expanduser() / f"{mark}.npy"
        images = decoded_once(file, shape_of_all, decode_all, mapped=True)
    return images, np.array([name.split("/")[-2] for name in names])


@contextlib.contextmanager
def _naming_the_image(name: str) -> Iterator[None]:
    try:
        yield
    # For a broken file Pillow may raise any error: SyntaxError, struct.error, IndexError and others.
    except Exception as error:
        raise ValueError(f"Expected an image file. Received: {name}, which cannot be decoded: {error}") from error


def _check_channels(channels: int) -> int:
    if channels not in _MODES or isinstance(channels, bool):
        raise ValueError(f"Expected channels to be 1 or 3. Received: channels={channels!r}")
    return int(channels)


def _load(cache_file: pathlib.Path, shape: tuple[int, ...], mapped: bool) -> np.ndarray | None:
    reason = "its shape, data type or size is wrong"
    try:
        # Read-only: Linux counts a mapping that can be written to as memory, and refuses one larger than that.
        images = np.load(cache_file, mmap_mode="r" if mapped else None)
        whole = not mapped or cache_file.stat().st_size == images.offset + images.nbytes
        if images.shape == shape and images.dtype == np.uint8 and whole:
            return images
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        reason = str(error)
    logging.warning("%s cannot be used (%s); decoding again.", cache_file, reason)
    return None


def _class_images(path: pathlib.Path) -> dict[str, str]:
    """Returns the names of the images, sorted, with their fingerprints; a class is the folder that an image is in."""
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a folder or archive with one folder of images for each class. Received: {path}, which does not "
            "exist"
        )
    listed = list_files(path, folders=True)
    files = [name for name in listed if not name.endswith("/")]
    images = sorted(name for name in files if is_image(name))
    if len(images) < len(files):
        logging.info(
            "%s: skipped %d files that are not named like images (%s)",
            path, len(files) - len(images), ", ".join(IMAGE_SUFFIXES),
        )  # fmt: skip
    around = ""  # The parent folder of the classes.
    tops = {name.partition("/")[0] for name in images if "/" in name}
    if len(tops) == 1 and not any(name.count("/") == 1 for name in images):
        around = f"{tops.pop()}/"
    depth = around.count("/") + 1
    names = [name for name in images if name.count("/") == depth]
    if not names:
        raise FileNotFoundError(
            f"Expected a folder or archive with one folder of images ({', '.join(IMAGE_SUFFIXES)}) for each class. "
            f"Received: {path} with {len(files)} files, none of them such an image"
        )
    if deeper := [name for name in images if name.count("/") > depth]:
        raise ValueError(
            "Expected images in the folder of their class, not deeper. "
            f"Received: {len(deeper)} deeper images, the first {deeper[0]} in {path}"
        )
    if len(names) < len(images):
        logging.info("%s: skipped %d images that are not in a folder of a class", path, len(images) - len(names))
    classes = {name.split("/")[-2] for name in names}
    folders = {name.split("/")[depth - 1] for name in listed if name.startswith(around) and name.count("/") >= depth}
    if empty := sorted(folders - classes):
        raise ValueError(f"Expected at least one image in every class. Received: none in {path / around / empty[0]}")
    return {name: listed[name] for name in names}


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Returns the height and width given by `image_size`, one number for a square, or raises a ValueError."""
    sizes = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
    if len(sizes) != 2:
        raise ValueError(f"Expected image_size to be one number or two. Received: image_size={image_size!r}")
    height, width = (check_image_size(size) for size in sizes)
    return height, width
