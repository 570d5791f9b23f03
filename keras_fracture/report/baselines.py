"""A classifier beside what needs no network, in words."""

from keras_fracture.report import benchmarks
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
    pairs = [strongest] if strongest == blind else [strongest, blind]
    return f"{_words(compared)}: {'; '.join(map(_difference, pairs))}{_unpaired(compared)}."


def _words(compared):
    """The verdict without numbers."""
    strongest, blind = compared["strongest"], compared["blind"]
    if blind["auc_difference"]["low"] <= 0:
        known, what = blind, "a model that has not seen the bone"
    else:
        known, what = strongest, "what needs no network"
    if known["auc_difference"]["low"] > 0:
        return f"Better than {what}"
    return f"{'Worse' if known['auc_difference']['high'] < 0 else 'No better'} than {what}"


def _difference(one):
    return (
        f"AUC {decimal(one['auc_difference'], signed=True)} and accuracy "
        f"{percent(one['accuracy_difference'], signed=True)} points against `{one['name']}`"
    )


def _unpaired(compared):
    return "" if compared["paired"] else ", *not paired*"


def cell(compared):
    """README's cell: the difference of AUC to the strongest baseline, and the verdict with what it rests on."""
    if compared is None:
        return ""
    strongest, blind = compared["strongest"], compared["blind"]
    both = strongest != blind and blind["auc_difference"]["low"] <= 0
    differences = [
        f"{decimal(one['auc_difference'], signed=True)} to `{one['name']}`"
        for one in ([strongest, blind] if both else [strongest])
    ]
    return f"{'; '.join(differences)}{_unpaired(compared)}: {_words(compared).lower()}"


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


def recorded(path):
    """The table of `docs/baselines.md`: each data set, split policy and baseline.

    Args:
        path: `results/baselines.json`, which `python -m benchmarks baselines` writes.

    Raises:
        OutputError: The file is not of its form.
    """
    header = [
        "data",
        "split",
        "baseline",
        "sees",
        "validation AUC",
        "test AUC",
        "test accuracy %",
        "seeds, date",
    ]
    rows = [
        [
            name, row["policy"], f"`{row['baseline']}`", SEEN[row["baseline"]], f"{row['validation_auc']:.3f}",
            decimal(score(row, "auc")), percent(score(row, "accuracy")), f"{content['seeds']}, {content['date']}",
        ]
        for name, content in benchmarks.recorded(path).items()
        for row in content["rows"]
    ]  # fmt: skip
    return markdown(header, rows) + "\n`python -m benchmarks baselines`\n"


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
