"""The adapted weights of many tenants: all of them in files, the most recently used ones in memory."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import json
import os
import pathlib
import re
import threading
from collections.abc import Iterator

import numpy as np

from maml_tf.files import exclusive, read_json, remove_unfinished, writable_directory, write_atomically
from maml_tf.serving.requests import Refused, shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MODEL, _SUFFIX = "model.json", ".npy"
_LOCKS = 64


class Tenants:
    """Weights by the name of the tenant, in a folder that belongs to one model and one process.

    A tenant's weights are in its file before a call of `put` returns. So a server that is killed or restarted loses
    nothing, and weights that leave the memory are read again. A file's name is a digest of the tenant's name: no name
    can lead to a file outside of the folder.

    Args:
        folder: Created if it does not exist.
        like: Weights of the shape and data type of all tenants.
        fingerprint: The model's fingerprint; a folder of another model is refused.
        in_memory: Number of tenants whose weights stay in memory.
        most: Largest number of tenants.

    Raises:
        ValueError: If the folder cannot be written, holds another model's tenants, or is in use by another process.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        like: np.ndarray,
        fingerprint: str,
        in_memory: int = 1000,
        most: int = 10_000,
    ):
        self._folder = writable_directory(folder)
        self._like, self._in_memory, self._most = like, in_memory, most
        self._held = contextlib.ExitStack()
        self._held.enter_context(exclusive(self._folder, "keeps tenants in"))
        try:
            remove_unfinished(self._folder)
            self._claim(fingerprint)
        except BaseException:
            self.close()
            raise
        self._known = {path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}")}
        self._coming: set[str] = set()  # New tenants whose files are being written.
        self._kept: collections.OrderedDict[str, np.ndarray] = collections.OrderedDict()
        self._changes = 0
        self._lock = threading.Lock()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def close(self) -> None:
        """Releases the folder for another process."""
        self._held.close()

    def __len__(self) -> int:
        return len(self._known)

    @contextlib.contextmanager
    def updating(self, name: str) -> Iterator[None]:
        """Keeps other threads from changing a tenant's weights inside the block."""
        with self._locks[int(_digest(name)[:8], 16) % _LOCKS]:
            yield

    def get(self, name: str) -> np.ndarray | None:
        """Returns a tenant's weights, or None if it has none.

        Raises:
            Refused: With 400 if the name is not valid, with 500 if the file is broken.
        """
        digest = _digest(name)
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
            if digest not in self._known:
                return None
            changes = self._changes
        # Without the lock, so that a slow disk does not delay other tenants.
        weights = self._read(digest)
        with self._lock:
            # If another thread has written meanwhile, these could be the tenant's older weights.
            if changes == self._changes:
                self._keep(digest, weights)
        return weights

    def put(self, name: str, weights: np.ndarray) -> None:
        """Writes a tenant's weights. The caller is inside `updating(name)`.

        Raises:
            Refused: With 400 if the name is not valid, with 403 if there is no room for another tenant, with 507 if the
                file cannot be written; the earlier weights stay.
        """
        digest = _digest(name)
        with self._lock:
            new = digest not in self._known
            if new and len(self._known) + len(self._coming) >= self._most:
                raise Refused(
                    403, f"Expected at most {self._most} tenants. Received: a new one; reset a tenant to make room"
                )
            if new:
                self._coming.add(digest)
        content = io.BytesIO()
        np.save(content, weights, allow_pickle=False)
        try:
            write_atomically(self._path(digest), content.getvalue())
        except OSError as error:
            with self._lock:
                self._coming.discard(digest)
            raise Refused(507, f"Expected room for the weights. Received: {error.strerror}") from error
        with self._lock:
            self._coming.discard(digest)
            self._known.add(digest)
            self._changes += 1
            self._keep(digest, weights)

    def remove(self, name: str) -> None:
        """Forgets a tenant, if there is one. The caller is inside `updating(name)`.

        Raises:
            Refused: With 400 if the name is not valid, with 507 if the file cannot be removed.
        """
        digest = _digest(name)
        with self._lock:
            try:
                self._path(digest).unlink(missing_ok=True)
            except OSError as error:
                raise Refused(507, f"Expected a disk that can be written. Received: {error.strerror}") from error
            self._changes += 1
            self._known.discard(digest)
            self._kept.pop(digest, None)

    def _keep(self, digest: str, weights: np.ndarray) -> None:
        self._kept[digest] = weights
        self._kept.move_to_end(digest)
        while len(self._kept) > self._in_memory:
            self._kept.popitem(last=False)

    def _path(self, digest: str) -> pathlib.Path:
        return self._folder / f"{digest}{_SUFFIX}"

    def _read(self, digest: str) -> np.ndarray:
        try:
            weights = np.load(self._path(digest), allow_pickle=False)
            if (weights.shape, weights.dtype) != (self._like.shape, self._like.dtype):
                raise ValueError(f"{weights.dtype} numbers of shape {weights.shape}")
        except (OSError, ValueError, EOFError) as error:
            raise Refused(
                500, "Expected the tenant's weights. Received: a broken file; reset and adapt again"
            ) from error
        return weights

    def _claim(self, fingerprint: str) -> None:
        """Writes the model's fingerprint to the folder, or compares it."""
        path = self._folder / _MODEL
        if not path.exists():
            write_atomically(path, json.dumps({"fingerprint": fingerprint, "weights": self._like.size}) + "\n")
        elif read_json(path).get("fingerprint") != fingerprint:
            raise ValueError(
                "Expected a folder of this model's tenants, or an empty one. "
                f"Received: {str(self._folder)!r}, which holds another model's tenants"
            )


def check_name(name: str) -> None:
    """Refuses a name that is not valid for a tenant.

    Raises:
        Refused: With 400.
    """
    if not _NAME.fullmatch(name):
        raise Refused(
            400, f"Expected a tenant's name of 1 to 64 letters, digits, '_', '-' and '.'. Received: {shown(name)}"
        )


def _digest(name: str) -> str:
    check_name(name)
    return hashlib.sha256(name.encode()).hexdigest()
