"""The table of a classifier's groups: the worst first, those too small to be ranked last."""

from keras_fracture.report.markdown import decimal, markdown, percent

# X-rays with a finding, and without, from which on a group is ranked and an interval judged: of fewer, percentile
# intervals are far too narrow.
ENOUGH = 5
FEW = "too few X-rays to tell"


def body_parts(groups):
    """AUC of each body part of `evaluation.by_group`, a dict of name to `value`, `low`, `high`; without small ones.

    Empty where all images show the same part.
    """
    parts = groups[groups["column"] == "body_part"]
    ranked = parts[~_small(parts)] if len(parts) > 1 else parts[:0]
    return {row.value: _score(row, "auc") for row in ranked.itertuples()}


def table(groups):
    """Groups as Markdown, the lowest AUC first; behind them, named as such, those too small to be ranked.

    Fields of one value alone, whose group is the whole test set, are passed over.

    Args:
        groups: `pandas.DataFrame` from `evaluation.by_group`.

    Returns:
        A title and the table; a sentence where no field has several values.
    """
    groups = groups[groups.groupby("column")["value"].transform("size") > 1]
    if groups.empty:
        return "No body parts or views are known, so there is no breakdown.\n"
    small = _small(groups)
    ranked = groups[~small].sort_values("auc", kind="stable")
    header = ["field", "value", "images", "sources", "findings", "AUC", "accuracy %"]
    rows = [
        [*_counts(row), decimal(_score(row, "auc")), percent(_score(row, "accuracy"))]
        for row in ranked.itertuples()
    ]
    rows += [
        [*_counts(row), "too few sources", f"{100 * row.accuracy:.1f}"] for row in groups[small].itertuples()
    ]
    return (
        f"Groups, the lowest AUC first; last those with fewer than {ENOUGH} sources (X-rays or patients) of either "
        f"class, too few to be ranked:\n\n{markdown(header, rows)}"
    )


def _small(groups):
    return (groups["finding_sources"] < ENOUGH) | (groups["sources"] - groups["finding_sources"] < ENOUGH)


def _counts(row):
    return row.column.replace("_", " "), row.value, row.images, row.sources, row.findings


def _score(row, metric):
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {name: getattr(row, metric + end) for name, end in ends.items()}
