"""Split policies by name: which picture is trained on, which is for validation, which for testing."""

import numpy as np
import pandas as pd

from keras_fracture.errors import DataError

NAMES = ("train", "validation", "test")
POLICIES = {
    "grouped": "no source on two sides, stratified by label and body part",
    "paper": "as the papers split: published test folder where there is one, files at random, leaks included",
    "official": "the publisher's own train and val lists, validation cut from train by source",
}
_PUBLISHED_TEST = ("val", "test")


def assign(table, policy="grouped", shares=(0.7, 0.1, 0.2), seed=0):
    """Assigns every picture to a split.

    Args:
        table: At least the columns `label`, `body_part`, `source`, `published_split` of `tables.COLUMNS`.
        policy: One of `POLICIES`.
        shares: Of train, validation and test; they sum to 1. Where the publisher gives the test pictures
            (`paper` and `official`), only the ratio of train to validation counts.
        seed: Of the drawing.

    Returns:
        Array of "train", "validation" or "test", one a row.

    Raises:
        DataError: Unknown policy, shares that do not sum to 1, or a split that would lack a class.
    """
    check(policy, shares)
    shares = np.asarray(shares, float)
    generator = np.random.default_rng(seed)
    published_test = table["published_split"].isin(_PUBLISHED_TEST).to_numpy()
    result = np.full(len(table), "test", object)
    if policy == "grouped" or not published_test.any():
        if policy == "official":
            raise DataError("This data set has no official split: use grouped or paper")
        free, wanted = np.ones(len(table), bool), shares
    else:
        if not shares[:2].any():
            raise DataError(f"The published train list needs a share of train. Received: {tuple(shares)}")
        free, wanted = ~published_test, np.array([shares[0], shares[1], 0]) / (shares[0] + shares[1])
    # One file is its own source where the paper drew files.
    groups = np.arange(len(table)) if policy == "paper" else pd.factorize(table["source"])[0]
    result[free] = _draw(table[free], groups[free], wanted, generator)
    for split, share in zip(NAMES, shares, strict=True):
        present = set(table["label"][result == split])
        if share and present != {0, 1}:
            raise DataError(
                f"Split {split} would lack a class: too few sources for shares {tuple(map(float, shares))}. "
                f"Received: {table['source'].nunique()} sources, labels {sorted(set(table['label']))}"
            )
    return result.astype(str)


def check(policy, shares):
    """Raises `DataError` unless `policy` is one of `POLICIES` and `shares` three numbers that sum to 1."""
    if policy not in POLICIES:
        raise DataError(f"No such split policy. Choose one of {', '.join(POLICIES)}. Received: {policy!r}")
    numbers = np.asarray(shares, float)
    if numbers.shape != (3,) or not (numbers >= 0).all() or not np.isclose(numbers.sum(), 1):
        raise DataError(f"shares must be three numbers that sum to 1. Received: {tuple(shares)}")


def _draw(table, groups, shares, generator):
    """Deals out whole groups, stratum by stratum, each to the split that is furthest below its share."""
    frame = pd.DataFrame(
        {"group": groups, "label": table["label"].to_numpy(), "part": table["body_part"].to_numpy()}
    )
    facts = frame.groupby("group").agg(
        label=("label", "max"),
        part=("part", lambda parts: parts.value_counts().index[0]),
        size=("part", "size"),
    )
    target = {}
    for _, stratum in facts.groupby(["label", "part"]):
        filled = np.zeros(3)
        order = stratum.iloc[generator.permutation(len(stratum))]
        # Large groups first, or the last one to come would tip its split over.
        for group, size in order["size"].sort_values(ascending=False, kind="stable").items():
            missing = shares * stratum["size"].sum() - filled
            # The split whose share is least filled, among those that have one.
            split = int(np.argmax(np.where(shares > 0, missing / np.maximum(shares, 1e-9), -np.inf)))
            filled[split] += size
            target[group] = split
    return np.array(NAMES)[[target[group] for group in groups]]
