"""The paper's Table 1 beside ours."""

from keras_fracture.papers import classifier_report
from keras_fracture.papers.classifier_table import TREES, compare, table
from keras_fracture.papers.lisbon_resnet.experiment import preprocess

__all__ = ["FRONT", "HEADLINES", "compare", "table", "write"]

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (
    ("ResNet-34: AUC", "auc", {"model": "resnet34"}),
    ("EfficientNet-Lite0 from ImageNet: AUC", "auc", {"model": "efficientnet_lite0", "variant": "imagenet"}),
    ("EfficientNet-Lite2 from ImageNet: AUC", "auc", {"model": "efficientnet_lite2", "variant": "imagenet"}),
    ("EfficientNet-Lite0 from scratch: AUC", "auc", {"model": "efficientnet_lite0", "variant": "scratch"}),
)
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
        {"model": "efficientnet_lite0", "variant": "imagenet", "data": "fracatlas"},
        TREES,
    ),
)


def write(config, results, run):
    """See `papers.classifier_report.write`."""
    return classifier_report.write(config, results, run, preprocess(config))
