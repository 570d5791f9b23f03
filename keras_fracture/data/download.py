"""Fetches FracAtlas from figshare: resumable, checked, unpacked into the published layout."""

import contextlib
import json
import shutil
import stat
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from keras_fracture.data import locations
from keras_fracture.data.datasets.fracatlas import layout
from keras_fracture.data.fetching import FAILURES, TIMEOUT, fetch, reason
from keras_fracture.errors import DataError
from keras_fracture.files import is_hidden_copy
from keras_fracture.progress import Bar

ARTICLE = 22363012
# FracAtlas has 340 MB, and not much more unpacked.
MAX_ARCHIVE, MAX_UNPACKED = 2**30, 2**31  # bytes
_LISTING = 2**20  # bytes that are read of it


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
    with contextlib.suppress(DataError):
        return locations.find(layout, data_dir)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        file = _archive(api, root)
        path = fetch(
            file["download_url"], parent / f"{layout.FOLDER}.zip", file["size"], file["md5"], _by_hand(root)
        )
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
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            files = json.loads(response.read(_LISTING))
        zips = [file for file in files if file["name"].lower().endswith(".zip")]
        file = max(zips, key=lambda file: file["size"])
        found = {
            "size": int(file["size"]),
            "md5": file.get("computed_md5") or file["supplied_md5"],
            "download_url": file["download_url"],
        }
    except FAILURES as error:
        raise DataError(f"{url} cannot be reached ({reason(error)}): try again. {_by_hand(root)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{url} lists no zip with name, size and md5. {_by_hand(root)}") from error
    if found["size"] > MAX_ARCHIVE:
        raise DataError(
            f"{url} lists a zip that cannot be FracAtlas, of {MAX_ARCHIVE:,} bytes at most. {_by_hand(root)}. "
            f"Received: {found['size']:,} bytes"
        )
    return found


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
            for member in Bar(members, "unpack", unit=" files", delay=1):
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
