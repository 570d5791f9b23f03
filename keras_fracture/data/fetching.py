"""Fetches a file over HTTP: resumable, checked against its size and checksum."""

import hashlib
import http.client
import urllib.error
import urllib.request

from keras_fracture.errors import DataError
from keras_fracture.progress import Bar

TIMEOUT = 60  # seconds without a byte
FAILURES = (OSError, http.client.HTTPException)
_CHUNK = 1 << 20
_ATTEMPTS = 3  # connections that may bring nothing before giving up


def fetch(url, path, size, digest, advice, kind="md5"):
    """Downloads one file, going on with `path` + `.part` where that is there.

    Args:
        url: What to fetch.
        path: File to write.
        size: Its bytes.
        digest: Its checksum, hex.
        advice: What to do where it cannot be had, a sentence that errors end with.
        kind: Of the checksum, as `hashlib` names it.

    Returns:
        `path`.

    Raises:
        DataError: The connection fails, or what came is not what was announced.
    """
    part = path.with_name(path.name + ".part")
    if path.exists() and not part.exists():
        path.replace(part)  # of a former run that could not unpack it, or put there by hand
    failed = 0
    while (have := _size(part)) < size:
        problem = "the server sent nothing"
        try:
            _append(url, part, size)
        except urllib.error.HTTPError as error:
            problem = reason(error)
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
        except FAILURES as error:
            problem = reason(error)
        if _size(part) <= have:
            failed += 1
            if failed >= _ATTEMPTS:
                raise DataError(
                    f"{url} stopped at {_size(part):,} of {size:,} bytes ({problem}): run again to go on. "
                    f"{advice}"
                )
    with part.open("rb") as stream:
        received = hashlib.file_digest(stream, kind).hexdigest()
    if received != digest or part.stat().st_size != size:
        length = part.stat().st_size
        part.unlink()
        raise DataError(
            f"{path.name} arrived damaged and was deleted: run again. Expected: {kind} {digest}, {size:,} bytes. "
            f"Received: {kind} {received}, {length:,} bytes"
        )
    return part.replace(path)


def _append(url, part, size):
    """Asks for the bytes that are missing and writes what comes."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        # A server that ignores Range sends the whole file with status 200.
        resumed = have and response.status == http.client.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException(f"asked from byte {have}, got another range")
        with (
            part.open("ab" if resumed else "wb") as stream,
            Bar(
                title=part.stem, total=size, initial=have if resumed else 0, unit="B", unit_scale=True
            ) as bar,
        ):
            # One byte more than announced is enough to be refused, and no server may fill the disk.
            while data := response.read(min(_CHUNK, size + 1 - stream.tell())):
                stream.write(data)
                bar.update(len(data))


def _size(path):
    return path.stat().st_size if path.exists() else 0


def reason(error):
    """Why a connection failed, in its own words."""
    return str(getattr(error, "reason", "") or error or type(error).__name__)
