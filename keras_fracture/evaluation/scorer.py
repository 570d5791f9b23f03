"""Anybody's predictions, from any framework: read from a csv, held against a test split, compared with others."""

import dataclasses
import logging
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import scipy

from keras_fracture.data import tables
from keras_fracture.data.own import labels as named
from keras_fracture.errors import DataError, EvaluationError, one_line
from keras_fracture.evaluation.classification import Predictions, gains

_LOG = logging.getLogger(__name__)
THRESHOLD = 0.5
# What tells the probability of a finding: itself, its logit, or the probabilities of both classes.
KINDS = (("probability",), ("logit",), ("healthy", "finding"))
_IMAGES = ("filename", "file", "image")  # what names an image, the first that is there; `predict` says file
_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)  # a number as much of Europe writes it
COMPARED = (
    "auc",
    "average_precision",
    "sensitivity_at_90",
)  # that need no threshold, which each would have its own
_FEW = 3  # different probabilities, of which hard labels have two
_SUM = 1e-3  # by which two probabilities may miss 1


def read(path):
    """Reads predictions.

    Args:
        path: A csv file with the columns `filename` (or `file`, or `image`), whose endings may be missing, one of
            `KINDS`, where there are several trained models `seed`, and maybe `label`, which `predictions` then checks.
            Others are passed over. Where semicolons or tabs part its columns, numbers may have decimal commas.

    Returns:
        A `pandas.DataFrame` of str `filename` and `seed`, float `probability`, and maybe `label`, in the file's order.

    Raises:
        EvaluationError: It cannot be read, has no rows, or a value is no probability.
    """
    path = Path(path)
    try:
        content = path.read_bytes()  # once: it may be a pipe
        options = {"sep": tables.separator(content), "skipinitialspace": True}
        rows = tables.read_csv(content, dtype=str, keep_default_na=False, **options)
    except FileNotFoundError:
        raise EvaluationError(f"There is no such file. Received: {path}") from None
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{path} holds no table that can be read. Received: {one_line(error)}"
        ) from None
    rows = rows.rename(columns={next((one for one in _IMAGES if one in rows), ""): "filename"})
    kinds = [kind for kind in KINDS if set(kind) <= set(rows)]
    if (
        "verdict" in rows
    ):  # of `predict`, whose probability is that of the finding, whatever the classes are called
        kinds = kinds[:1]
    if "filename" not in rows or len(kinds) != 1:
        raise EvaluationError(
            f"{path} must have the column filename, and either probability, or logit, or healthy and finding. "
            f"Received: {list(rows)}"
        )
    if not len(rows):
        raise EvaluationError(f"{path} must hold a row for each test image. Received: no row")
    if options["sep"] != ",":
        rows = rows.assign(**{column: _with_points(rows[column]) for column in kinds[0]})
    numbers = {column: _numbers(path, rows, column) for column in kinds[0]}
    table = pd.DataFrame({"filename": rows["filename"], "seed": rows.get("seed", "0")})
    table["seed"] = (
        table["seed"].str.strip().str.replace(r"^(\d+)\.0+$", r"\1", regex=True)
    )  # as pandas writes some
    table["probability"] = _probabilities(path, rows, numbers)
    return table.assign(label=rows["label"]) if "label" in rows else table


def _with_points(texts):
    """Numbers as text with decimal points, where a comma can be nothing else: none has a point as well."""
    commas = texts.str.strip().str.fullmatch(_COMMA)
    return (
        texts.mask(commas, texts.str.replace(",", "."))
        if not texts.str.contains(".", regex=False).any()
        else texts
    )


def _numbers(path, rows, column):
    def number(text):
        try:
            return float(text)
        except ValueError:
            return np.nan

    numbers = rows[column].map(number).to_numpy(float)
    low, high = (-np.inf, np.inf) if column == "logit" else (0, 1)
    odd = ~np.isfinite(numbers) | (numbers < low) | (numbers > high)
    if odd.any():
        row = int(np.argmax(odd))
        wanted = "a finite number" if column == "logit" else "a number from 0 to 1"
        raise EvaluationError(
            f"{path} must give {wanted} as {column} in each row{_advice(rows[column], numbers, column)}. Received: "
            f"{rows[column][row]!r} of {rows['filename'][row]!r} in row {row + 2}, and {odd.sum() - 1:,} more"
        )
    return numbers


