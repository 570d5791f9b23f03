"""What a trained classifier says about a data set, image by image, and how good that is."""

import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_fracture import evaluation, parallel
from keras_fracture.data import catalogue, dicom, scan, sources, splits, tables
from keras_fracture.data.cache import WORKERS
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import EvaluationError, ModelError
from keras_fracture.models.preprocessing import scale
from keras_fracture.report.scored import METRICS
from keras_fracture.serving.metadata import (
    facts_of,
    finding_of,
    of_finding,
    preparation,
    threshold_of,
    thresholded,
)
from keras_fracture.serving.releasing import model_of_run
from keras_fracture.serving.versions import loaded, version_of

_LOG = logging.getLogger(__name__)
COLUMNS = ("filename", "source", "body_part", "label", "probability")
_BATCH = 32  # always so many at once, the last ones filled up


def evaluate(model, records, which=None, change=None, title="answers", workers=parallel.HERE, parts=None):
    """Asks an exported classifier about every image of a split.

    Args:
        model: SavedModel folder, without a version the highest; or a run folder of `reproduce`.
        records: `data.pipeline.Records`.
        which: Of a run with several models, see `releasing.release`.
        change: Function of a decoded image, uint8 `(height, width)`, and its position in `records` to the image that is
            asked about instead; called by several threads, in this process alone. None changes nothing.
        title: Of the progress bar.
        workers: `parallel.Workers`, whose number changes no digit; they see the model and the records' files.
        parts: As in `parallel.Workers.map`.

    Returns:
        A `pandas.DataFrame` of `COLUMNS`, a row an image in the order of `records`, by their positions there; those are
        missing that `workers` skipped. `probability` is that of a finding, as precise as the model gives it: a sharp
        model's images are told apart by the last digits.

    Raises:
        ModelError: It is no classifier exported by this package, or does not say which class is the finding.
        EvaluationError: It has more than two classes, or not as many as its metadata name.
        ClusterError: As in `parallel.Workers.map`.
    """
    version, facts = find(model, which)
    version = Path(version).resolve()
    shared = {
        "model": str(version), "changed": scan.folder_fingerprint(version), "finding": finding_of(facts, version),
        "classes": len(facts["classes"]), "records": records, "batch": _BATCH, "change": change,
    }  # fmt: skip
    rows = range(len(records))
    answers = workers.map(
        _answers, rows, batch=_BATCH, shared=shared, title=title, unit=" images", parts=parts,
        name=lambda row: f"{records.table['filename'][row]} (row {row})",
    )  # fmt: skip
    told = {row: answer for row, answer in zip(rows, answers, strict=True) if answer is not None}
    return pd.DataFrame.from_dict(told, orient="index", columns=list(COLUMNS))


def _answers(rows, shared):
    """A task of `evaluate`: of each row what `COLUMNS` say."""
    saved, (preprocess, pixel_range) = _opened(shared["model"], shared["changed"])
    serve, change = saved.signatures["serving_default"], shared["change"]
    chunk = _reading(shared["records"], shared["batch"]).batch(rows[0])

    def prepared(data, position):
        image = preprocess.decode(data)
        return preprocess(image if change is None else change(image, position))

    with one_opencv_thread, ThreadPoolExecutor(WORKERS) as pool:
        images = np.stack(list(pool.map(prepared, chunk["image"], rows)))
    filled = np.resize(np.arange(len(images)), shared["batch"])
    images = tf.constant(scale(images, pixel_range)[filled])
    probabilities = serve(images=images)["probabilities"].numpy()[: len(rows)]
    told = [[one.decode() for one in chunk[column][: len(rows)]] for column in COLUMNS[:3]]
    findings = _of_finding(probabilities, shared["finding"], shared["classes"])
    told += [chunk["label"][: len(rows)].tolist(), findings.tolist()]
    return [list(answer) for answer in zip(*told, strict=True)]


@functools.lru_cache(maxsize=1)
def _opened(version, changed):
    """A SavedModel, and how its images are prepared: once a process, and anew if its files have `changed`."""
    return loaded(version), preparation(Path(version))


