"""A classifier beside what needs no network, in words."""

from keras_fracture.report.markdown import decimal, markdown, percent

SEEN = {
    "majority": "nothing: the share of findings",
    "table": "the data set's table",
    "file": "facts of the file",
    "hog": "histograms of oriented gradients",
    "all": "all of these",
}
HOW = (
    "Baselines are boosted trees fitted on the training split. The strongest is the one of the highest AUC on "
    "validation, never on test. Differences are paired: the same X-rays and seeds are resampled for both."
)


def verdict(compared):
    """Whether a classifier is better than what needs no network, in one sentence.

    Args:
        compared: Of `evaluation.baselines.compare`.
    """
    strongest, blind = compared["strongest"], compared["blind"]
    known = blind if blind["auc_difference"]["low"] <= 0 else strongest
    if known["auc_difference"]["low"] > 0:
        how = "Better than"
    else:
        how = "Worse than" if known["auc_difference"]["high"] < 0 else "No better than"
    what = "a model that has not seen the bone" if known is blind else "what needs no network"
    pairs = [strongest] if strongest == blind else [strongest, blind]
    return f"{how} {what}: {'; '.join(map(_difference, pairs))}{_unpaired(compared)}."


def _difference(one):
    return (
        f"AUC {decimal(one['auc_difference'], signed=True)} and accuracy "
        f"{percent(one['accuracy_difference'], signed=True)} points against `{one['name']}`"
    )


def _unpaired(compared):
    return "" if compared["paired"] else ", *not paired*"


def cell(compared):
    """README's cell: the difference of AUC to the strongest baseline, and the verdict's first words."""
    if compared is None:
        return ""
    strongest = compared["strongest"]
    words = verdict(compared).partition(":")[0]
    return f"{decimal(strongest['auc_difference'], signed=True)} to `{strongest['name']}`{_unpaired(compared)}: {words}"


def lines(measured):
    """What `evaluation.baselines.measure` found, as lines for a terminal."""
    found = [f"{'policy':<10}{'baseline':<10}{'validation AUC':<16}{'test AUC':<24}test accuracy"]
    found += [
        f"{row['policy']:<10}{row['baseline']:<10}{row['validation_auc']:<16.3f}"
        f"{decimal(score(row, 'auc')):<24}{decimal(score(row, 'accuracy'))}"
        for row in measured.to_dict("records")
    ]
    untold = "table" not in set(measured["baseline"])
    return found + ["no `table`: the data set tells nothing of its images besides them"] * untold


def beside(compared, data):
    """What `evaluation.baselines.compare` found on the test split of some data, as lines for a terminal."""
    return [
        f"without a network, fitted on the training split of {data}:",
        *(
            f"{name:<10}AUC {decimal(one['auc'])}, accuracy {decimal(one['accuracy'])}"
            for name, one in compared["scores"].items()
        ),
        verdict(compared),
    ]


def score(row, metric):
    """`value`, `low` and `high` of a metric in a row of `evaluation.baselines.measure`."""
    return {"value": row[metric], "low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}


def table(scores):
    """The baselines themselves, as Markdown.

    Args:
        scores: Of `evaluation.baselines.Baselines.scores`.
    """
    rows = [
        [
            f"`{name}`",
            SEEN[name],
            f"{one['validation_auc']:.3f}",
            decimal(one["auc"]),
            percent(one["accuracy"]),
        ]
        for name, one in scores.items()
    ]
    return markdown(["baseline", "sees", "validation AUC", "test AUC", "test accuracy %"], rows)
