"""Split policies by name: which image is trained on, which is for validation, which for testing."""

import logging

import numpy as np
import pandas as pd

from keras_fracture.data import sources
from keras_fracture.errors import DataError, meant

NAMES = ("train", "validation", "test")
POLICIES = {
    "grouped": "no source on two sides, stratified by label and body part",
    "paper": "as the papers split: published test folder where there is one, files at random, leaks included",
    "official": "the publisher's own lists; without both val and test, validation is cut from train by source",
    "studies": "as grouped, and X-rays that are most likely views of one patient stay on one side",
}
FILE = "file"  # the policy of images that a split file deals out, see `split_files`
# Their recorded results are of splits that dealt out the sources of most images first, which all went into train.
LARGEST_FIRST = ("phantom", "fracatlas", "kaggle_fracture")
_LOG = logging.getLogger(__name__)
_PUBLISHED_TEST = ("val", "test")


def assign(table, policy="grouped", shares=(0.7, 0.1, 0.2), seed=0, data=None):
    """Assigns every image to a split.

    Args:
        table: At least the columns `label`, `body_part`, `source`, `published_split` of `tables.COLUMNS`; and maybe
            `synthetic`: such images, and with them all of their source, are trained on, unless the publisher says.
            For the policy `studies` also `study`: sources with images of one study are dealt out as one.
        policy: One of `POLICIES`.
        shares: Of train, validation and test; they sum to 1. Where the publisher gives the test images
            (`paper` and `official`), only the ratio of train to validation counts, or none where val and test are
            both given.
        seed: Of the drawing; nothing is drawn, and that is logged, where the publisher's val and test are taken.
        data: Name of the data set; of one of `LARGEST_FIRST` the published splits come out, but for `studies`.

    Returns:
        Array of "train", "validation" or "test", one a row.

    Raises:
        DataError: Unknown policy, shares that do not sum to 1, a split that would lack a class, or synthetic images
            among those that the publisher tests on.
    """
    check(policy, shares)
    shares = np.asarray(shares, float)
    generator = np.random.default_rng(seed)
    published = table["published_split"].to_numpy()
    published_test = np.isin(published, _PUBLISHED_TEST)
    all_three = set(_PUBLISHED_TEST) <= set(published)
    result = np.full(len(table), "test", object)
    if policy in ("grouped", "studies") or not published_test.any():
        if policy == "official":
            raise DataError("This data set has no official split: use grouped or paper")
        free, wanted = np.ones(len(table), bool), shares
    else:
        if not shares[:2].any():
            raise DataError(f"The published train list needs a share of train. Received: {tuple(shares)}")
        free, wanted = ~published_test, np.array([shares[0], shares[1], 0]) / (shares[0] + shares[1])
        if all_three:
            result[published == "val"], wanted = "validation", np.array([1.0, 0, 0])
            if seed:
                _LOG.warning(
                    "the publisher deals out train, validation and test: of policy %s every seed is the same split. "
                    "Received: seed %s", policy, seed,
                )  # fmt: skip
    # One file is its own source where the paper drew files.
    groups = np.arange(len(table)) if policy == "paper" else pd.factorize(table["source"])[0]
    if policy == "studies":
        if "study" not in table:
            raise DataError("Nothing tells the studies of this data set: use grouped")
        groups = pd.factorize(joined_studies(table))[0]
    made = synthetic(table)
    if (trained := free & np.isin(groups, groups[made])).any():
        result[trained], free = "train", free & ~trained
    check_synthetic(result, made, "the split that comes with the images")
    if free.any():
        largest_first = data in LARGEST_FIRST and policy != "studies"
        result[free] = _draw(table[free], groups[free], wanted, generator, largest_first)
    for split, share in zip(NAMES, shares, strict=True):
        rows = result == split
        if share and set(table["label"][rows]) != {0, 1}:
            if rows.any() and not (rows & (free | trained)).any():  # none was dealt out
                raise DataError(
                    f"The split that comes with the images lacks a class in {split}: put some there, or take the "
                    f"policy grouped. Received: {_images(table, rows, 0)} healthy images and "
                    f"{_images(table, rows, 1)} of findings"
                )
            counts = table[~trained].groupby("label")["source"].nunique().to_dict()
            apart = ", beside synthetic images and their like, which are trained on" * bool(trained.any())
            raise DataError(
                f"Split {split} would lack a class: each class needs a source for every split that has a share of "
                f"{tuple(map(float, shares))}. Received: {counts.get(0, 0)} sources of healthy images and "
                f"{counts.get(1, 0)} of findings{apart}"
            )
    return result.astype(str)


def _images(table, rows, label):
    """How many of some rows have a label."""
    return int((table["label"][rows] == label).sum())


def joined(table, names):
    """Sources that share a name, such as that of a study, under the name of the first; a row each.

    Args:
        table: At least `source`.
        names: Of each row, "" where there is none.
    """
    codes = pd.factorize(np.asarray(names, str))[0]
    named = np.flatnonzero(np.asarray(names, str) != "")
    order = named[np.argsort(codes[named], kind="stable")]
    same = np.flatnonzero(np.diff(codes[order]) == 0)
    return sources.join(table["source"].to_numpy(), np.column_stack([order[same], order[same + 1]]))


