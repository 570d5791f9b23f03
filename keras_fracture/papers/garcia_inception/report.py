"""The paper's accuracies beside ours."""

from keras_fracture.papers import classifier_report
from keras_fracture.papers.classifier_table import TREES, compare, table
from keras_fracture.papers.garcia_inception.experiment import preprocess

__all__ = ["FRONT", "HEADLINES", "compare", "table", "write"]

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
HEADLINES = (
    ("Inception net: accuracy", "accuracy", {"model": "inception_net", "data": "kaggle_fracture"}),
    ("Inception net of the author's code: accuracy", "accuracy", {"model": "inception_net_published"}),
)
FRONT = (  # of README
    (
        "Inception net, accuracy",
        "accuracy",
        {"model": "inception_net", "variant": "paper", "data": "kaggle_fracture", "split_policy": "paper"},
        TREES,
    ),
)


def write(config, results, run):
    """See `papers.classifier_report.write`."""
    return classifier_report.write(config, results, run, preprocess(config))
