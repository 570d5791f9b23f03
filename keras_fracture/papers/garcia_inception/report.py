"""The paper's accuracies beside ours."""

from keras_fracture.papers import classifier_report
from keras_fracture.papers.classifier_report import compare, table
from keras_fracture.papers.garcia_inception.experiment import preprocess

__all__ = ["FRONT", "HEADLINES", "compare", "table", "write"]

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (("Inception net: accuracy", "accuracy", {"image_size": 64, "data": "kaggle_fracture"}),)
FRONT = (
    ("Inception net, accuracy", "accuracy", {"data": "kaggle_fracture", "split_policy": "paper"}),
)  # of README


def write(config, results, run):
    """See `papers.classifier_report.write`."""
    return classifier_report.write(config, results, run, preprocess(config))
