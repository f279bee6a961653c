"""Lists and reads the files of a folder, a zip or a tar alike; an archive made to do harm is refused."""

from __future__ import annotations

import collections
import contextlib
import importlib
import os
import pathlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, NamedTuple

try:
    from lzma import LZMAError
except ImportError:  # A Python that was built without it reads no .tar.xz.
    LZMAError = EOFError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
# The largest file that is read, in bytes: the largest photo of ImageNet takes less than a third of it.
MAX_FILE_BYTES = 1 << 26
_COMPRESSIONS_OF_TAR = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
_COMPRESSIONS_OF_ZIP = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# Deeper than any data set's layout, and shallow enough for a link that leads back up.
_DEEPEST = 6
_CHUNK = 1 << 18


class ListedFile(NamedTuple):
    """A file as it is listed.

    Attributes:
        name: Its path, relative to the folder or within the archive, with `/`.
        fingerprint: Changes when the content does: the zip's CRC, or the size and time of change.
    """

    name: str
    fingerprint: str


def is_archive(path: str | os.PathLike) -> bool:
    """Tells by its name whether a path is an archive that can be listed.

    Example:
    >>> from maml_tf.tasks.archives import is_archive
    >>> is_archive("data/miniImagenet.tar"), is_archive("data/miniImagenet")
    (True, False)
    """
    return os.fspath(path).lower().endswith(ARCHIVE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Tells whether a path with `/` is one of those that systems put beside the user's own.

    Example:
    >>> from maml_tf.tasks.archives import is_hidden
    >>> is_hidden("ant/.DS_Store"), is_hidden("__MACOSX/ant/1.png"), is_hidden("./ant/1.png")
    (True, True, False)
    """
    if not (name.startswith(".") or "/." in name or "__MACOSX" in name):
        return False  # Nearly every name: the parts need not be looked at.
    return any(part == "__MACOSX" or (part.startswith(".") and part != ".") for part in name.split("/"))


def list_files(path: str | os.PathLike, *, folders: bool = False) -> list[ListedFile]:
    """Lists a folder, with the folders in it, or an archive.

    Links within an archive, links of a folder that lead nowhere, and devices are listed too: to read one is an error.

    Args:
        path: A folder, a zip, or a tar, compressed or not.
        folders: Whether to list the folders too; their names end in `/`. Archives need not name theirs.

    Returns:
        The files, in any order. Hidden ones (`.DS_Store`, `__MACOSX/...`) are passed over.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ValueError: If the archive is broken or incomplete, or names a file twice or outside of itself.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        listed = list(_walk(path, "", _DEEPEST))
    else:
        with _opened(path) as archive, _naming_the_archive(path):
            members = [(_name(member), _fingerprint(member)) for member in _members(archive)]
            if isinstance(archive, tarfile.TarFile):
                _check_end_of_tar(archive)
        for name, _ in members:
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"Expected members within the archive. Received: {name!r} in {path}")
        listed = [ListedFile(*member) for member in members if not is_hidden(member[0])]
        counts = collections.Counter(file.name for file in listed if not file.name.endswith("/"))
        if twice := next((name for name, count in counts.items() if count > 1), None):
            raise ValueError(f"Expected every file once. Received: {twice} twice in {path}")
    return [file for file in listed if file.name and (folders or not file.name.endswith("/"))]


