"""The paper's accuracies beside ours."""

from keras_fracture.papers import classifier_report
from keras_fracture.papers.classifier_report import compare, table
from keras_fracture.papers.garcia_inception.experiment import preprocess

__all__ = ["HEADLINES", "compare", "table", "write"]

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (("Inception net: accuracy", "accuracy", {"image_size": 64, "data": "kaggle_fracture"}),)


def write(config, results, run):
    """See `papers.classifier_report.write`."""
    return classifier_report.write(config, results, run, preprocess(config))
