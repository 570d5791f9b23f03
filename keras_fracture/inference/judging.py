"""How near generated images come to a data set's real ones, and whether they are copies of these: of any generator."""

import logging
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_fracture import evaluation
from keras_fracture.data.decoding import decode
from keras_fracture.data.images import Preprocess
from keras_fracture.data.own import labels
from keras_fracture.errors import ImageError
from keras_fracture.inference import origins
from keras_fracture.progress import Bar
from keras_fracture.synthesis.records import TABLE, class_of, table_of

LABELS = {"finding": 1, "healthy": 0, "all": None}
# Classes by name, or by number where a network has no names for them.
NEIGHBOURS = 5
_LOG = logging.getLogger(__name__)


class Judgement(NamedTuple):
    """What `judge` found.

    Attributes:
        scores: What `evaluation.compare` returns, and `copies_pixels` and `copies_features`, see
            `evaluation.NearCopies.summary`.
        counts: How many images were `generated`, and `real`, of how many `sources`; and `known`, how many the
            generator may have copied.
        neighbours: Of precision to coverage.
    """

    scores: dict
    counts: dict
    neighbours: int


def read(paths, size=None, crop=False):
    """Image files as a generator made them: uint8 `(n, side, side, 1)`.

    Args:
        paths: Of the files; colours become grey.
        size: The side that all are brought to; None keeps that of the files, which are square then and of one size.
        crop: As in `data.Preprocess`, of what is brought to a size.

    Raises:
        ImageError: A file is no image, or they are of several sizes or not square.
    """
    images, preprocess = [], None if size is None else Preprocess(size=size, crop=crop)
    for path in Bar(list(dict.fromkeys(paths)), "read images", unit=" images"):
        image = decode(Path(path).read_bytes(), path).image
        if preprocess is None and image.shape != (len(image), len(image)):
            raise ImageError(
                f"Generated images must be square, as networks draw them: give --size, to which all are fitted. "
                f"Received: {image.shape[0]} x {image.shape[1]} pixels in {path}"
            )
        if preprocess is None and images and image.shape != images[0].shape[:2]:
            raise ImageError(
                f"Generated images must be of one size: give --size, to which all are fitted. Received: "
                f"{len(images[0])} and {len(image)} pixels, the latter in {path}"
            )
        images.append(preprocess(image) if preprocess else image[..., None])
    return np.stack(images)


def of_label(paths, label, body_parts=()):
    """Paths of image files, without those of another label: by the `images.csv` beside them, else by their text fields.

    `generate` writes both. Images that neither tells of are of the label.

    Args:
        paths: Of the files.
        label: One of `LABELS`; "all" keeps all.
        body_parts: Of the real images. Classes of these names tell no label, and all images are of it.

    Raises:
        ImageError: None is left; or there are classes of other names, or a table that cannot be read.
    """
    if label == "all":
        return paths
    classes = _classes(paths, label)
    told = sorted(set(classes.values()) - {""})
    if told and set(told) <= set(body_parts):
        _LOG.warning(
            "all images are taken for %s: their classes are body parts (%s)", label, ", ".join(told[:5])
        )
        meant = dict.fromkeys(told, label)
    else:
        meant = {name: labels.named(name) for name in told}
    if set(told) & {"0", "1"} - set(body_parts):
        _LOG.warning("classes of numbers are read as 0 healthy and 1 finding. Received: %s", ", ".join(told))
    if len(told) > 1 and None in meant.values():
        raise ImageError(
            "Classes of generated images are read as finding, healthy, 0, 1 or usual names of both: give those of one "
            f"class by themselves, or --label all. Received: {', '.join(told[:5])} in {TABLE} or text fields"
        )
    if None in meant.values():
        _LOG.warning("all images are taken for %s: their class is %r, which says neither", label, told[0])
    kept = [path for path in paths if (meant.get(classes[path]) or label) == label]
    if not kept:
        raise ImageError(
            f"None of the generated images is of the label {label} by their {TABLE} or text fields: name another "
            "--label"
        )
    return kept


def _classes(paths, label):
    """The class of each file, "" where nobody tells; warns where a table was to tell."""
    folders = {}
    for path in paths:
        folders.setdefault(Path(path).parent, []).append(path)
    classes = {}
    for folder, there in folders.items():
        table = table_of(folder)
        listed = {folder / name: own for name, own in _rows(table)} if table.is_file() else {}
        classes |= {path: listed.get(Path(path)) or class_of(path) for path in there}
        untold = [path for path in there if Path(path) not in listed and not classes[path]]
        if listed and untold:
            _LOG.warning(
                "%s names no class of %d of %d images beside it, which are taken for %s: were they renamed? The first "
                "is %s", table, len(untold), len(there), label, Path(untold[0]).name,
            )  # fmt: skip
    return classes


def _rows(table):
    """Pairs of file and class."""
    rows = origins.read_table(table)
    return zip(rows["file"], rows["class"], strict=True) if {"file", "class"} <= set(rows) else ()


def judge(generated, real, known, label="finding", extractor="xray", seed=0, crop=False, synthetic=()):
    """Compares generated images with real ones that their generator has not seen, and looks for copies of those it has.

    Args:
        generated: uint8 `(n, side, side, 1)`.
        real: `data.Records` to compare with, such as a test split.
        known: `data.Records` that the generator was trained on.
        label: Which of their images are meant, one of `LABELS`.
        extractor: See `evaluation.features.extractor`.
        seed: Of all drawing.
        crop: Whether real images fill the square and are cropped, in place of being fitted and padded with black: as
            those were that the generator learnt from.
        synthetic: Names of files among `known` that are not real, and left out.

    Returns:
        A `Judgement`.

    Raises:
        EvaluationError: Too few images, or sources, on either side.
    """
    preprocess = Preprocess(size=generated.shape[1], crop=crop)
    (reals, sources), (knowns, of_known) = (
        _of(records, label, preprocess, synthetic) for records in (real, known)
    )
    neighbours = _neighbours(sources, len(generated))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scores = evaluation.compare(reals, generated, extractor, sources=sources, k=neighbours, seed=seed)
        near = evaluation.near_copies(
            generated, knowns, reals, train_sources=of_known, held_out_sources=sources, extractor=extractor,
            seed=seed,
        )  # fmt: skip
    for one in said:
        _LOG.warning("%s", one.message)
    scores |= {f"copies_{kind}": one.summary() for kind, one in near.items()}
    counts = {"generated": len(generated), "real": len(reals), "sources": len(set(sources)),
              "known": len(knowns)}  # fmt: skip
    return Judgement(scores, counts, neighbours)


def _neighbours(sources, generated):
    """Balls that reach no further than the copies of one X-ray would count those alone."""
    most = np.unique(sources, return_counts=True)[1].max(initial=0)
    neighbours = int(max(NEIGHBOURS, min(most, generated // 4, len(sources) // 8)))
    if most > neighbours:
        _LOG.warning(
            "an X-ray or patient has %d of %d images, among which %d neighbours may all lie: precision to coverage may "
            "be low even between real images", most, len(sources), neighbours,
        )  # fmt: skip
    return neighbours


def _of(records, label, preprocess, synthetic):
    images, labels = records.arrays(preprocess)
    wanted = np.ones(len(labels), bool) if LABELS[label] is None else labels == LABELS[label]
    if len(synthetic):
        wanted &= ~records.table["filename"].isin(synthetic).to_numpy()
    return images[wanted], records.table["source"].to_numpy().astype(str)[wanted]