def read_files(path: str | os.PathLike, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Reads files of a folder or an archive, of at most `MAX_FILE_BYTES` each.

    Args:
        path: As of `list_files`.
        names: Names that it listed.

    Yields:
        Each name once with the file's content, in the order that is quickest to read.

    Raises:
        ValueError: If the archive is broken or incomplete, or a file is too large, encrypted, compressed otherwise than
            zip files usually are, a device, or a link that is not followed.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        for name in names:
            if not (path / name).is_file():
                raise _refused("regular files, and links to them", name, path, "which is neither")
            with open(path / name, "rb") as stream:
                yield name, _content(stream, name, path, os.fstat(stream.fileno()).st_size)
        return
    wanted = set(names)
    with _opened(path) as archive:
        # In the archive's order: a compressed tar can't go back but from its start.
        for member in _members(archive):
            if (name := _name(member)) in wanted:
                read = _read_zip if isinstance(archive, zipfile.ZipFile) else _read_tar
                with _naming_the_archive(path, name):
                    content = read(archive, member, name, path)
                yield name, content


def _walk(folder: pathlib.Path, prefix: str, deepest: int) -> Iterator[ListedFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # A link to itself.
                is_folder = is_file = False
            if is_folder:
                yield ListedFile(f"{prefix}{entry.name}/", "")
                if deepest > 1:
                    yield from _walk(pathlib.Path(entry.path), f"{prefix}{entry.name}/", deepest - 1)
            else:
                found = entry.stat(follow_symlinks=is_file)
                yield ListedFile(prefix + entry.name, f"{found.st_size} {found.st_mtime_ns}")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder or an archive. Received: {path}, which is not there")
    with contextlib.ExitStack() as stack:
        with _naming_the_archive(path):
            if path.name.lower().endswith(".zip"):
                archive = stack.enter_context(zipfile.ZipFile(path))
            else:
                stream = stack.enter_context(open(path, "rb"))
                start = stream.read(max(map(len, _COMPRESSIONS_OF_TAR)))
                stream.seek(0)
                for mark, module in _COMPRESSIONS_OF_TAR.items():
                    if start.startswith(mark):
                        stream = stack.enter_context(importlib.import_module(module).open(stream))
                archive = stack.enter_context(tarfile.TarFile(fileobj=_BoundedReads(stream)))
        yield archive


class _BoundedReads:
    """The stream of a tar: tarfile reads a header's extension at once, be it of gigabytes."""

    def __init__(self, stream: BinaryIO):
        self.seek, self.tell = stream.seek, stream.tell
        self._read = stream.read

    def read(self, size: int) -> bytes:
        if size > MAX_FILE_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        return self._read(size)


def _members(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Any]:
    return iter(archive.infolist() if isinstance(archive, zipfile.ZipFile) else archive)


def _name(member: zipfile.ZipInfo | tarfile.TarInfo) -> str:
    if isinstance(member, zipfile.ZipInfo):
        return member.filename.removeprefix("./")
    return (f"{member.name}/" if member.isdir() else member.name).removeprefix("./")


def _fingerprint(member: zipfile.ZipInfo | tarfile.TarInfo) -> str:
    if isinstance(member, zipfile.ZipInfo):
        return f"{member.file_size} {member.CRC:08x}"
    return f"{member.size} {member.mtime}"


def _read_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, path: pathlib.Path) -> bytes:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _refused("no links within a zip", name, path, "which is one; unpack the archive and pass the folder")
    if member.flag_bits & _ENCRYPTED:
        raise _refused("files without a password", name, path, "which is encrypted")
    if member.compress_type not in _COMPRESSIONS_OF_ZIP:
        kind = zipfile.compressor_names.get(member.compress_type, member.compress_type)
        raise _refused("a zip of stored or deflated files", name, path, f"compressed with {kind}; unpack the archive")
    _check_size(member.file_size, name, path)
    with archive.open(member) as stream:
        return _content(stream, name, path, member.file_size)


def _read_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, path: pathlib.Path) -> bytes:
    if member.islnk():
        target = member.linkname.removeprefix("./")
        linked = next((other for other in archive.getmembers() if _name(other) == target), None)
        if linked is None:
            raise _refused("links to files of the archive", name, path, f"which links to {member.linkname!r}")
        member = linked
    if not member.isreg():
        received = "which is neither" if not member.issym() else f"a symbolic link to {member.linkname!r}"
        raise _refused("regular files and hard links to them", name, path, f"{received}; pass the unpacked folder")
    _check_size(member.size, name, path)
    return _content(archive.extractfile(member), name, path, member.size)


def _content(stream: BinaryIO, name: str, path: pathlib.Path, declared: int) -> bytes:
    """Reads a file, and no more of it than was said to be there: a zip's header may lie."""
    _check_size(declared, name, path)
    content = stream.read(declared + 1)
    if len(content) < declared:
        raise EOFError(f"{name} ends after {len(content)} of {declared} bytes")
    _check_size(len(content), name, path)
    return content


def _check_size(size: int, name: str, path: pathlib.Path) -> None:
    if size > MAX_FILE_BYTES:
        raise _refused(f"files of at most {MAX_FILE_BYTES} bytes", name, path, f"of {size} bytes")


def _refused(expected: str, name: str, path: pathlib.Path, received: str) -> ValueError:
    return ValueError(f"Expected {expected}. Received: {name} in {path}, {received}")


@contextlib.contextmanager
def _naming_the_archive(path: pathlib.Path, member: str | None = None) -> Iterator[None]:
    # What zipfile, tarfile and the streams below them raise where an archive is cut or changed.
    try:
        yield
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, NotImplementedError,
        UnicodeDecodeError, OverflowError,
    ) as error:  # fmt: skip
        where = f"{path}, which is" if member is None else f"{member} in {path}, which is"
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected a whole {'zip' if path.suffix.lower() == '.zip' else 'tar'} archive. "
            f"Received: {where} broken or incomplete: {reason}. Remove the archive and get it again."
        ) from error


def _check_end_of_tar(archive: tarfile.TarFile) -> None:
    # tarfile takes whatever it can't read for the end, so a tar cut between two members, or within the head of
    # one, lists like a shorter one. A whole one has an empty block there.
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends without the mark of a tar's end")
    # A compressed one has the checksum of what it holds at its own end.
    while archive.fileobj.read(_CHUNK):
        pass
