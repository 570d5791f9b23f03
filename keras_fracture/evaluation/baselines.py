"""What can be told without a network: the baselines that every classifier is held against."""

import dataclasses
import functools
import hashlib
import json

import numpy as np
import pandas as pd
import sklearn

from keras_fracture import files, parallel
from keras_fracture.data import catalogue, facts, loading, locations, splits
from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation.classification import HEADLINE, Predictions, best_threshold, gains, scores
from keras_fracture.evaluation.groups import least_sources

NAMES = ("majority", "table", "file", "hog", "all")
BLIND = ("majority", "table", "file")  # they have not seen the bone
# Boosted trees as scikit-learn has them, but for coarser bins (a quarter of the time) and splits that look at a random
# part of the columns: seeds would not differ otherwise.
_TREES = {"max_bins": 32, "max_features": 0.3, "early_stopping": False}
FITS = 3  # at the least, of what a classifier is held against: test AUCs of single fits lie up to 0.03 apart
_VERSION = 1  # of the kept probabilities; raise it when `fit` gives others


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Fitted baselines by name; there is no `table` of a data set that tells nothing of its images.

    Attributes:
        validation: Name to `Predictions` of the validation split, by which the strongest is chosen.
        test: Name to `Predictions` of the test split.
    """

    validation: dict
    test: dict

    @property
    def fits(self):
        """How often each was fitted."""
        return len(self.test["majority"].probabilities)

    def validation_auc(self, name):
        """The AUC on validation, mean over seeds."""
        statistic = self.validation[name].statistic("auc")
        return statistic(
            np.ones(len(self.validation[name].labels)), np.arange(len(self.test[name].probabilities))
        )

    def strongest(self, among=NAMES):
        """The name of the baseline with the highest AUC on validation; the test split has no say.

        Of those that are equal to three digits, as where validation images are copies of training images, it is the
        one that sees most.
        """
        known = [name for name in NAMES if name in self.test and name in among]
        return max(reversed(known), key=lambda name: round(self.validation_auc(name), 3))

    @functools.cached_property
    def scores(self):
        """Name to `validation_auc`, and on test `accuracy` and `auc` with intervals; computed at the first use."""
        return {
            name: {"validation_auc": self.validation_auc(name)} | scores(predictions)
            for name, predictions in self.test.items()
        }

    def take(self, rows):
        """The same, of some test images: their positions, int `(m,)`."""
        test = {
            name: Predictions(one.labels[rows], one.sources[rows], one.probabilities[:, rows], one.threshold)
            for name, one in self.test.items()
        }
        return Baselines(self.validation, test)


def fit(sets, known, seeds=FITS, seed=0, threshold=None):
    """Fits the baselines on the training split.

    `majority` gives every image the share of findings in training; the others are boosted trees
    (`HistGradientBoostingClassifier`, 100 iterations, never stopped early) on the data set's table, on facts of the
    file, on histograms of oriented gradients, and on all of these. Results depend on no number of threads, and are
    kept in the cache until an image, a label or a split changes.

    Args:
        sets: "train", "validation" and "test" to a `pandas.DataFrame` with `filename`, `label` and `source`, such as
            `data.Records.table`.
        known: Of `data.facts.read`.
        seeds: How many times each is fitted.
        seed: The first of these.
        threshold: From which probability on an image counts as a finding; None chooses that of each seed on
            validation, as `papers.classifier` does. `majority` has 0.5.

    Returns:
        `Baselines`.

    Raises:
        EvaluationError: A split is missing or lacks a class, or an image of it is not among the facts.
        OutputError: The cache cannot be written.
    """
    features = _features(sets, known)
    given = _fitted(sets, features, seeds, seed)
    predictions = {}
    for split in ("validation", "test"):
        labels, sources = sets[split]["label"].to_numpy(), sets[split]["source"].to_numpy(str)
        predictions[split] = {
            name: Predictions(labels, sources, given[split, name], _threshold(sets, given, name, threshold))
            for name in ("majority", *features)
        }
    return Baselines(**predictions)


def _threshold(sets, given, name, threshold):
    if name == "majority" or threshold is not None:
        return 0.5 if name == "majority" else threshold
    labels = sets["validation"]["label"].to_numpy()
    return np.array([best_threshold(labels, row) for row in given["validation", name]])


def _features(sets, known):
    """Baseline name to split name to float32 `(n, columns)`."""
    for split in splits.NAMES:
        labels = set(sets[split]["label"]) if split in sets else set()
        if labels != {0, 1}:
            raise EvaluationError(
                f"Baselines take both classes in the splits train, validation and test: {split} has not. "
                f"Received: labels {sorted(labels)}"
            )
        missing = ~sets[split]["filename"].isin(known["file"].index)
        if missing.any():
            raise EvaluationError(
                f"Nothing is known of {missing.sum()} images of {split}: name the data set that they are of. "
                f"Received: {sets[split]['filename'][missing].iloc[0]!r}"
            )
    kinds = {name: known[name] for name in ("table", "file", "hog") if len(known[name].columns)}
    kinds["all"] = pd.concat(kinds.values(), axis=1)
    return {
        name: {split: kind.loc[sets[split]["filename"]].to_numpy(np.float32) for split in splits.NAMES}
        for name, kind in kinds.items()
    }


def _fitted(sets, features, seeds, seed):
    """(split, baseline) to probabilities `(seeds, n)`, from the cache or written there."""
    digest = hashlib.sha256(json.dumps([_VERSION, sklearn.__version__, _TREES, seeds, seed]).encode())
    for split in splits.NAMES:
        digest.update(sets[split]["label"].to_numpy(np.int64).tobytes())
    for name, by_split in features.items():
        for split, rows in by_split.items():
            digest.update(f"{name} {split} {rows.shape}".encode() + rows.tobytes())
    path = locations.cache_dir() / "baselines" / f"{digest.hexdigest()[:16]}.npz"
    if not path.is_file():
        share = float(sets["train"]["label"].mean())
        arrays = {
            f"{split}/majority": np.full((seeds, len(sets[split])), share) for split in ("validation", "test")
        }
        labels = sets["train"]["label"].to_numpy()
        # The longest first, so that no core is left alone with one.
        jobs = [(name, number) for name in reversed(features) for number in range(seed, seed + seeds)]
        # Here, since the facts of all images are too much to send to a worker for each fit.
        done = parallel.HERE.map(
            lambda some, _: [_probabilities(features[name], labels, number) for name, number in some],
            jobs, batch=1, title="baselines", unit=" fits", threaded=True,
        )  # fmt: skip
        for (name, _), both in zip(jobs, done, strict=True):
            for split, row in both.items():
                arrays.setdefault(f"{split}/{name}", []).append(row)
        with files.writing(path) as beside, open(beside, "wb") as stream:
            np.savez(stream, **arrays)
    with np.load(path) as stored:
        return {tuple(key.split("/")): stored[key] for key in stored.files}


def _probabilities(features, labels, seed):
    """What trees fitted on training say of the other two splits."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    # OpenMP's threads wait for each other at every leaf: ten times slower on two cores that others use as well.
    with threadpool_limits(1, "openmp"):
        trees = HistGradientBoostingClassifier(random_state=seed, **_TREES).fit(features["train"], labels)
        return {split: trees.predict_proba(features[split])[:, 1] for split in ("validation", "test")}


