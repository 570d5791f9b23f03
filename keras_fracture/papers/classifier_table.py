"""The tables of the classifier papers: recorded runs, and one run beside the paper."""

from keras_fracture.data import catalogue
from keras_fracture.report import baselines
from keras_fracture.report.markdown import dated, decimal, markdown, over_seeds, percent
from keras_fracture.report.results import others

WITHIN = "auc_within_body_part"
TREES = ("boosted trees, no network", None)  # what README's numbers are held against, see `papers.tables`
METRICS = {
    "train_accuracy": "training accuracy, threshold 0.5",
    "validation_auc": "validation AUC",
    "f1": "F1",
    "auc": "AUC",
    "sensitivity_at_90": "sensitivity at 90 % specificity",
}


def table(runs):
    """Two tables of one row a run: what was trained and how well it does on test images; and what else was measured."""
    known = any(run["data"] in catalogue.NAMES for run in runs)  # of own X-rays the paper says nothing
    reported = ["paper: accuracy %, AUC"] if known else []
    first = ["row", "model, variant, settings", "pixels, epochs, seeds", "data, split", *reported,
             "test AUC", baselines.CELLS[0], "test accuracy %"]  # fmt: skip
    recorded = {name for run in runs for name in _MORE if run.get(name)}  # earlier versions had neither
    more = {name: heading for name, heading in _MORE.items() if name in recorded}
    second = ["row", baselines.CELLS[1], "test AUC within body part", *more.values(), "sensitivity at 90 % specificity",
              "validation AUC", "validation accuracy %", "profile, date"]  # fmt: skip
    rows, further = [], []
    for number, run in enumerate(runs, 1):
        scores = run["metrics"]
        strongest, blind = baselines.cells(run.get("baselines"))
        rows.append([
            number, ", ".join([run["model"], run["variant"], *others(run)]),
            f"{run['image_size']}, {run['epochs']}, {run['seeds']}", f"{run['data']}, {run['split_policy']}",
            *([_reported(run)] if known else []), decimal(scores["auc"]), strongest, percent(scores["accuracy"]),
        ])  # fmt: skip
        further.append([
            number, blind, decimal(scores[WITHIN]) if WITHIN in scores else "",
            *(_SAID[name](run.get(name) or {}) for name in more), percent(scores["sensitivity_at_90"]),
            decimal(scores["validation_auc"]), percent(scores["validation_accuracy"]),
            f"{run['profile']}, {dated(run)}",
        ])  # fmt: skip
    return markdown(first, rows) + "\nThe same runs, by row:\n\n" + markdown(second, further)


def _by_part(parts):
    return ", ".join(f"{name} {score['value']:.2f}" for name, score in parts.items())


def _pointing(hits):
    if not hits:
        return ""
    return f"{100 * hits['value']:.0f}" + (f" ({100 * hits['chance']:.0f})" if "chance" in hits else "")


_MORE = {
    "body_parts": "test AUC by body part",
    "pointing": "hottest point of Grad-CAM (a random point) on a box, %, first seed or ensemble",
}
_SAID = {"body_parts": _by_part, "pointing": _pointing}


def _reported(run):
    said = run["reported"]
    accuracy = None
    if "accuracy" in said:
        accuracy = f"{100 * said['accuracy']:.0f}"
    elif "validation_accuracy" in said:
        accuracy = f"{100 * said['validation_accuracy']:.0f} (validation)"
    return ", ".join(filter(None, [accuracy, f"{said['auc']:.2f}" if "auc" in said else None]))


def compare(run):
    """One run beside the paper: what the table is about, and name of a number to (the paper's, ours)."""
    reported = run["reported"]
    metrics = dict.fromkeys(
        ("validation_accuracy", "validation_auc", *reported, "accuracy", "auc", "sensitivity_at_90")
    )
    return run["model"], {
        METRICS.get(metric, metric.replace("_", " ")): (
            f"{reported[metric]:g}" if metric in reported else "",
            over_seeds(run["metrics"][metric]),
        )
        for metric in metrics
    }