@functools.lru_cache(maxsize=1)
def _reading(records, batch):
    return _Reading(records, batch)


class _Reading:
    """Batches of records, which are read once as long as these are asked for in rising order: files know no other."""

    def __init__(self, records, batch):
        self._records, self._batch, self._row, self._batches = records, batch, None, None

    def batch(self, row):
        """The batch that begins with a row, a dict of arrays."""
        if self._row is None or row < self._row:
            fields = self._records.raw(["image", *COLUMNS[:-1]])
            self._row, self._batches = row, iter(fields.skip(row).batch(self._batch))
        while self._row < row:
            self._row += self._batch
            next(self._batches)
        self._row += self._batch
        return {name: values.numpy() for name, values in next(self._batches).items()}


def _of_finding(probabilities, column, classes):
    """`metadata.of_finding` from float32 `(n, 1 or 2)`, its column and how many classes are named.

    Raises:
        EvaluationError: There are more classes than two, or not as many as are named.
    """
    if classes == probabilities.shape[1] > 2:
        raise EvaluationError(
            f"A classifier of two classes can be evaluated; predict gives all probabilities of one of more. Received: "
            f"{classes} classes"
        )
    if classes != probabilities.shape[1]:
        raise EvaluationError(
            "A classifier must have as many classes as it names: export it again. "
            f"Received: {probabilities.shape[1]}, of which {classes} are named"
        )
    return of_finding(probabilities, column)


def text(table):
    """A table of `evaluate` as csv; probabilities have as many digits as it takes to read the same numbers again."""
    return tables.csv_text(table)


def threshold(model, which=None):
    """From which probability on a model calls an image a finding: what its metadata says, else one half."""
    version, facts = find(model, which)
    return threshold_of(facts, version)[0]


def fixed_threshold(model, which=None):
    """`threshold` unless it was chosen on validation, where it is None: so is that of baselines beside the model."""
    version, facts = find(model, which)
    value, chosen = threshold_of(facts, version)
    return None if chosen == thresholded(value, fixed=False)["chosen"] else value


def scores(table, threshold=0.5):
    """How good the predictions are, with 95 % intervals that resample whole sources.

    Args:
        table: Of `evaluate`.
        threshold: From which probability on an image counts as a finding.

    Returns:
        A dict of `METRICS` to `value`, `low`, `high`.

    Raises:
        EvaluationError: A class is missing, or has fewer than two sources.
    """
    values = evaluation.scores(predictions(table, threshold), METRICS.values())
    return {name: values[metric] for name, metric in METRICS.items()}


def predictions(table, threshold):
    """A table of `evaluate` as `evaluation.Predictions`."""
    return evaluation.Predictions(
        table["label"].to_numpy(),
        table["source"].to_numpy().astype(str),
        table["probability"].to_numpy()[None],
        threshold,
    )


def seen(model, data, table, which=None):
    """Which rows show an X-ray that the model was trained or tuned on: a test on these is none.

    Args:
        model: As in `evaluate`.
        data: Name of the data set that the rows come from, or the path of own X-rays: these are told by the
            name of their folder.
        table: Of `evaluate`.
        which: As in `evaluate`.

    Returns:
        bool `(n,)`, or None where that cannot be known: the model does not say it, or patients are those of DICOM
        files and were hashed on another machine, or named otherwise by an earlier version.

    Raises:
        ModelError: Its metadata say it in a way that cannot be read.
    """
    if not (said := trained_on(model, which)):
        return None
    if weights := unknown_weights(model, which):
        _LOG.warning(
            "training started from weights that do not say what they have seen, so that images may be seen that do not "
            "count as such: %s",
            weights,
        )
    name = catalogue.title(data)
    if any(one.data == name and dicom.salts(table["source"]) != one.salts for one in said):
        return None
    _warn_of_other_name(said, name, table)
    return among(said, name, table)