def joined_studies(table):
    """What the policy `studies` deals out as one: `joined` by the column `study`."""
    return joined(table, table["study"])


def synthetic(table):
    """Which images are synthetic, bool `(n,)`; none where all are, so that these can be dealt out at all."""
    made = table["synthetic"].to_numpy(bool) if "synthetic" in table else np.zeros(len(table), bool)
    return made & ~made.all()


def check_synthetic(side, made, whose):
    """Raises `DataError` if a split tests on synthetic images among real ones; of validation that is logged.

    Args:
        side: The split of each image, an array of str.
        made: Which are `synthetic`.
        whose: Split, for the sentence.
    """
    if count := int((made & (side == "test")).sum()):
        raise DataError(
            f"Synthetic images are no test of what is found in real ones: {whose} must have them in train. "
            f"Received: {count:,} of {(side == 'test').sum():,} test images"
        )
    if count := int((made & (side == "validation")).sum()):
        _LOG.warning(
            "%d of %d validation images are synthetic: epochs and thresholds are chosen by them",
            count, (side == "validation").sum(),
        )  # fmt: skip


def check(policy, shares):
    """Raises `DataError` unless `policy` is one of `POLICIES` and `shares` three numbers that sum to 1."""
    if policy not in POLICIES:
        raise DataError(
            f"No such split policy. Choose one of {', '.join(POLICIES)}. {meant(policy, POLICIES)}Received: {policy!r}"
        )
    numbers = np.asarray(shares, float)
    if numbers.shape != (3,) or not (numbers >= 0).all() or not np.isclose(numbers.sum(), 1):
        raise DataError(f"shares must be three numbers that sum to 1. Received: {tuple(shares)}")


def lack_for_intervals(test):
    """What a test split lacks for intervals, which `evaluation.bootstrap` draws from its sources; None if nothing.

    Args:
        test: Its rows of a table with the columns `label` and `source`.
    """
    labels = test.groupby("source")["label"].max()
    healthy, findings = (int((labels == label).sum()) for label in (0, 1))
    if min(healthy, findings) > 1:
        return None
    return (
        f"A test split of {healthy} healthy X-rays or patients and {findings} with a finding has no intervals, which "
        "need at least two of each: add X-rays, or deal them out yourself (a column split, or --splits)"
    )


def _draw(table, groups, shares, generator, largest_first=False):
    """Deals out whole groups by label and body part.

    A group falls into a split with the chance of what the split still lacks, so that groups of all sizes come into
    all splits, unless `largest_first`. In every stratum each split gets its share to within a group. What is left over
    or missing there, because groups cannot be divided, is made good in the next strata, so that the shares hold over
    all of them, however few groups each has. A split that has no group of a label gets one, if there are as many
    groups as splits, and the test split two, which intervals need, if its share of them is that.
    """
    frame = pd.DataFrame(
        {"group": groups, "label": table["label"].to_numpy(), "part": table["body_part"].to_numpy()}
    )
    facts = frame.groupby("group").agg(
        label=("label", "max"),
        part=("part", lambda parts: parts.value_counts().index[0]),
        size=("part", "size"),
    )
    dealt, owed = pd.Series(-1, facts.index), np.zeros(3)
    for _, stratum in facts.groupby(["label", "part"]):
        missing = shares * stratum["size"].sum()
        order = stratum.iloc[generator.permutation(len(stratum))]
        # Large groups first, or the last one to come would tip its split over.
        for group, size in order["size"].sort_values(ascending=False, kind="stable").items():
            fits = np.where(missing >= size - 1e-9, missing, 0)
            if not fits.any():
                split = np.argmax(np.where(missing > 1e-9, missing + owed, -np.inf))
            elif largest_first:
                split = np.argmax(fits)
            else:
                split = generator.choice(3, p=fits / fits.sum())
            missing[split] -= size
            dealt[group] = split
        owed += missing
    for _, members in facts.groupby("label"):
        _give_each_split(1, dealt, members["size"], shares)
        if not largest_first and round(shares[2] * len(members)) >= 2:
            _give_each_split(np.array([1, 1, 2]), dealt, members["size"], shares)
    return np.array(NAMES)[dealt[groups]]


def _give_each_split(least, dealt, sizes, shares):
    """Moves the smallest group of the split most above its share to each split of fewer groups than `least`."""
    mine = dealt.loc[sizes.index]
    for split in np.flatnonzero(shares > 0):
        counts = np.bincount(mine, minlength=3)
        if (counts < least)[split] and (counts > least).any():
            above = np.bincount(mine, sizes, minlength=3) - shares * sizes.sum()
            giver = np.argmax(np.where(counts > least, above, -np.inf))
            group = sizes[mine == giver].idxmin()
            mine[group] = dealt[group] = split
