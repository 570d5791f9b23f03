"""What the embedded data set has instead of files: split policies, shares, and its table, drawn once."""

import functools
import hashlib
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from keras_fracture import files, parallel
from keras_fracture.data import decoding, locations, phantom, phantom_anatomy, phantom_findings, tables
from keras_fracture.data.library_settings import one_opencv_thread

LICENCE = "Apache-2.0, as this project's"
POLICIES = ("grouped", "paper")
SHARES = (0.7, 0.1, 0.2)
KNOWN = ("body_part", "view")
SOURCES = phantom.SOURCES, phantom.TEST_SOURCES
_TABLE = "table.json"
_DRAWING = {"batch": 4, "title": "draw phantom", "unit": " images", "threaded": True}


def read(sources=None, test_sources=None, seed=0):
    """Draws all images, or reads what another process has drawn from the cache.

    Args:
        sources: Number of limbs to learn from; None is the first of `SOURCES`.
        test_sources: Number of limbs to test on; None is the second.
        seed: Non-negative integer.

    Returns:
        The table of `tables.COLUMNS`, without paths on disk, and `image`, the bytes of a PNG file, uint8
        `(256, 256)`.

    Raises:
        DataError: No such number of limbs.
        OutputError: The cache cannot be written.
    """
    defaults = zip((sources, test_sources), SOURCES, strict=True)
    return _read(*(default if given is None else given for given, default in defaults), seed)


@functools.cache
def _read(sources, test_sources, seed=0):
    path = locations.cache_dir() / "drawn" / f"phantom-{_key(sources, test_sources, seed)}.zip"
    if not path.is_file():
        _write(path, phantom.records(seed=seed, sources=sources, test_sources=test_sources))
    with zipfile.ZipFile(path) as archive:
        rows = json.loads(archive.read(_TABLE))
        for row in rows:
            row["image"] = archive.read(row["filename"])
            row["boxes"] = np.array(row["boxes"], np.float32).reshape(-1, 4)
    return tables.complete(pd.DataFrame(rows))


def _key(*numbers):
    """Hash of all that the images follow from: the code that draws them, libraries, and the numbers."""
    digest = hashlib.sha256(json.dumps([np.__version__, cv2.__version__, *numbers]).encode())
    for module in (phantom, phantom_anatomy, phantom_findings):
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]


def _write(path, records):
    def drawn(indices, _):
        return [packed(records[index]) for index in indices]

    def packed(record):
        png = decoding.encode_png(record.pop("image")[..., 0])
        return png, record | {"boxes": record["boxes"].tolist()}

    with files.writing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        rows = []
        with one_opencv_thread:
            for png, row in parallel.HERE.map(drawn, range(len(records)), **_DRAWING):
                archive.writestr(row["filename"], png)
                rows.append(row)
        archive.writestr(_TABLE, json.dumps(rows))