def seen_views(model, data, table, which=None, data_dir=None):
    """Which rows show an X-ray of a study that the model has seen, of data that tell studies: bool `(n,)`.

    Args:
        model: As in `evaluate`.
        data: A published data set.
        table: Rows of one of its splits.
        which: As in `evaluate`.
        data_dir: As in `data.prepare`.
    """
    whole, studies = _studies(data, data_dir)
    known = among(trained_on(model, which), catalogue.title(data), whole)
    return table["filename"].map(studies).isin(studies[known]).to_numpy()


def are_studies(data, table, data_dir=None):
    """Whether the sources of a table are studies, of data that tell these: bool; arguments as those of `seen_views`."""
    if data not in catalogue.NAMES or "studies" not in catalogue.layout(data).POLICIES:
        return False
    own = table["filename"].map(_studies(data, data_dir)[1])
    alike = [
        one.groupby(other).nunique().max() == 1
        for one, other in ((own, table["source"]), (table["source"], own))
    ]
    return all(alike) and own.nunique() < len(table)  # else they may be X-rays


def _studies(data, data_dir):
    """The table of a published data set, and of each file name the study."""
    whole = catalogue.usable(catalogue.catalogue(data, data_dir).table)
    return whole, pd.Series(splits.joined_studies(whole), whole["filename"].to_numpy())


def _warn_of_other_name(said, name, table):
    """A renamed folder, or a copy of another name, passes for another data set: its files' names tell."""
    for one in said:
        if one.data != name and one.images and name not in catalogue.NAMES:
            alike = int(np.isin(sources.digests(one.data, table["filename"]), one.images).sum())
            if 2 * alike > len(table):
                _LOG.warning(
                    "%d of %d images are called as those of %r that the model has learnt from: if this is that folder "
                    "under another name, they are no test. Received: %r", alike, len(table), one.data, name,
                )  # fmt: skip


class Seen(NamedTuple):
    """The X-rays of one data set that a model has seen.

    Attributes:
        data: The set's name.
        digests: `sources.digests` of the X-rays, in order.
        salts: `dicom.salts` of them.
        images: `sources.digests` of the files' names, in order; empty of models of earlier versions.
    """

    data: str
    digests: list
    salts: set
    images: list = ()


def among(said, name, table):
    """Which rows of a table of a data set show an X-ray that is among those of some `Seen`: bool `(n,)`."""
    rows = np.isin(sources.digests(name, table["source"]), [digest for one in said for digest in one.digests])
    if images := [digest for one in said for digest in one.images]:
        rows |= np.isin(sources.digests(name, table["filename"]), images)
    return table["source"].isin(table["source"][rows]).to_numpy()


def trained_on(model, which=None):
    """What a model says it has seen.

    Args:
        model: As in `evaluate`.
        which: As in `evaluate`.

    Returns:
        A list of `Seen`: what it was trained and tuned on, then what models that it started or learnt from had seen.
        Empty where it says nothing.

    Raises:
        ModelError: Its metadata say it in a way that cannot be read.
    """
    version, facts = find(model, which)
    if "seen_sources" not in facts:
        return []
    try:
        seen = facts["seen_sources"]
        return [
            Seen(
                str(one["data"]),
                sorted(map(str, one["digests"])),
                set(map(str, one.get("salts", ()))),
                sorted(map(str, one.get("images", ()))),
            )
            for one in (seen, *seen.get("earlier", ()))
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{version}/metadata.json has seen_sources that cannot be read: export it again. Received: {error}"
        ) from None


def unknown_weights(model, which=None):
    """The weights that a model's training started from and that do not say what they have seen, or None."""
    return find(model, which)[1].get("seen_sources", {}).get("unknown")


def find(model, which):
    """The version folder of a model, and what is known of it."""
    folder, facts = Path(model), {}
    if (folder / "metrics.json").is_file():
        folder, facts = model_of_run(folder, which)
    elif which is not None:
        raise ModelError(f"{folder} is one model, not a run of several: leave out which. Received: {which!r}")
    version = version_of(folder)
    return version, facts_of(version) | facts
