"""Downloads a file once: checked, whole or not there at all, and continued where it was interrupted.

`keras.utils.get_file` is not used because it starts from the beginning after an interruption.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import pathlib
import time
import urllib.request
from typing import BinaryIO

from absl import logging

from maml_tf.tasks.part_file import alone

_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 60.0
_SECONDS_BETWEEN_LINES = 5.0


def download(url: str, path: str | os.PathLike, md5: str) -> pathlib.Path:
    """Downloads a file, unless it is there already.

    What has come is kept beside it as `<name>.part` until it is whole, so that a call after one that was
    interrupted asks for the rest alone. Of several processes one downloads and the others wait for it (not on
    Windows). Progress is logged every few seconds.

    Args:
        url: `https://`, `http://` or `file://`.
        path: The file to write; its folder is created if need be.
        md5: The file's checksum in hexadecimal.

    Returns:
        The path.

    Raises:
        OSError: If the file can't be downloaded or written, or what came has another checksum.
    """
    path = pathlib.Path(path)
    part = path.with_name(f"{path.name}.part")
    if path.exists() and _md5(path) == md5:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(part):
            if path.exists():
                if _md5(path) == md5:
                    return path
                logging.warning("%s is not the file expected; downloading it again.", path)
            resumed = part.stat().st_size > 0
            _fetch(url, part)
            if resumed and _md5(part) != md5:
                logging.warning("%s does not continue what was downloaded before; starting again.", url)
                os.truncate(part, 0)
                _fetch(url, part)
            if (received := _md5(part)) != md5:
                part.unlink()
                raise OSError(f"a file with MD5 {received}")
            os.replace(part, path)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"Expected to download {url} with MD5 {md5} to {path.parent}. Received: {error}. "
            "Try again, or download it by other means and pass its folder as data_dir."
        ) from error
    return path


def _fetch(url: str, part: pathlib.Path) -> None:
    """Appends to `part` what it lacks of the file at `url`."""
    have = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # There is nothing left to ask for; the checksum tells whether it is the file.
        raise
    with response:
        # Whoever does not know ranges sends all of the file.
        continues = response.status == http.client.PARTIAL_CONTENT
        have = have if continues else 0
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest else None
        logging.info("downloading %s%s", url, f", {have} bytes of it are there" if have else "")
        with open(part, "ab" if continues else "wb") as file:
            received = _copy(response, file, have, total)
    if total is not None and received < total:
        raise OSError(f"{received} of {total} bytes")


def _copy(response: BinaryIO, file: BinaryIO, have: int, total: int | None) -> int:
    """Returns how much of the file there is now."""
    told = time.monotonic()
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        have += len(chunk)
        if time.monotonic() - told >= _SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            logging.info("downloaded %.1f of %s MB", have / 1e6, "?" if total is None else f"{total / 1e6:.1f}")
    return have


def _md5(path: pathlib.Path) -> str:
    digest = hashlib.md5()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
