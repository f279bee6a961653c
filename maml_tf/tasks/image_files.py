"""Lists and reads the files of a folder, a zip or a tar as if they were all the same."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

try:
    from lzma import LZMAError
except ImportError:  # A Python that was built without it reads no .tar.xz.
    LZMAError = EOFError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
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
    """Returns whether a path is named like an archive that can be listed.

    Args:
        path: Of a file.

    Returns:
        Whether its name ends in one of `ARCHIVE_SUFFIXES`.

    Example:
    >>> from maml_tf.tasks.image_files import is_archive
    >>> is_archive("data/miniImagenet.tar"), is_archive("data/miniImagenet")
    (True, False)
    """
    return os.fspath(path).lower().endswith(ARCHIVE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Returns whether a file is one that systems put beside the user's own.

    Args:
        name: A path with `/`.

    Returns:
        Whether a part of it is `__MACOSX` or begins with a dot.

    Example:
    >>> from maml_tf.tasks.image_files import is_hidden
    >>> is_hidden("ant/.DS_Store"), is_hidden("__MACOSX/ant/1.png"), is_hidden("./ant/1.png")
    (True, True, False)
    """
    if not (name.startswith(".") or "/." in name or "__MACOSX" in name):
        return False  # Nearly every name: the parts need not be looked at.
    return any(part == "__MACOSX" or (part.startswith(".") and part != ".") for part in name.split("/"))


def list_files(path: str | os.PathLike, *, folders: bool = False) -> list[ListedFile]:
    """Lists a folder, with the folders in it, or an archive.

    Args:
        path: A folder, a zip, or a tar, compressed or not.
        folders: Whether to list the folders too; their names end in `/`. Archives need not name theirs.

    Returns:
        The files, in any order. Hidden ones (`.DS_Store`, `__MACOSX/...`) are passed over.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ValueError: If the archive is broken or incomplete.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        listed = list(_walk(path, "", _DEEPEST))
    else:
        with _opened(path) as archive, _naming_the_archive(path):
            if isinstance(archive, zipfile.ZipFile):
                members = [(m.filename, f"{m.file_size} {m.CRC:08x}") for m in archive.infolist()]
            else:
                members = [
                    (f"{m.name}/" if m.isdir() else m.name, f"{m.size} {m.mtime}")
                    for m in archive
                    if m.isfile() or m.islnk() or m.isdir()
                ]
                _check_end_of_tar(archive)
        listed = [ListedFile(name.removeprefix("./"), mark) for name, mark in members if not is_hidden(name)]
    return [file for file in listed if file.name and (folders or not file.name.endswith("/"))]


def read_files(path: str | os.PathLike, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Reads files of a folder or an archive.

    Args:
        path: As of `list_files`.
        names: Names that it listed.

    Yields:
        Each name once with the file's content, in the order that is quickest to read.

    Raises:
        ValueError: If the archive is broken or incomplete.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        for name in names:
            yield name, (path / name).read_bytes()
        return
    wanted = set(names)
    with _opened(path) as archive:
        if isinstance(archive, zipfile.ZipFile):
            for member in archive.infolist():
                if (name := member.filename.removeprefix("./")) in wanted:
                    with _naming_the_archive(path, name):
                        content = archive.read(member)
                    yield name, content
        else:
            # In the archive's order: a compressed one can't go back but from its start.
            for member in archive:
                if (name := member.name.removeprefix("./")) in wanted:
                    yield name, archive.extractfile(member).read()


def _walk(folder: pathlib.Path, prefix: str, deepest: int) -> Iterator[ListedFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # A link to itself leads nowhere, like one to what is gone.
                continue
            if is_folder:
                yield ListedFile(f"{prefix}{entry.name}/", "")
            if is_folder and deepest > 1:
                yield from _walk(pathlib.Path(entry.path), f"{prefix}{entry.name}/", deepest - 1)
            elif is_file:
                stat = entry.stat()
                yield ListedFile(prefix + entry.name, f"{stat.st_size} {stat.st_mtime_ns}")


def _opened(path: pathlib.Path) -> zipfile.ZipFile | tarfile.TarFile:
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder or an archive. Received: {path}, which is not there")
    with _naming_the_archive(path):
        return zipfile.ZipFile(path) if path.name.lower().endswith(".zip") else tarfile.open(path)


@contextlib.contextmanager
def _naming_the_archive(path: pathlib.Path, member: str | None = None) -> Iterator[None]:
    # The errors of zlib and lzma and EOFError are what a compressed stream raises where it is cut or changed.
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError) as error:
        where = f"{path}, which is" if member is None else f"{member} in {path}, which is"
        reason = " ".join(str(error).split())  # tarfile's has a line for each compression that it tried.
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