def _advice(texts, numbers, column):
    """What to do about numbers that are none as wanted, behind a colon; "" where that cannot be told."""
    told = numbers[np.isfinite(numbers)]
    percentages = (
        column != "logit" and len(told) and told.min() >= 0 and np.median(told) > 1 and told.max() <= 100
    )
    if percentages or texts.str.contains("%").any():
        return ": divide percentages by 100, and leave the sign out"
    if texts.str.strip().str.fullmatch(_COMMA).any():
        return ": write decimal points, all of them, or part the columns by semicolons"
    if column == "probability" and len(told) == len(numbers) and (told.min() < 0 or told.max() > 1):
        return ": if they are logits, call the column logit; divide percentages by 100"
    return ""


def _probabilities(path, rows, numbers):
    if "probability" in numbers:
        if (count := len(np.unique(numbers["probability"]))) < _FEW <= len(rows):
            _LOG.warning(
                "All %d predictions have only %d distinct value%s; AUC and other ranking metrics treat them as hard "
                "labels.", len(rows), count, "s" * (count > 1),
            )  # fmt: skip
        return numbers["probability"]
    if "logit" in numbers:
        if ((numbers["logit"] >= 0) & (numbers["logit"] <= 1)).all():
            _LOG.warning(
                "all logits lie between 0 and 1: if they are probabilities, call the column probability"
            )
        probabilities = scipy.special.expit(numbers["logit"])
        if lost := len(np.unique(numbers["logit"])) - len(np.unique(probabilities)):
            _LOG.warning("%d logits are so far from 0 that they count as equal to others", lost)
        return probabilities
    healthy, finding = numbers["healthy"], numbers["finding"]
    odd = np.abs(healthy + finding - 1) > _SUM
    if odd.any():
        row = int(np.argmax(odd))
        raise EvaluationError(
            f"{path} must give probabilities of healthy and finding that sum to 1. Received: {healthy[row]:g} and "
            f"{finding[row]:g} of {rows['filename'][row]!r} in row {row + 2}"
        )
    # Near 1 a number in few digits tells less apart than what the other class leaves.
    return np.where(finding > 0.5, 1 - healthy, finding)


def predictions(path, name, test, further, threshold=THRESHOLD):
    """Predictions of exactly the images of a test split, once each seed.

    Args:
        path: A file for `read`.
        name: The data set's, for errors.
        test: `data.Records.table` of the test split: `filename`, `source`, `label`.
        further: File names of other images of the data set to the split they are in, such as "train".
        threshold: From which probability on an image counts as a finding.

    Returns:
        `Predictions`, a run a seed in order of seeds, images in the order of `test`.

    Raises:
        EvaluationError: As in `read`; an image is unknown, told by a name that several have, not of the test split,
            missing or there twice; a label is not the data set's; or the test split lacks a class.
    """
    rows = read(path)
    known = dict.fromkeys(test["filename"], "test") | further
    names = _resolved(path, name, rows["filename"].unique(), known)
    rows["filename"] = rows["filename"].map(names)
    for filename in rows["filename"].unique():
        if known[filename] != "test":
            raise EvaluationError(
                f"{path} must name images of the test split of {name} alone. Received: {filename!r}, which is in "
                f"{known[filename]}"
            )
    if (twice := rows.duplicated(["seed", "filename"])).any():
        row = rows[twice].iloc[0]
        raise EvaluationError(
            f"{path} must name each image once a seed. Received: {row['filename']!r} twice, seed {row['seed']!r}"
        )
    _check_labels(path, rows, test)
    runs = []
    for seed in sorted(
        rows["seed"].unique(), key=lambda text: (len(text), text) if text.isdigit() else (99, text)
    ):
        of_seed = rows[rows["seed"] == seed].set_index("filename")["probability"].reindex(test["filename"])
        if (missing := of_seed.isna()).any():
            raise EvaluationError(
                f"{path} must name all {len(test):,} test images of {name}. Received: {missing.sum():,} missing, "
                f"seed {seed!r}, the first is {missing.idxmax()!r}"
            )
        runs.append(of_seed.to_numpy())
    labels, sources = test["label"].to_numpy(), test["source"].to_numpy().astype(str)
    return Predictions(labels, sources, np.stack(runs), threshold)


