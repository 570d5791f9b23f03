"""How good classifiers and generators are: metrics that respect which images share a source."""

from keras_fracture.evaluation.classification import (
    METRICS,
    Predictions,
    best_threshold,
    by_seed,
    calibration,
    confusion,
    gains,
    scores,
)
from keras_fracture.evaluation.curves import precision_recall, roc
from keras_fracture.evaluation.features import Extractor, extract, extractor
from keras_fracture.evaluation.generative import compare
from keras_fracture.evaluation.generative_metrics import fid, kid, ms_ssim, prdc
from keras_fracture.evaluation.gradcam import (
    box_overlap,
    chance,
    chance_of_others,
    gradcam,
    gradcam_plus_plus,
    pointing_game,
)
from keras_fracture.evaluation.groups import by_group, least_sources, most_confident_errors, within
from keras_fracture.evaluation.memorisation import Copies, NearCopies, check_sources, near_copies

__all__ = [
    "METRICS",
    "Copies",
    "Extractor",
    "NearCopies",
    "Predictions",
    "best_threshold",
    "box_overlap",
    "by_group",
    "by_seed",
    "calibration",
    "chance",
    "chance_of_others",
    "check_sources",
    "compare",
    "confusion",
    "extract",
    "extractor",
    "fid",
    "gains",
    "gradcam",
    "gradcam_plus_plus",
    "kid",
    "least_sources",
    "most_confident_errors",
    "ms_ssim",
    "near_copies",
    "pointing_game",
    "prdc",
    "precision_recall",
    "roc",
    "scores",
    "within",
]


def __dir__():
    return sorted(__all__)
