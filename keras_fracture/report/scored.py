"""How good anybody's predictions are, as lines for a terminal, and as a folder with a report and its figures."""

import json
import textwrap
from pathlib import Path

import numpy as np

from keras_fracture import evaluation, files
from keras_fracture.data import tables
from keras_fracture.report import captions, diagnostics, groups
from keras_fracture.report.html import write_html
from keras_fracture.report.markdown import Figures, counted, decimal, markdown

METRICS = {
    "accuracy": "accuracy", "AUC": "auc", "sensitivity": "recall", "specificity": "specificity",
    "balanced accuracy": "balanced_accuracy", "precision": "precision", "F1": "f1",
    "average precision": "average_precision", "sensitivity at specificity 0.90": "sensitivity_at_90",
    "sensitivity at specificity 0.95": "sensitivity_at_95", "Brier score": "brier", "calibration error": "ece",
}  # fmt: skip
EACH = {"accuracy": "accuracy", "AUC": "auc"}  # that are shown of each seed
_WIDE = 44  # characters of a title that fit above a figure
SWAPPED = "AUC is below 0.5 with all of its interval: are healthy and finding swapped?"
UNSURE = f"AUC is below 0.5, of {groups.FEW} whether healthy and finding are swapped"


def score(predictions, table):
    """All metrics and groups of predictions, as a dict: `metrics`, `groups`, of `evaluation.by_group`, and `sources`.

    The last is how many the rarer class has.

    Args:
        predictions: `evaluation.Predictions`.
        table: `data.Records.table` of the same images.
    """
    return {
        "metrics": evaluation.scores(predictions, METRICS.values()),
        "groups": evaluation.by_group(predictions, table),
        "sources": evaluation.least_sources(predictions),
    }


def lines(scored, differences, beside=()):
    """What was found, as lines for a terminal.

    Args:
        scored: Of `score`.
        differences: What was compared with, by name, to a dict of metric to score, see `evaluation.scorer.difference`.
        beside: What needs no network, as lines, see `report.baselines.beside`.
    """
    return [
        *(f"{title:<33}{decimal(scored['metrics'][metric])}" for title, metric in METRICS.items()),
        *of_groups(scored["groups"]),
        *(
            f"beside {name}: {_title(metric)} {decimal(one, signed=True)}, these predictions less those of {name} "
            f"({_of_other(scored, metric, one):.3f})"
            for name, metrics in differences.items()
            for metric, one in metrics.items()
        ),
        *beside,
        *(f"warning: {words}" for words in swapped(scored)),
    ]


def swapped(scored):
    """A sentence if the AUC is below one half with all of its interval, as a list."""
    if scored["metrics"]["auc"]["high"] >= 0.5:
        return []
    return [UNSURE if scored["sources"] < groups.ENOUGH else SWAPPED]


def of_groups(groups):
    """Groups of `evaluation.by_group` as lines; columns of one value are passed over."""
    return [
        f"{row.column.replace('_', ' ')} {row.value}: {counted(row.images, 'image')}, "
        f"{counted(row.findings, 'finding')}, accuracy {_of_group(row, 'accuracy')}, AUC {_of_group(row, 'auc')}"
        for row in groups.itertuples()
        if groups["column"].eq(row.column).sum() > 1
    ]


def _of_group(row, metric):
    value, low, high = (getattr(row, metric + end) for end in ("", "_low", "_high"))
    if np.isnan(value):
        return "not defined"
    return f"{value:.3f}" if np.isnan(low) else decimal({"value": value, "low": low, "high": high})


def _of_other(scored, metric, difference):
    """What the predictions that were compared with reach by themselves."""
    return scored["metrics"][metric]["value"] - difference["value"]


def _title(metric):
    return next(title for title, name in METRICS.items() if name == metric)


