"""Looks at every file of a data set once: can it be read, what does it hash to, what does one number say."""

import hashlib
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from keras_fracture import files, parallel
from keras_fracture.data import decoding, levels
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.data.locations import cache_dir
from keras_fracture.errors import ImageError

HASH_SIZE = 16  # the difference hash has HASH_SIZE x HASH_SIZE bits
SCALARS = (
    "width", "height", "file_size", "bytes_per_pixel", "mean", "deviation", "darkest", "brightest",
    "sharpness", "fine_detail", "border", "corner", "black_share", "white_share",
)  # fmt: skip
_FRAME = 10_000  # rows that are Python objects at a time: they take ten times the room of those of a table
_VERSION = 5  # of the cached result; raise it when `measure` changes


def difference_hash(image):
    """256 bits: whether each cell of a 16x17 thumbnail is brighter than its left neighbour.

    Robust to scale, brightness and compression; the number of differing bits is a distance between images.
    """
    small = cv2.resize(image, (HASH_SIZE + 1, HASH_SIZE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def measure(data, name="image"):
    """Measures one file.

    Args:
        data: The file's bytes.
        name: What errors call it.

    Returns:
        A dict with `file_digest` (SHA-1 of the bytes), `digest` (SHA-1 of the decoded pixels), `hash` (hex of
        `difference_hash`), `truncated`, `bits` (the depth of its values, 0 if it cannot be read), `inverted` (see
        `levels.looks_inverted`), `error` ('' if it can be read) and every one of `SCALARS`.
    """
    row = _unread(data)
    try:
        image, row["truncated"], row["bits"] = decoding.decode(data, name)
    except ImageError as error:
        return row | {"error": str(error)}
    height, width = image.shape
    edge = max(1, min(height, width) // 32)
    border = np.concatenate(
        [image[:edge].ravel(), image[-edge:].ravel(), image[:, :edge].ravel(), image[:, -edge:].ravel()]
    )
    corners = [
        image[y, x] for y in (slice(edge), slice(-edge, None)) for x in (slice(edge), slice(-edge, None))
    ]
    # Measured on one size, or resolution would pass for sharpness.
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    return row | {
        "digest": hashlib.sha1(f"{height}x{width}".encode() + image.tobytes()).hexdigest(),
        "hash": difference_hash(image),
        "inverted": levels.looks_inverted(image),
        "width": width,
        "height": height,
        "bytes_per_pixel": len(data) / image.size,
        "mean": float(image.mean()),
        "deviation": float(image.std()),
        "darkest": float(np.percentile(small, 1)),
        "brightest": float(np.percentile(small, 99)),
        "sharpness": float(cv2.Laplacian(small, cv2.CV_32F).var()),
        "fine_detail": float(cv2.Laplacian(small, cv2.CV_32F).var() / max(small.var(), 1.0)),
        "border": float(border.mean()),
        "corner": float(np.mean([corner.mean() for corner in corners])),
        "black_share": float((small < 8).mean()),
        "white_share": float((small > 247).mean()),
    }


def _unread(data, error=""):
    """`measure` of a file of which nothing but its bytes is known."""
    row = {"digest": "", "hash": "", "truncated": False, "bits": 0, "inverted": False, "error": error}
    row |= dict.fromkeys(SCALARS, np.nan)
    return row | {"file_digest": hashlib.sha1(data).hexdigest(), "file_size": len(data)}


def scan(name, paths, progress=True, workers=parallel.HERE):
    """Measures all files of a data set; remembers the table until a file changes, and files until all are measured.

    Args:
        name: The data set's name, for the progress bar and the cache.
        paths: The files, in the order of the table's rows.
        progress: Whether to show a progress bar.
        workers: `parallel.Workers` that read the files; in this process on all cores.

    Returns:
        A `pandas.DataFrame` with the columns of `measure`, one row a path. A file that kills whoever reads it has an
        `error` as one that cannot be read; it is tried again the next time.
    """
    cached = cache_dir() / "scans" / f"{name}-{fingerprint(paths)}.csv"
    text = {"file_digest": str, "digest": str, "hash": str, "error": str}
    if cached.is_file():
        missing = {scalar: [""] for scalar in SCALARS}
        # Without "round_trip" the last digits would differ from those of the first run.
        return pd.read_csv(
            cached, dtype=text, keep_default_na=False, na_values=missing, float_precision="round_trip"
        )

    rows, skipped = [str(path.absolute()) for path in paths], len(workers.skipped)
    parts = files.folder(cached.parent) / f"{cached.stem}-{parallel.key()}.parts"
    measured = workers.map(_measure_files, rows, parts=parts, **_mapping(name, rows, progress))
    killed = f"whoever reads it dies, {parallel.DEATHS} times"
    result = _table(
        row or _unread(path.read_bytes(), f"{path}: {killed}")
        for row, path in zip(measured, paths, strict=True)
    )
    if len(workers.skipped) == skipped:
        files.write_text(cached, result.to_csv(index=False))
    parts.unlink()
    return result


def scan_bytes(name, contents, progress=True):
    """`scan` of files that are in memory, in this process; nothing is remembered."""
    return _table(parallel.HERE.map(_measure_bytes, contents, **_mapping(name, contents, progress)))


def _mapping(name, rows, progress):
    options = {"title": f"scan {name}", "unit": " files", "threaded": True, "progress": progress}
    return options | {"batch": files_a_task(len(rows))}


def files_a_task(count):
    """How many of so many files are one task: few, or a slow one holds all up; but not so few that tasks cost time."""
    return min(256, max(16, count // 4000))


@one_opencv_thread
def _measure_files(paths, _):
    return [measure(Path(path).read_bytes(), path) for path in paths]


@one_opencv_thread
def _measure_bytes(contents, _):
    return [measure(data) for data in contents]


def _table(rows):
    frames = []
    while some := list(itertools.islice(rows, _FRAME)):
        frames.append(pd.DataFrame(some))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def fingerprint(paths, root=None, copied=False):
    """Hash of the files' paths, sizes and times of change: equal as long as nothing was touched.

    Args:
        paths: The files.
        root: Folder below which paths count alone, so that it may be moved; None lets whole paths count, as for what is
            kept: archives unpack unlike files of one name with one size and time.
        copied: Whether files at whole paths stay the same if they are copied there with their times, as those below a
            `root` do: of records, and where work goes on. Else the system's own time of change counts, too, which no
            archive sets. File systems may number files anew, so inodes never count.
    """
    named = [path.relative_to(root).as_posix() if root else str(path.absolute()) for path in paths]
    facts = []
    for name, path in zip(named, paths, strict=True):
        stat = path.stat()
        set_by_system = () if root or copied else (stat.st_ctime_ns,)
        facts.append((name, stat.st_size, stat.st_mtime_ns, *set_by_system))
    return hashlib.sha1(json.dumps([_VERSION, facts]).encode()).hexdigest()[:16]


def folder_fingerprint(root, movable=True):
    """`fingerprint` of all files below a folder, but for those that macOS adds; `movable`: by paths below it alone."""
    paths = (path for path in root.rglob("*") if path.is_file() and not files.is_hidden_copy(path))
    return fingerprint(sorted(paths), root if movable else None)
