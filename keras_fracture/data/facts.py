"""What can be known of each image without a network: its data set's table, its file, its gradients."""

import base64
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage
from skimage.feature import hog

from keras_fracture import files, parallel
from keras_fracture.data import catalogue, decoding, locations, scan
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import ImageError

_VERSION = 1  # of what is kept; raise it when `describe` changes
GREYS = 16
HOG_SIZE = 128
FILE = ("height", "width", "bytes_per_pixel", *(f"grey_{level:02}" for level in range(GREYS)), "sharpness")
HOG = 1764  # 7 x 7 blocks of 2 x 2 cells, 9 orientations each
_VALUES = 50  # of a column of words; rarer ones count as one


def read(name, data_dir=None, workers=parallel.HERE, **reading):
    """The facts of a data set's images, each kind a table of numbers.

    What a label follows from is in none of them: of the data set's own table there are the columns that its layout
    lists as `KNOWN`, and of file names, boxes and splits nothing. Files are looked at once, then again only if one of
    them changes.

    Args:
        name: Of the data set, see `catalogue.find`.
        data_dir: Where published data lie.
        workers: `parallel.Workers` that read the files; the embedded set's are read in this process.
        **reading: How own X-rays are read.

    Returns:
        A dict of "table", "file" and "hog" to `pandas.DataFrame`s, a row an image, by its file name. `table` has no
        columns where the data set tells nothing, or the same of all images; `file` has those of `FILE`: size, bytes a
        pixel of the file as published, shares of 16 grey levels, and sharpness, the variance of a Laplacian at
        224 x 224; `hog` has `HOG` numbers: histograms of oriented gradients of the image at 128 x 128. Files that
        cannot be read have NaN.

    Raises:
        DataError: As `catalogue.find`.
        OutputError: The cache cannot be written.
    """
    module, root = catalogue.find(name, data_dir, **reading)
    table = module.read(root) if root else module.read()
    names = table["filename"].tolist()
    if root:
        paths = [root / filename for filename in names]
        key, rows = scan.fingerprint(paths), [str(path.absolute()) for path in paths]
        described = _kept(key, workers, _describe_files, rows, kept=True)
    else:
        contents = table["image"].tolist()
        key = hashlib.sha1(b"".join(hashlib.sha1(content).digest() for content in contents)).hexdigest()[:16]
        described = _kept(key, parallel.HERE, _describe_bytes, contents, kept=False)
    index = pd.Index(names, name="filename")
    return {
        "table": _numbers(table[list(module.KNOWN)]).set_index(index),
        "file": pd.DataFrame(described[:, : len(FILE)], index, FILE),
        "hog": pd.DataFrame(described[:, len(FILE) :], index, [f"hog_{number:04}" for number in range(HOG)]),
    }


def describe(data, name="image"):
    """The numbers of `FILE` and of the gradients of one file.

    Args:
        data: The file's bytes.
        name: What errors call it.

    Returns:
        float32 `(len(FILE) + HOG,)`, NaN where the file cannot be read.
    """
    try:
        image = decoding.decode(data, name).image
    except ImageError:
        return np.full(len(FILE) + HOG, np.nan, np.float32)
    greys = np.bincount(image.ravel() // (256 // GREYS), minlength=GREYS) / image.size
    # Measured on one size, or resolution would pass for sharpness.
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    sharpness = cv2.Laplacian(small, cv2.CV_32F).var()
    gradients = hog(
        cv2.resize(image, (HOG_SIZE, HOG_SIZE), interpolation=cv2.INTER_AREA),
        orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2),
    )  # fmt: skip
    facts = [*image.shape, len(data) / image.size, *greys, sharpness, *gradients]
    return np.array(facts, np.float32)


@one_opencv_thread
def _describe_files(paths, _):
    return [_packed(describe(Path(path).read_bytes(), path)) for path in paths]


@one_opencv_thread
def _describe_bytes(contents, _):
    return [_packed(describe(data)) for data in contents]


def _packed(numbers):
    """A float32 array as what JSON takes."""
    return base64.b64encode(numbers.tobytes()).decode()


def _kept(key, workers, function, rows, kept):
    """`describe` of all files, from the cache or written there; NaN for those that kill whoever reads them.

    Args:
        key: Of the files.
        workers: `parallel.Workers`.
        function: Of rows.
        rows: Paths, or bytes.
        kept: Whether to keep finished tasks until all are.
    """
    key = hashlib.sha1(f"{_VERSION} {cv2.__version__} {skimage.__version__} {key}".encode()).hexdigest()[:16]
    path = locations.cache_dir() / "facts" / f"{key}.npy"
    if not path.is_file():
        described, skipped = np.full((len(rows), len(FILE) + HOG), np.nan, np.float32), len(workers.skipped)
        parts = files.folder(path.parent) / f"{key}-{parallel.key()}.parts" if kept else None
        batch = scan.files_a_task(len(rows))
        done = workers.map(
            function, rows, batch=batch, parts=parts, title="facts", unit=" images", threaded=True
        )
        for row, packed in enumerate(done):
            if packed is not None:
                described[row] = np.frombuffer(base64.b64decode(packed), np.float32)
        if len(workers.skipped) == skipped:
            with files.writing(path) as beside, open(beside, "wb") as stream:
                np.save(stream, described)
        if parts:
            parts.unlink()
        return described
    return np.load(path)


def _numbers(table):
    """Columns of words as a column of 0 and 1 for each value; columns that say the same of all images are left out."""
    table = table.loc[:, table.nunique(dropna=False) > 1]
    words = table.select_dtypes(exclude=["number", "bool"])
    if not len(words.columns):
        return table.astype(float)
    common = words.apply(
        lambda column: column.where(column.isin(column.value_counts().index[:_VALUES]), "rare")
    )
    return pd.concat([table.drop(columns=words), pd.get_dummies(common)], axis=1).astype(float)
