"""A classifier beside what needs no network, in words."""

from keras_fracture.report import benchmarks
from keras_fracture.report.groups import ENOUGH, FEW
from keras_fracture.report.markdown import decimal, markdown, percent, plain

SEEN = {
    "majority": "nothing: the share of findings",
    "table": "the data set's table",
    "file": "facts of the file",
    "hog": "histograms of oriented gradients",
    "all": "all of these",
}
_TREES = {
    "majority": "always giving the share of findings",
    "table": "boosted trees on the data set's table",
    "file": "boosted trees on facts of the file",
    "hog": "boosted trees on image gradients",
    "all": "boosted trees on image gradients and all else that needs no network",
}
CELLS = ("AUC less that of the strongest trees", "AUC less that of trees that do not see the bone")
HOW = (
    "Baselines are boosted trees fitted on the training split, as often as there are networks (an ensemble is one) and "
    "at least three times. The strongest is the one of the highest AUC on validation, never on test. Differences are "
    "paired: the same X-rays are resampled for both, and fits and seeds where there are several."
)


def verdict(compared):
    """Whether a classifier is better than what needs no network: a sentence, or two if the strongest sees the bone.

    Args:
        compared: Of `evaluation.baselines.compare`.
    """
    strongest, blind = compared["strongest"], compared["blind"]
    few = _few(compared)
    sentences = [_sentence(strongest, few)] if strongest != blind else []
    return " ".join([*sentences, _sentence(blind, few, ", which do not see the bone")]) + _unpaired(
        compared, " (*{}*)"
    )


def _few(compared):
    """Whether the test set has too few X-rays; of earlier versions' comparisons nothing is known."""
    return compared.get("sources", ENOUGH) < ENOUGH


def _sentence(one, few, what=""):
    words = f"{FEW} whether it is better" if few else _word(one)
    return (
        f"{words[0].upper()}{words[1:]} than {_TREES[one['name']]} (`{one['name']}`){what}: "
        f"AUC {decimal(one['auc_difference'], signed=True)} and accuracy "
        f"{percent(one['accuracy_difference'], signed=True)} points."
    )


def _word(one):
    """What the interval of the difference in AUC says."""
    difference = one["auc_difference"]
    if difference["low"] > 0:
        return "better"
    return "worse" if difference["high"] < 0 else "not shown to be better"


def one_fit(compared):
    """Whether a comparison, such as all of one seed before there were at least three fits, rests on a single one."""
    return compared.get("fits") == 1


def _unpaired(compared, words):
    return "" if compared["paired"] else words.format("not paired")


def cells(compared):
    """Cells of a table: the difference of AUC to the strongest baseline, and to the best that does not see the bone."""
    if compared is None:
        return ["", ""]
    strongest, blind = (
        f"{decimal(one['auc_difference'], signed=True)} `{one['name']}`: "
        f"{FEW if _few(compared) else _word(one)}{_unpaired(compared, ', *{}*')}"
        for one in (compared["strongest"], compared["blind"])
    )
    return [strongest + ", *one fit*" * one_fit(compared), blind]


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
        for name, content in plain(benchmarks.recorded(path)).items()
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