def averaged(one):
    """Several trained models as one ensemble: the mean of their probabilities of each image.

    Args:
        one: `Predictions` of several runs with the same threshold.

    Returns:
        `Predictions` of a single run. Its intervals are of one ensemble: they do not cover training another.

    Raises:
        EvaluationError: There is one run alone.
    """
    if len(one.probabilities) < 2:
        raise EvaluationError("An ensemble is the mean of several seeds. Received: predictions of one seed")
    return dataclasses.replace(one, probabilities=one.probabilities.mean(axis=0, keepdims=True))


def text(one, filenames):
    """Predictions as csv that `read` reads, a row an image and seed.

    Args:
        one: `Predictions`.
        filenames: Of the images, in their order.
    """
    runs, count = one.probabilities.shape
    table = pd.DataFrame(
        {
            "filename": np.tile(np.asarray(filenames), runs),
            "seed": np.repeat(np.arange(runs), count),
            "label": np.tile(one.labels, runs),
            "probability": one.probabilities.ravel(),
        }
    )
    return tables.csv_text(table)


def _resolved(path, data, names, known):
    """Given names to those of the data set: with more folders before them, or fewer, and maybe without their ending."""
    by_last, by_stem = {}, {}
    spelt = {tables.composed(name): name for name in known}
    for name in map(PurePosixPath, spelt):
        by_last.setdefault(name.name, []).append(name.parts)
        by_stem.setdefault(name.stem, []).append(name.parts)
    resolved = {}
    for given in names:
        parts = PurePosixPath(tables.composed(given.strip().replace("\\", "/"))).parts
        same = [one for one in by_last.get(parts[-1] if parts else "", ()) if _ends_alike(one, parts)]
        if parts and not same:
            stems = by_stem.get(parts[-1], ())
            same = [one for one in stems if _ends_alike((*one[:-1], parts[-1]), parts)]
        same = [one for one in same if one == parts] or same  # a name in full means itself
        # Behind folders of another machine the longest is meant.
        if all(len(one) <= len(parts) for one in same):
            same = [one for one in same if len(one) == max(map(len, same))]
        if not same:
            raise EvaluationError(
                f"{path} names an image that is not among those of {data} (some are in no split: those that contradict "
                f"themselves). Received: {given!r}"
            )
        if len(same) > 1:
            raise EvaluationError(
                f"{path} names an image by a name that {len(same)} images of {data} have: write its folders and "
                f"ending, too. Received: {given!r}"
            )
        resolved[given] = spelt["/".join(same[0])]
    return resolved


def _ends_alike(one, other):
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]


def _check_labels(path, rows, test):
    if "label" not in rows:
        return
    labels = rows["filename"].map(test.set_index("filename")["label"]).astype(str)
    findings = sorted(set(test["finding"][test["label"] == 1])) if "finding" in test else []
    odd = (_as_numbers(rows["label"].str.strip().str.lower(), findings) != labels).to_numpy()
    if odd.any():
        row = rows.iloc[int(np.argmax(odd))]
        names = f", or by name ({', '.join(findings[:5])}{', ...' * (len(findings) > 5)})" if findings else ""
        raise EvaluationError(
            f"{path} must give labels as the data set does, 0 healthy and 1 a finding{names}, or none. Received: "
            f"{row['label']!r} of {row['filename']!r}, and {odd.sum() - 1:,} more"
        )


def _as_numbers(said, findings):
    """Labels as "0" and "1": numbers, names of the data set's findings among others, or two names that tell."""
    if said.isin(("0", "1", "0.0", "1.0")).all():
        return said.str[:1]
    if (is_finding := said.isin([name.lower() for name in findings])).any():
        return is_finding.astype(int).astype(str)
    try:
        return said.map(named.binary(said, None, "labels")).astype(str)
    except DataError:
        return said


def difference(ours, theirs, metrics=COMPARED):
    """Paired differences of two predictions of the same test split, with 95 % intervals; see `evaluation.gains`.

    Args:
        ours: `Predictions`.
        theirs: `Predictions`; of another number of seeds, each is resampled by itself.
        metrics: Names of metrics.

    Returns:
        A dict of metric to `value`, `low`, `high`.

    Raises:
        EvaluationError: Other images.
    """
    return gains(ours, theirs, metrics)
