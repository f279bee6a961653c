"""Lists and reads the files of a folder, a zip or a tar in the same way; malicious archives are refused."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import pathlib
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, NamedTuple

from absl import logging

try:
    from lzma import LZMAError
except ImportError:  # A Python that was built without it cannot read .tar.xz.
    LZMAError = EOFError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
# The size limit of a file that is read, in bytes: the largest photo of ImageNet has less than a third of it.
MAX_FILE_BYTES = 1 << 26
_COMPRESSIONS_OF_TAR = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
# Only for these does Python limit how much is decompressed at once.
_COMPRESSIONS_OF_ZIP = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Deeper than any data set's layout, and shallow enough for a link that leads back up.
_DEEPEST = 6
_CHUNK = 1 << 18


class Archive(NamedTuple):
    """The address of an archive.

    Attributes:
        file_name: Name of the file.
        url: Address, `https://` or `file://`.
        md5: Checksum of the file in hexadecimal.
    """

    file_name: str
    url: str
    md5: str


class _Member(NamedTuple):
    """A file or a folder, whose name ends in `/`."""

    name: str
    fingerprint: str
    size: int
    open: Callable[[], BinaryIO]


def download(archive: Archive, folder: pathlib.Path) -> pathlib.Path:
    """Downloads an archive to a folder, unless the whole file is there already.

    Args:
        archive: The archive to download.
        folder: Folder for the file; created if it does not exist.

    Returns:
        The file.

    Raises:
        OSError: If the download fails, or the received file has another checksum.
    """
    path = folder / archive.file_name
    if path.exists():
        with open(path, "rb") as stream:
            digest = hashlib.md5()
            while part := stream.read(_CHUNK):
                digest.update(part)
        if digest.hexdigest() == archive.md5:
            return path
        logging.warning("%s has the wrong checksum; downloading it again.", path)
    import keras

    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Into a temporary folder and then renamed: another process may download it at the same time.
        with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as own:
            received = keras.utils.get_file(
                archive.file_name, archive.url, file_hash=archive.md5, hash_algorithm="md5", cache_dir=own
            )
            os.replace(received, path)
    except Exception as error:  # Keras raises a plain Exception.
        raise OSError(
            f"Expected to download {archive.url} with MD5 {archive.md5} to {folder}. Received: {error}. "
            "Try again, or download it in another way and pass its folder as data_dir."
        ) from error
    return path


def is_archive(path: str | os.PathLike) -> bool:
    """Tells by the name whether a path is an archive that can be listed.

    Example:
    >>> from maml_tf.tasks.archives import is_archive
    >>> is_archive("data/miniImagenet.tar"), is_archive("data/miniImagenet")
    (True, False)
    """
    return os.fspath(path).lower().endswith(ARCHIVE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Tells whether a path with `/` belongs to a hidden file, such as those that operating systems add.

    Example:
    >>> from maml_tf.tasks.archives import is_hidden
    >>> is_hidden("ant/.DS_Store"), is_hidden("__MACOSX/ant/1.png"), is_hidden("./ant/1.png")
    (True, True, False)
    """
    if not (name.startswith(".") or "/." in name or "__MACOSX" in name):
        return False  # Nearly every name, without splitting it into parts.
    return any(part == "__MACOSX" or (part.startswith(".") and part != ".") for part in name.split("/"))


def list_files(path: str | os.PathLike, *, folders: bool = False) -> dict[str, str]:
    """Lists the files of a folder and its subfolders, or of an archive.

    Links in an archive, broken links in a folder, and devices are listed too; reading one of them is an error.

    Args:
        path: A folder, a zip, or a tar, compressed or not.
        folders: Whether to list folders too; their names end in `/`. An archive may not name its folders.

    Returns:
        A dictionary from the path of each file, with `/` and relative to the folder or archive, to a text that changes
        when the content changes: the zip's CRC, or the size and time of change. Hidden files (`.DS_Store`,
        `__MACOSX/...`) are skipped.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the archive is broken or incomplete, or has a file twice or with a path outside of the archive.
    """
    listed: dict[str, str] = {}
    for member in _members(pathlib.Path(path)):
        is_folder = member.name.endswith("/")
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise ValueError(f"Expected paths inside the archive. Received: {member.name!r} in {path}")
        if member.name in listed and not is_folder:
            raise ValueError(f"Expected every file once. Received: {member.name} twice in {path}")
        if member.name and not is_hidden(member.name) and (folders or not is_folder):
            listed[member.name] = member.fingerprint
    return listed


