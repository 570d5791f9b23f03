"""Fetches FracAtlas from figshare: resumable, checked, unpacked into the published layout."""

import hashlib
import http.client
import json
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from keras_fracture.data import locations
from keras_fracture.data.datasets.fracatlas import layout
from keras_fracture.errors import DataError
from keras_fracture.files import is_hidden_copy

ARTICLE = 22363012
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
# FracAtlas has 340 MB, and not much more unpacked.
MAX_ARCHIVE, MAX_UNPACKED = 2**30, 2**31  # bytes
_LISTING = 2**20  # bytes that are read of it
_ATTEMPTS = 3  # connections that may bring nothing before giving up
_FAILURES = (OSError, http.client.HTTPException)


def download_fracatlas(data_dir=None, api="https://api.figshare.com/v2"):
    """Downloads and unpacks FracAtlas, unless it is there.

    A download that was cut is taken up where it stopped, within this call or by the next one.

    Args:
        data_dir: Folder that gets `FracAtlas/`, see `locations.data_dir`.
        api: Base of figshare's public interface.

    Returns:
        The data set's folder.

    Raises:
        DataError: No network, a wrong checksum, an archive that is not FracAtlas, or a folder that cannot be
            written; the message says what to do.
    """
    parent = locations.data_dir(data_dir)
    root = parent / layout.FOLDER
    if root.exists():
        return root
    try:
        parent.mkdir(parents=True, exist_ok=True)
        file = _archive(api, root)
        path = fetch(file["download_url"], parent / f"{layout.FOLDER}.zip", file["size"], file["md5"], root)
        unpack(path, root)
        path.unlink()
    except OSError as error:
        raise DataError(f"FracAtlas cannot be written to {parent}: {error.strerror or error}") from error
    return root


def _by_hand(root):
    return (
        f"Or fetch figshare article {ARTICLE} with a browser and unpack it, so that {root} holds dataset.csv"
    )


def _archive(api, root):
    """Size, md5 and address of the article's zip."""
    url = f"{api}/articles/{ARTICLE}/files"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            files = json.loads(response.read(_LISTING))
        zips = [file for file in files if file["name"].lower().endswith(".zip")]
        file = max(zips, key=lambda file: file["size"])
        found = {
            "size": int(file["size"]),
            "md5": file.get("computed_md5") or file["supplied_md5"],
            "download_url": file["download_url"],
        }
    except _FAILURES as error:
        raise DataError(f"{url} cannot be reached ({_reason(error)}): try again. {_by_hand(root)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{url} lists no zip with name, size and md5. {_by_hand(root)}") from error
    if found["size"] > MAX_ARCHIVE:
        raise DataError(
            f"{url} lists a zip that cannot be FracAtlas, of {MAX_ARCHIVE:,} bytes at most. {_by_hand(root)}. "
            f"Received: {found['size']:,} bytes"
        )
    return found


def fetch(url, path, size, md5, root):
    """Downloads one file, going on with `path` + `.part` where that is there.

    Args:
        url: What to fetch.
        path: File to write.
        size: Its bytes.
        md5: Its checksum, hex.
        root: Where the data set will be, for the advice in errors.

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
            problem = _reason(error)
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
        except _FAILURES as error:
            problem = _reason(error)
        if _size(part) <= have:
            failed += 1
            if failed >= _ATTEMPTS:
                raise DataError(
                    f"{url} stopped at {_size(part):,} of {size:,} bytes ({problem}): run again to go on. "
                    f"{_by_hand(root)}"
                )
    with part.open("rb") as stream:
        received = hashlib.file_digest(stream, "md5").hexdigest()
    if received != md5 or part.stat().st_size != size:
        length = part.stat().st_size
        part.unlink()
        raise DataError(
            f"{path.name} arrived damaged and was deleted: run again. Expected: md5 {md5}, {size:,} bytes. "
            f"Received: md5 {received}, {length:,} bytes"
        )
    return part.replace(path)


def _append(url, part, size):
    """Asks for the bytes that are missing and writes what comes."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        # A server that ignores Range sends the whole file with status 200.
        resumed = have and response.status == http.client.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException(f"asked from byte {have}, got another range")
        with (
            part.open("ab" if resumed else "wb") as stream,
            tqdm(
                desc=part.stem, total=size, initial=have if resumed else 0, unit="B", unit_scale=True
            ) as bar,
        ):
            # One byte more than announced is enough to be refused, and no server may fill the disk.
            while data := response.read(min(_CHUNK, size + 1 - stream.tell())):
                stream.write(data)
                bar.update(len(data))


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _reason(error):
    return str(getattr(error, "reason", "") or error or type(error).__name__)


def unpack(archive, root):
    """Unpacks a zip beside `root` and renames it into place; a folder round everything is taken off.

    Args:
        archive: The zip.
        root: Folder to make; it then holds dataset.csv, images/ and Annotations/.

    Raises:
        DataError: Not a zip, too large unpacked, a member that would be written elsewhere, a link, or another layout.
    """
    beside = root.with_name(f".{root.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            members = [
                member for member in content.infolist() if not is_hidden_copy(PurePosixPath(member.filename))
            ]
            size = sum(member.file_size for member in members)  # no more is read of them
            if size > MAX_UNPACKED:
                raise DataError(
                    f"{archive} cannot be FracAtlas, of {MAX_UNPACKED:,} bytes at most: it was not unpacked. "
                    f"Received: {size:,} bytes"
                )
            for member in members:
                _check(member, archive)
            for member in tqdm(members, "unpack", unit=" files", delay=1):
                content.extract(member, beside)
        top = beside if (beside / "dataset.csv").is_file() else beside / root.name
        if not (top / "dataset.csv").is_file():
            raise DataError(f"{archive} holds no {root.name}/dataset.csv: it is not FracAtlas as published")
        top.rename(root)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error}): delete it and fetch it again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check(member, archive):
    name = PureWindowsPath(member.filename)  # takes both slashes
    outside = name.drive or name.root or ".." in name.parts
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(
            f"{Path(archive).name} would write outside its folder and was not unpacked. "
            f"Received: member {member.filename!r}"
        )