def write(folder, heading, facts, predictions, scored, differences, beside=()):
    """Writes `report.md` and `report.html`, `scores.json`, `groups.csv` and figures; returns the folder.

    Args:
        folder: A path.
        heading: Of the report.
        facts: Words to words, for a list below it and for `scores.json`.
        predictions: `evaluation.Predictions`.
        scored: Of `score`.
        differences: As in `lines`.
        beside: As in `lines`.
    """
    folder, numbered = files.folder(Path(folder)), Figures()
    one = "ensemble" if "ensemble_of" in facts else "seed"
    shown = plots(folder, heading, f"{facts['data']}, test images", predictions, scored["metrics"])
    files.write_text(folder / "groups.csv", tables.csv_text(scored["groups"]))
    content = facts | {"metrics": scored["metrics"], "differences": differences}
    files.write_text(folder / "scores.json", json.dumps(content, indent=1) + "\n")
    text = [
        f"# {heading}\n",
        *(f"- {name}: {value}" for name, value in facts.items()),
        f"- 95 % intervals in brackets: {captions.resampled(len(predictions.probabilities), one)}.\n",
        *(f"**{words}**\n" for words in swapped(scored)),
        markdown(
            ["test", ""], [[title, decimal(scored["metrics"][name])] for title, name in METRICS.items()]
        ),
        *(
            markdown(
                [f"beside `{name}`", f"of `{name}`", f"these predictions less those of `{name}`"],
                [
                    [_title(metric), f"{_of_other(scored, metric, one):.3f}", decimal(one, signed=True)]
                    for metric, one in metrics.items()
                ],
            )
            for name, metrics in differences.items()
        ),
        *(f"- {line}" for line in beside),
        "",
        groups.table(scored["groups"]),
        *(numbered.add(name, words[:1].upper() + words[1:]) for name, words in shown.items()),
    ]
    files.write_text(folder / "report.md", "\n".join(text))
    write_html(folder)
    return folder


def plots(folder, model, images, predictions, scores, chosen=None, levels=None):
    """Draws what predictions are worth: `roc.png`, `precision-recall.png`, `reliability.png`, `confusion.png`.

    Of several seeds also `seeds.png`, what each reaches by itself.

    Args:
        folder: Where to.
        model: Its name, for the titles.
        images: What it was tested on, for the titles.
        predictions: `evaluation.Predictions`.
        scores: Dict of metric to `value`, `low`, `high`, of `evaluation.scores`.
        chosen: How the threshold was chosen, in words, or None.
        levels: What each seed is held against: a dict of metric to a dict of words to a number, or None.

    Returns:
        Their captions by file name, in that order.
    """

    def title(kind):
        return "\n".join(textwrap.fill(line, _WIDE) for line in (f"{kind}: {model}", images))

    recall, precision = scores["recall"]["value"], scores["precision"]["value"]
    diagnostics.roc(
        evaluation.roc(predictions), decimal(scores["auc"]), folder / "roc.png", title("ROC curve"),
        (1 - scores["specificity"]["value"], recall),
    )  # fmt: skip
    diagnostics.precision_recall(
        evaluation.precision_recall(predictions), decimal(scores["average_precision"]),
        float(predictions.labels.mean()), folder / "precision-recall.png",
        title("Precision and recall"), (recall, precision),
    )  # fmt: skip
    diagnostics.reliability(
        evaluation.calibration(predictions), folder / "reliability.png", title("Calibration")
    )
    matrix = evaluation.confusion(predictions)
    diagnostics.confusion(
        matrix, folder / "confusion.png", ("healthy", "finding"),
        f"{title('Confusion')}\n{textwrap.fill(captions.at_threshold(predictions), _WIDE)}",
    )  # fmt: skip
    threshold = captions.at_threshold(predictions, chosen)
    return _each_seed(folder, title("Each seed"), predictions, scores, levels or {}) | {
        "roc.png": captions.roc(predictions, scores, threshold),
        "precision-recall.png": captions.precision_recall(predictions, scores, threshold),
        "reliability.png": captions.reliability(predictions, scores),
        "confusion.png": captions.confusion(matrix, predictions, threshold),
    }


def _each_seed(folder, suptitle, predictions, scores, levels):
    """Draws what each of several seeds reaches, by file name its caption; nothing where there is one."""
    if len(predictions.probabilities) == 1:
        return {}
    each = evaluation.by_seed(predictions, EACH.values())
    diagnostics.seeds(
        {words: each[metric] for words, metric in EACH.items()},
        {words: scores[metric] for words, metric in EACH.items()},
        {words: levels.get(metric, {}) for words, metric in EACH.items()},
        folder / "seeds.png",
        suptitle,
    )
    return {"seeds.png": captions.seeds({words: each[metric] for words, metric in EACH.items()})}