def read_files(
    path: str | os.PathLike, names: Collection[str], max_bytes: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Reads files of a folder or an archive.

    Args:
        path: A folder or an archive, as in `list_files`.
        names: Names that `list_files` returned.
        max_bytes: Largest size of a file; None for `MAX_FILE_BYTES`.

    Yields:
        Each name once with the file's content, in the order that is fastest to read.

    Raises:
        ValueError: If the archive is broken or incomplete, or a file is too large, encrypted, compressed in an unusual
            way, a device, or a link that is not followed.
    """
    path, wanted, max_bytes = pathlib.Path(path), set(names), max_bytes or MAX_FILE_BYTES
    for member in _members(path):
        if member.name in wanted:
            with _naming(path, member.name):
                content = _content(member, max_bytes)
            yield member.name, content


def _content(member: _Member, max_bytes: int) -> bytes:
    """Reads a file up to its declared size, because a zip's header may be wrong."""
    if member.size > max_bytes:
        raise OSError(f"it has {member.size} bytes, more than {max_bytes}")
    content = bytearray()
    with member.open() as stream:
        while len(content) <= member.size and (
            part := stream.read(min(member.size + 1 - len(content), MAX_FILE_BYTES))
        ):
            content += part
    if len(content) > member.size:
        raise OSError(f"it has more than the {member.size} bytes declared")
    return bytes(content)


def _members(path: pathlib.Path) -> Iterator[_Member]:
    if path.is_dir():
        yield from _of_folder(path, "", _DEEPEST)
        return
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder or an archive. Received: {path}, which does not exist")
    with _naming(path):
        # In the archive's order: a compressed tar can be rewound only to its start.
        yield from _of_zip(path) if path.name.lower().endswith(".zip") else _of_tar(path)


def _of_folder(folder: pathlib.Path, prefix: str, deepest: int) -> Iterator[_Member]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # A link to itself.
                is_folder = is_file = False
            found = entry.stat(follow_symlinks=is_file)
            name, mark = f"{prefix}{entry.name}", f"{found.st_size} {found.st_mtime_ns}"
            if is_folder:
                yield _Member(f"{name}/", "", 0, _no_file)
                if deepest > 1:
                    yield from _of_folder(pathlib.Path(entry.path), f"{name}/", deepest - 1)
            else:
                opened = functools.partial(open, entry.path, "rb") if is_file else _no_file
                yield _Member(name, mark, found.st_size, opened)


def _of_zip(path: pathlib.Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            opened = functools.partial(_open_in_zip, archive, info)
            yield _Member(info.filename.removeprefix("./"), f"{info.file_size} {info.CRC:08x}", info.file_size, opened)


def _open_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise OSError("it is a link")
    if info.compress_type not in _COMPRESSIONS_OF_ZIP:
        kind = zipfile.compressor_names.get(info.compress_type, info.compress_type)
        raise OSError(f"it is compressed with {kind}")
    return archive.open(info)


def _of_tar(path: pathlib.Path) -> Iterator[_Member]:
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(path, "rb"))
        start = stream.read(max(map(len, _COMPRESSIONS_OF_TAR)))
        stream.seek(0)
        for mark, module in _COMPRESSIONS_OF_TAR.items():
            if start.startswith(mark):
                stream = stack.enter_context(importlib.import_module(module).open(stream))
        archive = stack.enter_context(tarfile.TarFile(fileobj=_BoundedReads(stream)))
        for info in archive:
            name = f"{info.name}/" if info.isdir() else info.name
            # A hard link has the size of its file, which is not known here.
            size = MAX_FILE_BYTES if info.islnk() else info.size
            opened = functools.partial(_open_in_tar, archive, info)
            yield _Member(name.removeprefix("./"), f"{info.size} {info.mtime}", size, opened)
        # tarfile treats unreadable data as the end, so a tar that is cut between two members, or inside a header, lists
        # like a shorter one. A complete tar has an empty block there.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends without the mark of a tar's end")
        while archive.fileobj.read(_CHUNK):  # A compressed tar has the checksum of its content at the end.
            pass


def _open_in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    if info.issym():
        raise OSError(f"it is a symbolic link to {info.linkname!r}")
    return archive.extractfile(info) or _no_file()


def _no_file() -> BinaryIO:
    raise OSError("it is neither a file nor a link to an existing file")


class _BoundedReads:
    """The stream of a tar, with a limit: tarfile reads a header's extension at once, even if it has gigabytes."""

    def __init__(self, stream: BinaryIO):
        self.seek, self.tell = stream.seek, stream.tell
        self._read = stream.read

    def read(self, size: int) -> bytes:
        if size > MAX_FILE_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        return self._read(size)


@contextlib.contextmanager
def _naming(path: pathlib.Path, name: str | None = None) -> Iterator[None]:
    # The errors of zipfile, tarfile and the streams below them if an archive is cut, changed or encrypted.
    try:
        yield
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, RuntimeError, KeyError,
        UnicodeDecodeError, OverflowError,
    ) as error:  # fmt: skip
        where = path if name is None else f"{name} in {path}"
        expected, remedy = "files, and links to them", ""
        if not path.is_dir():
            kind = "zip" if path.suffix.lower() == ".zip" else "tar"
            expected = f"a whole {kind} archive"
            remedy = " Remove the archive and download it again, or unpack it and pass the folder."
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected {expected}. Received: {where}, which cannot be read: {reason}.{remedy}") from error