def compare(predictions, baselines):
    """A classifier beside the baselines on the same test images.

    Args:
        predictions: `Predictions` of the test split.
        baselines: `Baselines`.

    Returns:
        A dict of `scores` (of each baseline, see `Baselines.scores`), `paired` (true), and of `strongest` and `blind`
        (the strongest of those that have not seen the bone), each a dict of `name`, `auc_difference` and
        `accuracy_difference`: the classifier's less the baseline's, with paired 95 % intervals over sources and seeds.
        And `sources`: how many the rarer class has; `fits`: how often each baseline was fitted.

    Raises:
        EvaluationError: The images differ.
    """
    result = {
        "scores": baselines.scores,
        "paired": True,
        "sources": least_sources(predictions),
        "fits": baselines.fits,
    }
    for what, among in (("strongest", NAMES), ("blind", BLIND)):
        name = baselines.strongest(among)
        differences = gains(predictions, baselines.test[name], HEADLINE)
        result[what] = {"name": name} | {f"{metric}_difference": one for metric, one in differences.items()}
    return result


def compare_scores(metrics, baselines):
    """`compare` where no predictions of the classifier are kept: both intervals together, as if independent.

    Args:
        metrics: `accuracy` and `auc` of the classifier, each a dict of `value`, `low` and `high`.
        baselines: `Baselines`.

    Returns:
        As `compare`, with `paired` false. Scores on the same images go up and down together, so that the paired
        interval would be narrower.
    """
    result = {"scores": baselines.scores, "paired": False, "fits": baselines.fits}
    for what, among in (("strongest", NAMES), ("blind", BLIND)):
        name = baselines.strongest(among)
        result[what] = {"name": name}
        for metric in HEADLINE:
            ours, theirs = metrics[metric], baselines.scores[name][metric]
            value = ours["value"] - theirs["value"]
            below = np.hypot(ours["value"] - ours["low"], theirs["high"] - theirs["value"])
            above = np.hypot(ours["high"] - ours["value"], theirs["value"] - theirs["low"])
            result[what][f"{metric}_difference"] = {
                "value": value, "low": float(value - below), "high": float(value + above),
            }  # fmt: skip
    return result


