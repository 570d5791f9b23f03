"""Metrics with intervals that respect which pictures share a source, and where a classifier looks and fails."""

from keras_fracture.evaluation.classification import (
    METRICS,
    Predictions,
    best_threshold,
    calibration,
    confusion,
    gains,
    scores,
)
from keras_fracture.evaluation.gradcam import chance, gradcam, pointing_game
from keras_fracture.evaluation.groups import by_group, most_confident_errors

__all__ = [
    "METRICS",
    "Predictions",
    "best_threshold",
    "by_group",
    "calibration",
    "chance",
    "confusion",
    "gains",
    "gradcam",
    "most_confident_errors",
    "pointing_game",
    "scores",
]
