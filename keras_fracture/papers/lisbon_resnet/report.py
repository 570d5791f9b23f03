"""The paper's Table 1 beside ours."""

from keras_fracture.papers import classifier_report, classifier_table
from keras_fracture.papers.classifier_table import TREES
from keras_fracture.papers.lisbon_resnet.experiment import preprocess
from keras_fracture.report.markdown import over_seeds

__all__ = ["FRONT", "HEADLINES", "compare", "table", "write"]

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (
    ("ResNet-34: AUC", "auc", {"model": "resnet34"}),
    ("EfficientNet-Lite0 from ImageNet: AUC", "auc", {"model": "efficientnet_lite0", "variant": "imagenet"}),
    ("EfficientNet-Lite2 from ImageNet: AUC", "auc", {"model": "efficientnet_lite2", "variant": "imagenet"}),
    ("EfficientNet-Lite0 from scratch: AUC", "auc", {"model": "efficientnet_lite0", "variant": "scratch"}),
)
_LITE = {"model": "efficientnet_lite0", "variant": "imagenet", "data": "fracatlas"}
FRONT = (  # of README
    ("ResNet-34, AUC", "auc", {"model": "resnet34", "variant": "paper", "data": "fracatlas"}, TREES),
    (
        "ResNet-34 taught by EfficientNet-Lite0, AUC",
        "auc",
        {"model": "resnet34", "variant": "distilled", "data": "fracatlas"},
        TREES,
    ),
    (
        "EfficientNet-Lite0 from ImageNet, AUC",
        "auc",
        _LITE | {"split_policy": "grouped"},
        TREES,
    ),
    (
        "EfficientNet-Lite0 from ImageNet, no study divided between training and test, AUC",
        "auc",
        _LITE | {"split_policy": "studies"},
        TREES,
    ),
)

_EQUAL = "as many fractures as healthy images"


def table(runs):
    """See `classifier_table.table`."""
    return classifier_table.table([_understood(run) for run in runs])


def compare(run):
    """See `classifier_table.compare`; the paper's precision and F1 stand beside ours at equal classes: `COMPARED`."""
    run = _understood(run)
    said, scores = run["reported"], run["metrics"]
    subject, numbers = classifier_table.compare(run)
    if not said or not {"recall", "specificity", "balanced_accuracy"} <= set(scores):
        return subject, numbers
    numbers["balanced accuracy"] = "", over_seeds(scores["balanced_accuracy"])
    found, alarms = scores["recall"]["value"], 1 - scores["specificity"]["value"]
    equal = {"precision": found / max(found + alarms, 1e-12), "f1": 2 * found / (found + alarms + 1)}
    for metric in (metric for metric in equal if metric in said):
        name = classifier_table.METRICS.get(metric, metric)
        numbers[name] = "", numbers[name][1]
        numbers[f"{name}, {_EQUAL}"] = f"{said[metric]:g}", f"{equal[metric]:.3f}"
    return subject, numbers


def _understood(run):
    """A recorded run with the paper's accuracy as that of validation images, which earlier versions did not say."""
    said = dict(run["reported"])
    if "validation_accuracy" not in said and "accuracy" in said:
        said = {f"validation_{name}" if name == "accuracy" else name: value for name, value in said.items()}
    return run | {"reported": said}


def write(config, results, run):
    """See `papers.classifier_report.write`."""
    return classifier_report.write(config, results, run, preprocess(config))