def of_data(
    name, policy, seeds=FITS, data_dir=None, threshold=None, split_file=None, workers=parallel.HERE, **reading
):
    """`fit` on the splits of a data set by its name.

    Args:
        name: Of the data set, see `catalogue.find`.
        policy: Of the split.
        seeds: As in `fit`.
        data_dir: Where published data lie.
        threshold: As in `fit`.
        split_file: Path of a split file in place of the policy, or None.
        workers: `parallel.Workers` that read the files.
        **reading: How own X-rays are read.
    """
    options = {"data_dir": data_dir, "workers": workers, **reading}
    records = loading.load_all(name, policy, splits=split_file, **options)
    sets = {split: one.table for split, one in records.items()}
    return fit(sets, facts.read(name, **options), seeds, threshold=threshold)


def measure(name, policies=None, seeds=FITS, data_dir=None, workers=parallel.HERE, **reading):
    """The baselines of a data set, with accuracy at a threshold of 0.5.

    Args:
        name: Of the data set, see `catalogue.find`.
        policies: Split policies; None is all that the set has.
        seeds: As in `fit`.
        data_dir: Where published data lie.
        workers: `parallel.Workers` that read the files.
        **reading: How own X-rays are read.

    Returns:
        A `pandas.DataFrame`, a row for each policy and baseline: `policy`, `baseline`, `validation_auc`, then `auc` and
        `accuracy`, each with `_low` and `_high`.
    """
    layout, _ = catalogue.find(name, data_dir, **reading)
    rows = []
    for policy in policies or layout.POLICIES:
        fitted = of_data(name, policy, seeds, data_dir, threshold=0.5, workers=workers, **reading)
        for baseline, values in fitted.scores.items():
            row = {"policy": policy, "baseline": baseline, "validation_auc": values["validation_auc"]}
            for metric in ("auc", "accuracy"):
                score = values[metric]
                row |= {
                    metric: score["value"],
                    f"{metric}_low": score["low"],
                    f"{metric}_high": score["high"],
                }
            rows.append(row)
    return pd.DataFrame(rows)
